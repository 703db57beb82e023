//go:build !unix

package main

// lock does nothing here: it is up to the user not to start two brokers in a directory.
func lock(dir string) (unlock func(), err error) { return func() {}, nil }
