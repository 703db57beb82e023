package geminio

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/singchia/geminio/options"
)

// This file has the optional interfaces. The Ends, streams and listeners of this library have
// methods that [End], [Stream] and server.Listener do not name, because a new method in an
// interface would break programs that implement it in fakes and wrappers. The functions
// [Shutdown], [OpenStreamContext], [CloseWrite], [CloseRead], [Reset], [CloseWithError],
// [Cause] and [Done] call the optional methods without a type assertion.
//
//	                 End    RetryEnd    Stream    Listener
//	Shutdowner       yes    yes                   yes
//	StreamOpener     yes    yes
//	HalfCloser       yes    yes         yes
//	Resetter         yes    yes         yes
//	ErrorCloser      yes    yes
//	Causer           yes    yes
//	Doner            yes    yes
//	EndOwned         yes    yes         yes
//
// A received [Message] is a StreamOwned. The functions [EndOf] and [StreamOf] call these two.
//
// A wrapper that embeds an interface hides the optional methods of the embedded value, unless
// it declares them itself.

// Shutdowner is implemented by Ends and listeners.
type Shutdowner interface {
	// Shutdown ends the End without interrupting work. It refuses new work of both
	// sides, which get [ErrGoingAway], waits until the calls, messages and streams
	// under way have ended, and closes the End. A listener refuses new clients and
	// shuts all its Ends down. If ctx is done first, Shutdown closes at once and
	// returns ctx.Err().
	Shutdown(ctx context.Context) error
}

// StreamOpener is implemented by Ends.
type StreamOpener interface {
	// OpenStreamContext is OpenStream that stops waiting when ctx ends, and returns an
	// error that matches ctx's. Then neither side has the stream. After the opening, ctx
	// has no effect on the stream.
	OpenStreamContext(ctx context.Context, opts ...*options.OpenStreamOptions) (Stream, error)
}

// HalfCloser is implemented by streams and Ends. Its methods end one direction of the raw
// bytes. Calls and messages continue. On an End that reconnects, they apply to the present
// connection and to all later ones.
type HalfCloser interface {
	// CloseWrite ends the bytes that this side sends. The peer reads the bytes that
	// were written before, and then io.EOF. Write of this side returns net.ErrClosed
	// from then on. CloseWrite returns net.ErrClosed after Close.
	CloseWrite() error

	// CloseRead discards the bytes that have arrived and asks the peer to send no
	// more: Write of the peer returns a [*StreamError]. Read of this side returns
	// io.EOF from then on. CloseRead returns net.ErrClosed after Close.
	CloseRead() error
}

// Resetter is implemented by streams and Ends.
type Resetter interface {
	// Reset ends the stream at once in both directions and sends code and text to
	// the peer, whose Read and Write return a [*StreamError] with them. Bytes that
	// were not sent are discarded. The code must be one that an application may
	// choose; see [Coder]. At most 512 bytes of the text are sent. Reset returns
	// net.ErrClosed after the end of the stream. Reset of an End is CloseWithError.
	Reset(code Code, text string) error
}

// ErrorCloser is implemented by Ends.
type ErrorCloser interface {
	// CloseWithError is Close with a reason: the Cause of the peer's End is a
	// [*RemoteError] with code and text. The code must be one that an application
	// may choose; see [Coder]. At most 512 bytes of the text are sent.
	CloseWithError(code Code, text string) error
}

// Causer is implemented by Ends.
type Causer interface {
	// Cause returns why the End has ended: io.EOF after Close of this side,
	// otherwise the reason of the peer or the error of the connection. It returns
	// nil before the end. An End that reconnects ends when it no longer reconnects.
	Cause() error
}

// Doner is implemented by Ends.
type Doner interface {
	// Done returns a channel that is closed when the End has ended. An End that
	// reconnects ends when it no longer reconnects.
	Done() <-chan struct{}
}

// EndOwned is implemented by streams and Ends.
type EndOwned interface {
	// End returns the End that the stream belongs to, as the program has it: for a client
	// that reconnects, the *client.RetryEnd. End of an End returns the End itself.
	End() End
}

// StreamOwned is implemented by messages.
type StreamOwned interface {
	// Stream returns the stream on which the message was received. It returns nil for a
	// message that was not received. The stream of an End is the End itself.
	Stream() Stream
}

// Shutdown calls the Shutdown of an End or listener. It returns an error that matches
// errors.ErrUnsupported if c has none. See [Shutdowner].
func Shutdown(ctx context.Context, c io.Closer) error {
	if s, ok := c.(Shutdowner); ok {
		return s.Shutdown(ctx)
	}
	return unsupported("Shutdown")
}

// OpenStreamContext calls the OpenStreamContext of an End. It returns an error that matches
// errors.ErrUnsupported if m has none. See [StreamOpener].
func OpenStreamContext(ctx context.Context, m Multiplexer, opts ...*options.OpenStreamOptions) (Stream, error) {
	if m, ok := m.(StreamOpener); ok {
		return m.OpenStreamContext(ctx, opts...)
	}
	return nil, unsupported("OpenStreamContext")
}

// CloseWrite calls the CloseWrite of a stream or End. It returns an error that matches
// errors.ErrUnsupported if c has none. See [HalfCloser].
func CloseWrite(c net.Conn) error {
	if s, ok := c.(interface{ CloseWrite() error }); ok {
		return s.CloseWrite()
	}
	return unsupported("CloseWrite")
}

// CloseRead calls the CloseRead of a stream or End. It returns an error that matches
// errors.ErrUnsupported if c has none. See [HalfCloser].
func CloseRead(c net.Conn) error {
	if s, ok := c.(interface{ CloseRead() error }); ok {
		return s.CloseRead()
	}
	return unsupported("CloseRead")
}

// Reset calls the Reset of a stream or End. It returns an error that matches
// errors.ErrUnsupported if s has none. See [Resetter].
func Reset(s Stream, code Code, text string) error {
	if s, ok := s.(Resetter); ok {
		return s.Reset(code, text)
	}
	return unsupported("Reset")
}

// CloseWithError calls the CloseWithError of an End. It returns an error that matches
// errors.ErrUnsupported if e has none. See [ErrorCloser].
func CloseWithError(e End, code Code, text string) error {
	if e, ok := e.(ErrorCloser); ok {
		return e.CloseWithError(code, text)
	}
	return unsupported("CloseWithError")
}

// Cause calls the Cause of an End. It returns nil if e has none. See [Causer].
func Cause(e End) error {
	if e, ok := e.(Causer); ok {
		return e.Cause()
	}
	return nil
}

// Done calls the Done of an End. It returns nil, a channel that is never closed, if e has
// none. See [Doner].
func Done(e End) <-chan struct{} {
	if e, ok := e.(Doner); ok {
		return e.Done()
	}
	return nil
}

// errUnsupported is the name of an optional method that a value does not have. It matches
// errors.ErrUnsupported.
type errUnsupported string

// unsupported returns the error for an optional method that a value does not have.
func unsupported(method string) error { return errUnsupported(method) }

// Error implements error.
func (e errUnsupported) Error() string { return "the value has no method " + string(e) }

// Is implements errors.Is.
func (e errUnsupported) Is(target error) bool { return target == errors.ErrUnsupported }
