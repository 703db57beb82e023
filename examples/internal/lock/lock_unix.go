//go:build unix

// Package lock lets one process at a time use a file.
package lock

import (
	"errors"
	"os"
	"syscall"
)

// ErrTaken is returned if another process has the file.
var ErrTaken = errors.New("another process has it")

// File locks a file for this process, until it is closed or the process ends. It does not
// wait: if another process has the file locked, it returns ErrTaken.
func File(file *os.File) error {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrTaken
	}
	return err
}
