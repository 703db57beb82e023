//go:build !(linux || darwin || freebsd)

package main

// space knows nothing here: a full disk is noticed when a write fails.
func space(string) (free, total int64, err error) { return 1, 1, nil }
