package geminio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// What operations return. Test for these with errors.Is; the types below carry
// the details. An End or Stream that is closed gives io.EOF itself, unwrapped,
// from Receive, Accept, AcceptStream, Call, Publish, Register and OpenStream; its Write
// gives net.ErrClosed, or io.ErrClosedPipe where the peer has closed. Read gives what is
// buffered, and then io.EOF itself, but an error where the bytes are not all that were
// written: ErrConnectionLost or a *StreamError.
var (
	// ErrMismatchClientID refuses a request or message made for another client.
	ErrMismatchClientID = errors.New("mismatch clientID")
	// ErrMismatchStreamID refuses a request or message made for another stream.
	ErrMismatchStreamID = errors.New("mismatch streamID")
	// ErrRemoteRPCUnregistered refuses a call of a method that the peer has not
	// registered, where the End checks that.
	ErrRemoteRPCUnregistered = errors.New("remote rpc unregistered")
	// ErrTooLarge refuses what exceeds a limit of size; a *LimitError has the
	// numbers.
	ErrTooLarge = errors.New("too large")
	// ErrTooMany refuses what exceeds a limit of number; a *LimitError has the
	// numbers.
	ErrTooMany = errors.New("too many")
	// ErrMaybeExecuted marks a call or message that was under way when the
	// connection or its stream ended: the peer may or may not have acted on it.
	ErrMaybeExecuted = errors.New("the peer may have acted on it")
	// ErrNotExecuted marks a call or message that was still waiting to be sent
	// when the connection or its stream ended: the peer has not seen it.
	ErrNotExecuted = errors.New("the peer has not acted on it")
	// ErrGoingAway refuses new work on an End that is shutting down, at this
	// side or at the other.
	ErrGoingAway = errors.New("shutting down")
	// ErrSilent ends a connection whose peer sent nothing for two heartbeats.
	ErrSilent = errors.New("the peer is silent")
	// ErrProtocol ends a connection whose peer broke the rules of the wire; the
	// text says which.
	ErrProtocol = errors.New("protocol error")
	// ErrVersion refuses a peer that does not speak wire 2, where such peers are not
	// served.
	ErrVersion = errors.New("wire version not supported")
	// ErrHandshakeTimeout ends a connection whose handshake took too long.
	ErrHandshakeTimeout = errors.New("handshake timeout")
	// ErrReplaced ends a connection whose client id another connection has taken
	// over.
	ErrReplaced = errors.New("replaced by another connection of this client")
	// ErrConnectionLost ends the streams of a connection that broke, or that was closed
	// for a reason: Read and Write of those that were not complete by then return an
	// error that matches it and the reason, and that does not match io.EOF.
	ErrConnectionLost = errors.New("connection lost")
	// ErrNotConnected ends an operation of a client.RetryEnd that was never sent, since
	// there was no connection within the time of SetConnectWait. The error also matches the
	// last failure of dialling or shaking hands.
	ErrNotConnected = errors.New("not connected")
	// ErrAnswered is returned by Done and Error of a message that has its answer
	// already.
	ErrAnswered = errors.New("message already answered")
)

// Code classifies an error that crosses the connection.
type Code uint32

// The codes of the library. Codes from FirstApplicationCode on belong to the application,
// which gives them their meaning. Codes in between are reserved, and mean what
// CodeApplication means.
const (
	CodeOK          Code = iota // no error
	CodeApplication             // the handler's, receiver's or delegate's own error
	CodeCanceled                // the caller's context was canceled
	CodeDeadline                // the time was up
	CodeNoMethod                // no such rpc
	CodePanic                   // the handler panicked
	CodeLimit                   // a limit was reached
	CodeTooLarge                // a limit of size was exceeded
	CodeVersion                 // the wire version is not supported
	CodeProtocol                // the rules of the wire were broken
	CodeGoingAway               // the peer is shutting down
	CodeClosed                  // the peer has closed the stream or End
	CodeReplaced                // another connection has taken the client's id over
)

