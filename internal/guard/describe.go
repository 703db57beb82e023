package guard

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// Describe returns the Reason that is sent to a peer for an error of the user: its text,
// its code and the time to wait before a retry. An error whose methods panic is
// described with CodePanic.
func Describe(log *slog.Logger, err error) packet.Reason {
	if failed, ok := Check(log, err).(*Failure); ok {
		err = failed
	}
	return describe(err)
}

// describe is Describe for an error whose methods do not panic, or whose caller recovers.
func describe(err error) packet.Reason {
	return packet.Reason{Code: uint32(geminio.CodeOf(err)), Retry: retryAfter(err), Text: err.Error()}
}

// retryAfter returns the time to wait before a retry that err carries, or 0.
func retryAfter(err error) time.Duration {
	var other *geminio.InterruptedError // its cause concerns another stream or connection
	var refused *geminio.RefusedError
	if errors.As(err, &other) || !errors.As(err, &refused) {
		return 0
	}
	return refused.RetryAfter
}

// Choosable reports whether an error of the user may choose the code by its method Code.
func Choosable(code geminio.Code) bool { return geminio.CodeOf(chosen(code)) == code }

// chosen is an error that chooses a code.
type chosen geminio.Code

// Error implements error.
func (c chosen) Error() string { return "" }

// Code implements geminio.Coder.
func (c chosen) Code() geminio.Code { return geminio.Code(c) }

// Reason returns the Reason that is sent to the peer when the user ends a stream or an End
// with a code and a text. It returns an error, which names the operation op, if the user may
// not choose the code.
func Reason(op string, code geminio.Code, text string) (packet.Reason, error) {
	if !Choosable(code) {
		return packet.Reason{}, fmt.Errorf("%s: an application must not choose the code %d", op, uint32(code))
	}
	return packet.Reason{Code: uint32(code), Text: text}, nil
}
