package multiplexer

import (
	"errors"
	"fmt"
	"io"

	"github.com/singchia/geminio"
)

// lostError is the error of Read and Write after the connection has ended with a cause other
// than io.EOF: the connection was lost, or was closed with a reason. It matches
// geminio.ErrConnectionLost, io.ErrClosedPipe and the errors that its cause matches. It never
// matches io.EOF, because the reader may not have got all bytes that the peer wrote.
type lostError struct {
	cause error // why the connection was lost
}

// Error implements error.
func (e *lostError) Error() string { return fmt.Sprintf("%v: %v", geminio.ErrConnectionLost, e.cause) }

// Is implements errors.Is.
func (e *lostError) Is(target error) bool {
	switch target {
	case geminio.ErrConnectionLost, io.ErrClosedPipe:
		return true
	case io.EOF:
		return false
	}
	return errors.Is(e.cause, target)
}

// As implements errors.As.
func (e *lostError) As(target any) bool { return errors.As(e.cause, target) }
