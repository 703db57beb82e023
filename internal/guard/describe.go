package guard

import (
	"context"
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
	code, retry := carried(err)
	if code <= geminio.CodeApplication {
		code = matched(err)
	}
	return packet.Reason{Code: uint32(code), Retry: retry, Text: err.Error()}
}

// carried returns the code, and the time to wait before a retry, of the first error in the
// tree of err that has a code. It returns 0 if there is none.
func carried(err error) (code geminio.Code, retry time.Duration) {
	for err != nil {
		switch e := err.(type) {
		case *geminio.RemoteError:
			code = e.Code
		case *geminio.StreamError:
			code = e.Code
		case *geminio.RefusedError:
			code, retry = e.Code, e.RetryAfter
		case *geminio.InterruptedError:
			return 0, 0 // its cause concerns another stream or connection
		case geminio.Coder:
			if code = e.Code(); !Choosable(code) {
				code = 0
			}
		}
		if code > geminio.CodeApplication || retry > 0 {
			return code, retry
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			for _, err := range e.Unwrap() {
				if code, retry = carried(err); code > geminio.CodeApplication || retry > 0 {
					return code, retry
				}
			}
			return 0, 0
		default:
			return 0, 0
		}
	}
	return 0, 0
}

// matched returns the code of the first standard error that err matches, or CodeApplication.
func matched(err error) geminio.Code {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return geminio.CodeDeadline
	case errors.Is(err, context.Canceled):
		return geminio.CodeCanceled
	case errors.Is(err, geminio.ErrTooLarge):
		return geminio.CodeTooLarge
	case errors.Is(err, geminio.ErrTooMany):
		return geminio.CodeLimit
	}
	return geminio.CodeApplication
}

// Choosable reports whether an error of the user may choose the code by its method Code.
// It may choose the codes of applications and the codes of the library that concern calls.
// The other codes concern connections.
func Choosable(code geminio.Code) bool {
	return code >= geminio.CodeApplication && code <= geminio.CodeTooLarge ||
		code == geminio.CodeInvalid || code >= geminio.FirstApplicationCode
}

// Reason returns the Reason that is sent to the peer when the user ends a stream or an End
// with a code and a text. It returns an error, which names the operation op, if the user may
// not choose the code.
func Reason(op string, code geminio.Code, text string) (packet.Reason, error) {
	if !Choosable(code) {
		return packet.Reason{}, fmt.Errorf("%s: an application must not choose the code %d", op, uint32(code))
	}
	return packet.Reason{Code: uint32(code), Text: text}, nil
}
