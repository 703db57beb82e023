package server

import (
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

// acceptError returns an error as net.Listener.Accept wraps it.
func acceptError(err error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept", err)}
}

func TestTemporaryErrors(t *testing.T) {
	for _, err := range temporaryErrors {
		assert.True(t, isTemporary(acceptError(err)), "%v", err)
	}
	assert.True(t, isTemporary(acceptError(syscall.EMFILE)), "too many open files")
	for _, err := range []error{net.ErrClosed, syscall.EINVAL, os.ErrPermission, os.ErrNotExist} {
		assert.False(t, isTemporary(acceptError(err)), "%v", err)
	}
	assert.True(t, isTemporary(os.ErrDeadlineExceeded), "a deadline of the listener")
}
