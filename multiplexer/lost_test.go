package multiplexer

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio"
)

func TestLostError(t *testing.T) {
	cause := &net.OpError{Op: "read", Err: &os.SyscallError{Syscall: "read", Err: syscall.ECONNRESET}}
	err := error(&lostError{cause})
	for _, target := range []error{geminio.ErrConnectionLost, io.ErrClosedPipe, syscall.ECONNRESET, cause} {
		assert.ErrorIs(t, err, target)
	}
	for _, target := range []error{io.EOF, net.ErrClosed, geminio.ErrSilent} {
		assert.NotErrorIs(t, err, target)
	}
	var op *net.OpError
	assert.ErrorAs(t, err, &op)
	assert.Equal(t, "connection lost: "+cause.Error(), err.Error())
}

// A reader must not take an end without all bytes for a complete one.
func TestLostErrorIsNeverEOF(t *testing.T) {
	for _, cause := range []error{io.EOF, errors.Join(geminio.ErrReplaced, io.EOF), &geminio.RemoteError{Code: geminio.CodeClosed}} {
		assert.NotErrorIs(t, &lostError{cause}, io.EOF, "cause %v", cause)
	}
	assert.ErrorIs(t, &lostError{errors.Join(geminio.ErrReplaced, io.EOF)}, geminio.ErrReplaced)
}
