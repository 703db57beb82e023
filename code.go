package geminio

import (
	"context"
	"errors"
)

// CodeOf returns the code with which an error reaches the peer, when a handler passes it to
// Response.SetError, a receiver to Message.Error, or a delegate returns it: see [Coder]. It is
// CodeOK for nil. It calls methods of err.
func CodeOf(err error) Code {
	if err == nil {
		return CodeOK
	}
	if code := carriedCode(err); code > CodeApplication {
		return code
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return CodeDeadline
	case errors.Is(err, context.Canceled):
		return CodeCanceled
	case errors.Is(err, ErrTooLarge):
		return CodeTooLarge
	case errors.Is(err, ErrTooMany):
		return CodeLimit
	}
	return CodeApplication
}

// carriedCode returns the code of the first error in the tree of err that has one above
// CodeApplication, and otherwise CodeOK or CodeApplication.
func carriedCode(err error) (code Code) {
	for err != nil {
		switch e := err.(type) {
		case *RemoteError:
			code = e.Code
		case *StreamError:
			code = e.Code
		case *RefusedError:
			code = e.Code
		case *InterruptedError:
			return CodeOK // its cause concerns another stream or connection
		case Coder:
			if code = e.Code(); !choosable(code) {
				code = CodeOK
			}
		}
		if code > CodeApplication {
			return code
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			for _, err := range e.Unwrap() {
				if code := carriedCode(err); code > CodeApplication {
					return code
				}
			}
			return CodeOK
		default:
			return CodeOK
		}
	}
	return CodeOK
}

// choosable reports whether an application may choose a code: see [Coder].
func choosable(code Code) bool {
	return code >= CodeApplication && code <= CodeTooLarge || code == CodeInvalid || code >= FirstApplicationCode
}