// FirstApplicationCode is the least of the codes that belong to the application. They
// travel unchanged.
const FirstApplicationCode Code = 1000

// Coder is an error that has a code. When a handler gives an error to SetError, a receiver
// gives one to Message.Error, or a delegate returns one, its code travels with its text: it
// is the Code of the RemoteError or RefusedError at the other side.
//
// The library finds a Coder among the errors that the given error wraps, as errors.As does.
// It also finds a *RemoteError, *RefusedError or *StreamError, which have a field in place
// of the method, so that a program which passes on the error of another peer passes on its
// code. The text is always that of the given error itself.
//
// An error without a code has CodeDeadline if it matches context.DeadlineExceeded,
// CodeCanceled for context.Canceled, CodeTooLarge for ErrTooLarge, CodeLimit for
// ErrTooMany, and CodeApplication otherwise.
//
// Code returns a code from FirstApplicationCode on, or one from CodeApplication to
// CodeTooLarge. The library's other codes are about connections: if Code returns one of
// them, CodeApplication travels in its place.
type Coder interface {
	error
	Code() Code
}

// RemoteError is an error that the other side reported: of a handler, of a
// message's receiver, or the reason of its closing. Its text is the other
// side's, unchanged. It matches context.Canceled, context.DeadlineExceeded,
// ErrTooLarge, ErrTooMany, ErrProtocol, ErrVersion, ErrGoingAway and ErrReplaced where its
// code says so.
type RemoteError struct {
	Code Code
	Text string
}

func (e *RemoteError) Error() string { return e.Text }

// Is implements errors.Is.
func (e *RemoteError) Is(target error) bool { return e.Code.sentinel() == target && target != nil }

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

// RefusedError is the other side's refusal of a connection or of a stream: by
// its delegate, a limit or a version. No other error of a constructor or of
// OpenStream is one, so that a refusal can be told apart from a failing network.
// It matches the same errors as a RemoteError.
type RefusedError struct {
	Code       Code
	Text       string        // the other side's reason, unchanged
	RetryAfter time.Duration // come back in about so long; 0 where it does not say
}

func (e *RefusedError) Error() string { return e.Text }

// Is implements errors.Is.
func (e *RefusedError) Is(target error) bool { return e.Code.sentinel() == target && target != nil }

// StreamError ends a stream, or one direction of it, before its time.
type StreamError struct {
	Code   Code
	Text   string
	Remote bool // the other side did it
}

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

// Is implements errors.Is: what ends a stream closes its pipe.
func (e *StreamError) Is(target error) bool { return target == io.ErrClosedPipe }

// LimitError reports a limit that would be exceeded. It wraps ErrTooLarge or
// ErrTooMany.
type LimitError struct {
	What  string // what is limited
	Value uint64 // what was asked for
	Limit uint64
	Err   error // ErrTooLarge or ErrTooMany
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: %v: %d exceeds %d", e.What, e.Err, e.Value, e.Limit)
}

// Unwrap returns ErrTooLarge or ErrTooMany.
func (e *LimitError) Unwrap() error { return e.Err }

// InterruptedError is what a call or a publish gets that was under way when its
// stream or connection ended. It matches ErrMaybeExecuted or ErrNotExecuted, and
// its cause.
type InterruptedError struct {
	MaybeExecuted bool
	Cause         error // why the stream or connection ended
}

func (e *InterruptedError) Error() string {
	return fmt.Sprintf("%v: %v", e.Cause, e.executed())
}

func (e *InterruptedError) executed() error {
	if e.MaybeExecuted {
		return ErrMaybeExecuted
	}
	return ErrNotExecuted
}

// Unwrap returns the cause and ErrMaybeExecuted or ErrNotExecuted.
func (e *InterruptedError) Unwrap() []error { return []error{e.executed(), e.Cause} }
