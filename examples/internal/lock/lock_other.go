//go:build !unix

// Package lock sees to it that a file is used by one process at a time.
package lock

import (
	"errors"
	"os"
)

// ErrTaken is returned if another process has the file.
var ErrTaken = errors.New("another process has it")

// File does nothing here: it is up to the user not to start two programs with one file.
func File(*os.File) error { return nil }
