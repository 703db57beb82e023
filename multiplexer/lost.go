package multiplexer

import (
	"errors"
	"fmt"
	"io"

	"github.com/singchia/geminio"
)

// lostError is what readers and writers of a connection get that has not come to an
// orderly end. It matches geminio.ErrConnectionLost, io.ErrClosedPipe, and what its cause
// matches, but never io.EOF: what was read is not all that was written.
type lostError struct{ cause error }

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
