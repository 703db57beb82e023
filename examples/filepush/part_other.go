//go:build !unix

package main

import (
	"io/fs"
	"os"
)

// openOwn opens a file, or creates it with that mode.
func openOwn(name string, mode fs.FileMode) (*os.File, error) {
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE, mode)
}
