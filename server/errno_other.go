//go:build plan9 || wasip1

package server

import "syscall"

// temporaryErrors are errors of accept that pass when there is a file descriptor again, or that
// are not errors of the listener.
var temporaryErrors = []error{syscall.EMFILE, syscall.EINTR, syscall.EBUSY}
