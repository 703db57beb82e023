package otel

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/singchia/geminio"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// codeNames are the names of the codes of the library.
var codeNames = [...]string{
	geminio.CodeOK:          "OK",
	geminio.CodeApplication: "APPLICATION",
	geminio.CodeCanceled:    "CANCELED",
	geminio.CodeDeadline:    "DEADLINE",
	geminio.CodeNoMethod:    "NO_METHOD",
	geminio.CodePanic:       "PANIC",
	geminio.CodeLimit:       "LIMIT",
	geminio.CodeTooLarge:    "TOO_LARGE",
	geminio.CodeVersion:     "VERSION",
	geminio.CodeProtocol:    "PROTOCOL",
	geminio.CodeGoingAway:   "GOING_AWAY",
	geminio.CodeClosed:      "CLOSED",
	geminio.CodeReplaced:    "REPLACED",
	geminio.CodeInvalid:     "INVALID",
}

// outcome is how an operation has ended. The zero value is success without a response.
type outcome struct {
	code     geminio.Code
	answered bool   // code is that of a response or an answer
	local    string // the name of an error that has no code; empty if there is none
	text     string // the text of the error
}

// failed reports whether the operation has failed.
func (o *outcome) failed() bool { return o.code != geminio.CodeOK || o.local != "" }

// name returns the name of the code, or that of an error without one. The peer chooses the codes of
// applications, so metrics do not distinguish them: bounded gives all of them one name.
func (o *outcome) name(bounded bool) string {
	switch {
	case o.local != "":
		return o.local
	case o.code < geminio.Code(len(codeNames)):
		return codeNames[o.code]
	case bounded || o.code < geminio.FirstApplicationCode:
		return codeNames[geminio.CodeApplication]
	}
	return strconv.FormatUint(uint64(o.code), 10)
}

// blamesCaller reports whether the caller has to do something else for the call to succeed, or has
// given up. It is no error of the side that serves the call.
func (o *outcome) blamesCaller() bool {
	switch o.code {
	case geminio.CodeCanceled, geminio.CodeLimit, geminio.CodeTooLarge, geminio.CodeInvalid:
		return true
	}
	return false
}

// answeredWith returns the outcome of a handler or receiver that answers with err, whose methods may
// panic.
func answeredWith(err error) (o outcome) {
	if err == nil {
		return outcome{answered: true}
	}
	defer func() {
		if recover() != nil {
			o = outcome{code: geminio.CodePanic, answered: true, text: "the methods of the error panicked"}
		}
	}()
	return outcome{code: geminio.CodeOf(err), answered: true, text: err.Error()}
}

// panicked is the outcome of a handler that has not returned.
var panicked = outcome{code: geminio.CodePanic, answered: true, text: "the handler panicked"}

// returned returns the outcome of an operation of this side that has returned err.
func returned(err error) outcome {
	if err == nil {
		return outcome{answered: true}
	}
	return failure(err)
}

// failure is returned for an error.
func failure(err error) (o outcome) {
	var remote *geminio.RemoteError
	switch {
	case errors.As(err, &remote) && !errors.Is(err, geminio.ErrMaybeExecuted) && !errors.Is(err, geminio.ErrNotExecuted):
		return outcome{code: remote.Code, answered: true, text: remote.Text}
	case errors.Is(err, geminio.ErrMaybeExecuted):
		o.local = "MAYBE_EXECUTED"
	case errors.Is(err, geminio.ErrNotConnected):
		o.local = "NOT_CONNECTED"
	case errors.Is(err, geminio.ErrNotExecuted):
		o.local = "NOT_EXECUTED"
	case errors.Is(err, context.DeadlineExceeded):
		o.local = codeNames[geminio.CodeDeadline]
	case errors.Is(err, context.Canceled):
		o.local = codeNames[geminio.CodeCanceled]
	case errors.Is(err, geminio.ErrTooLarge):
		o.local = codeNames[geminio.CodeTooLarge]
	case errors.Is(err, geminio.ErrTooMany):
		o.local = codeNames[geminio.CodeLimit]
	case errors.Is(err, geminio.ErrGoingAway):
		o.local = codeNames[geminio.CodeGoingAway]
	case errors.Is(err, geminio.ErrRemoteRPCUnregistered):
		o.local = codeNames[geminio.CodeNoMethod]
	case errors.Is(err, io.EOF):
		o.local = codeNames[geminio.CodeClosed]
	default:
		o.local = semconv.ErrorTypeOther.Value.AsString()
	}
	o.text = err.Error()
	return o
}

// end sets the status of a span, and ends it. failed says that the outcome is an error of this side.
func (o *outcome) end(span trace.Span, failed bool) {
	if failed && span.IsRecording() {
		span.SetAttributes(semconv.ErrorTypeKey.String(o.name(false)))
		span.SetStatus(codes.Error, valid(o.text))
	}
	span.End()
}

// valid returns s without bytes that are not UTF-8. An exporter could send no span at all if one of
// them had such bytes, which a peer can choose.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
