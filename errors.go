package geminio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// These errors are returned by Ends, streams and listeners. Test for them with errors.Is; the
// error types below carry details.
//
// After the end of an End or a stream, Receive, Accept, AcceptStream, Call, Publish, Register
// and OpenStream return io.EOF itself, not wrapped. Write returns net.ErrClosed if this side
// has closed, and io.ErrClosedPipe if the peer has. Read returns the received bytes first,
// and then io.EOF itself if they are complete; otherwise ErrConnectionLost or a *StreamError.
var (
	// ErrMismatchClientID refuses a request or message that was made for another client.
	ErrMismatchClientID = errors.New("mismatch clientID")
	// ErrMismatchStreamID refuses a request or message that was made for another stream.
	ErrMismatchStreamID = errors.New("mismatch streamID")
	// ErrRemoteRPCUnregistered refuses a call of a method that the peer has not
	// registered, if the End checks that.
	ErrRemoteRPCUnregistered = errors.New("remote rpc unregistered")
	// ErrTooLarge refuses an operation that exceeds a limit of size. A *LimitError has
	// the numbers.
	ErrTooLarge = errors.New("too large")
	// ErrTooMany refuses an operation that exceeds a limit of number. A *LimitError has
	// the numbers.
	ErrTooMany = errors.New("too many")
	// ErrMaybeExecuted matches the error of a call or message that was under way when
	// the connection or its stream ended. The peer may have acted on it.
	ErrMaybeExecuted = errors.New("the peer may have acted on it")
	// ErrNotExecuted matches the error of a call or message that was not sent
	// completely when the connection or its stream ended. The peer has not acted on it.
	ErrNotExecuted = errors.New("the peer has not acted on it")
	// ErrGoingAway refuses new work because one side is shutting down.
	ErrGoingAway = errors.New("shutting down")
	// ErrSilent ends a connection if no byte arrives from the peer for two heartbeats.
	ErrSilent = errors.New("the peer is silent")
	// ErrProtocol ends a connection whose peer has violated the protocol. The text of
	// the error names the violation.
	ErrProtocol = errors.New("protocol error")
	// ErrVersion refuses a peer that does not speak wire 2, if this side does not serve
	// such peers.
	ErrVersion = errors.New("wire version not supported")
	// ErrHandshakeTimeout ends a connection whose handshake has taken longer than the
	// handshake timeout.
	ErrHandshakeTimeout = errors.New("handshake timeout")
	// ErrReplaced ends a connection because another connection with the same client id
	// has replaced it.
	ErrReplaced = errors.New("replaced by another connection of this client")
	// ErrConnectionLost matches the error of Read and Write after the connection was
	// lost, or was closed with a reason. That error also matches the cause, and never
	// io.EOF. Streams that were complete before do not return it.
	ErrConnectionLost = errors.New("connection lost")
	// ErrNotConnected matches the error of an operation of a client.RetryEnd that was
	// never sent because there was no connection within the time of SetConnectWait. The
	// error also matches the last failure of dialling or of the handshake.
	ErrNotConnected = errors.New("not connected")
	// ErrAnswered is the error of Message.Done and Message.Error for a message that was
	// answered before.
	ErrAnswered = errors.New("message already answered")
)

// Code classifies an error that is sent to the peer.
type Code uint32

// The codes from CodeOK to CodeInvalid belong to the library. The codes from
// FirstApplicationCode on belong to the application. The codes between them are reserved and
// mean the same as CodeApplication.
const (
	CodeOK          Code = iota // no error
	CodeApplication             // an error of a handler, a receiver or a delegate
	CodeCanceled                // the context of the caller was canceled
	CodeDeadline                // the deadline or timeout has passed
	CodeNoMethod                // no method of this name is registered
	CodePanic                   // the handler or callback panicked
	CodeLimit                   // a limit of number was exceeded
	CodeTooLarge                // a limit of size was exceeded
	CodeVersion                 // the wire version is not supported
	CodeProtocol                // the protocol was violated
	CodeGoingAway               // the peer is shutting down
	CodeClosed                  // the peer has closed the stream or End
	CodeReplaced                // another connection has taken over the client id
	CodeInvalid                 // the data does not have the expected form
)

// FirstApplicationCode is the smallest code of the application. Codes of the application are
// sent unchanged.
const FirstApplicationCode Code = 1000

