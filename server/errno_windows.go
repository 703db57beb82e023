package server

import "syscall"

// temporaryErrors are errors of accept that concern one connection, or that pass when there is
// memory, or a handle, again.
var temporaryErrors = []error{
	syscall.Errno(10024), // WSAEMFILE
	syscall.Errno(10055), // WSAENOBUFS
	syscall.Errno(8),     // ERROR_NOT_ENOUGH_MEMORY
	syscall.Errno(10053), // WSAECONNABORTED
	syscall.Errno(10054), // WSAECONNRESET
	syscall.Errno(64),    // ERROR_NETNAME_DELETED
	syscall.Errno(10050), // WSAENETDOWN
	syscall.Errno(10051), // WSAENETUNREACH
	syscall.Errno(10065), // WSAEHOSTUNREACH
	syscall.Errno(10004), // WSAEINTR
	syscall.Errno(10060), // WSAETIMEDOUT
	// Package syscall has values of its own for some of these errors.
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
	syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR, syscall.EAGAIN,
}
