//go:build !(linux || darwin || freebsd)

package main

// space returns no value on this system. A failed write reports a full disk.
func space(string) (free, total int64, err error) { return 1, 1, nil }