// Coder is an error with a code. If a handler passes it to Response.SetError, a receiver to
// Message.Error, or a delegate returns it, the code is sent with the text: it becomes the
// Code of the RemoteError or RefusedError at the peer.
//
// The library looks for a Coder in the tree of wrapped errors, as errors.As does. It also
// finds a *RemoteError, *RefusedError or *StreamError, so that a program which passes on the
// error of another peer passes on its code. The text is always that of the outermost error.
//
// The code of an error without a Coder is CodeDeadline if it matches
// context.DeadlineExceeded, CodeCanceled if it matches context.Canceled, CodeTooLarge if it
// matches ErrTooLarge, CodeLimit if it matches ErrTooMany, and CodeApplication otherwise.
//
// Code must return a code from FirstApplicationCode on, one from CodeApplication to
// CodeTooLarge, or CodeInvalid. The other codes of the library concern connections;
// CodeApplication is sent in their place. [CodeOf] returns the code that is sent for an
// error.
type Coder interface {
	error

	// Code returns the code of the error.
	Code() Code
}

// RemoteError is an error that the peer has sent: the error of a handler or of the receiver
// of a message, or the reason why the peer has closed the connection. By its code it matches
// context.Canceled, context.DeadlineExceeded, ErrTooLarge, ErrTooMany, ErrProtocol,
// ErrVersion, ErrGoingAway, io.EOF (CodeClosed) or ErrReplaced.
type RemoteError struct {
	Code Code
	Text string // the text of the error at the peer
}

// Error returns the text of the error at the peer.
func (e *RemoteError) Error() string { return e.Text }

// Is implements errors.Is.
func (e *RemoteError) Is(target error) bool { return e.Code.sentinel() == target && target != nil }

// sentinel returns the error that errors with code c match, or nil.
func (c Code) sentinel() error {
	switch c {
	case CodeCanceled:
		return context.Canceled
	case CodeDeadline:
		return context.DeadlineExceeded
	case CodeLimit:
		return ErrTooMany
	case CodeTooLarge:
		return ErrTooLarge
	case CodeVersion:
		return ErrVersion
	case CodeProtocol:
		return ErrProtocol
	case CodeGoingAway:
		return ErrGoingAway
	case CodeClosed:
		return io.EOF
	case CodeReplaced:
		return ErrReplaced
	}
	return nil
}

// RefusedError reports that the peer has refused a connection or a stream, because of its
// delegate, a limit or the version. Failures of the network are never a RefusedError. It
// matches the same errors as a RemoteError with its code.
type RefusedError struct {
	Code       Code
	Text       string        // the reason of the peer
	RetryAfter time.Duration // the time after which the peer suggests to try again; 0 if unknown
}

// Error returns the reason of the peer.
func (e *RefusedError) Error() string { return e.Text }

// Is implements errors.Is.
func (e *RefusedError) Is(target error) bool { return e.Code.sentinel() == target && target != nil }

// StreamError is the error of Read and Write after a stream, or one direction of it, was
// ended before all bytes were transferred: by a reset, by CloseRead of the peer, or by the
// Close of a side during a Write. It matches io.ErrClosedPipe.
type StreamError struct {
	Code   Code
	Text   string
	Remote bool // the peer has ended the stream
}

// Error returns a text with the Text, or with the Code if there is no Text.
func (e *StreamError) Error() string {
	event := "reset"
	if e.Remote {
		event = "reset by peer"
	}
	if e.Text == "" {
		return fmt.Sprintf("stream %s: code %d", event, e.Code)
	}
	return fmt.Sprintf("stream %s: %s", event, e.Text)
}

// Is implements errors.Is.
func (e *StreamError) Is(target error) bool { return target == io.ErrClosedPipe }

// LimitError reports that an operation would exceed a limit. It wraps ErrTooLarge or
// ErrTooMany.
type LimitError struct {
	What  string // the name of the limited quantity
	Value uint64 // the requested amount
	Limit uint64 // the largest allowed amount
	Err   error  // ErrTooLarge or ErrTooMany
}

// Error returns a text with all fields.
func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: %v: %d exceeds %d", e.What, e.Err, e.Value, e.Limit)
}

// Unwrap returns ErrTooLarge or ErrTooMany.
func (e *LimitError) Unwrap() error { return e.Err }

// InterruptedError is the error of a call or publication that had begun when its stream or
// connection ended. It matches ErrMaybeExecuted or ErrNotExecuted, and its cause.
type InterruptedError struct {
	MaybeExecuted bool  // the peer may have acted on the call or message
	Cause         error // why the stream or connection has ended
}

// Error returns the text of the cause and that of ErrMaybeExecuted or ErrNotExecuted.
func (e *InterruptedError) Error() string {
	return fmt.Sprintf("%v: %v", e.Cause, e.executed())
}

// executed returns ErrMaybeExecuted or ErrNotExecuted.
func (e *InterruptedError) executed() error {
	if e.MaybeExecuted {
		return ErrMaybeExecuted
	}
	return ErrNotExecuted
}

// Unwrap returns the cause and ErrMaybeExecuted or ErrNotExecuted.
func (e *InterruptedError) Unwrap() []error { return []error{e.executed(), e.Cause} }
