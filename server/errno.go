//go:build !windows && !plan9 && !wasip1

package server

import "syscall"

// temporaryErrors are errors of accept that concern one connection, or that pass when there is
// memory, or a file descriptor, again.
var temporaryErrors = []error{
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
	syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EPROTO, syscall.EPERM,
	syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH,
	syscall.EINTR, syscall.EAGAIN, syscall.ETIMEDOUT,
}
