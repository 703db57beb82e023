package geminio

import (
	"context"
	"errors"
	"io"
	"net"
)

// The Ends, streams and listeners of this library have methods that their interfaces do
// not name: an interface that grows would break the programs that implement it, as fakes
// and wrappers do. This file gives those methods interfaces of their own. The functions
// [Shutdown], [CloseWrite], [CloseRead], [Reset], [CloseWithError], [Cause] and [Done]
// call them without a type assertion.
//
//	                 End    RetryEnd    Stream    Listener
//	Shutdowner       yes    yes                   yes
//	HalfCloser       yes    yes         yes
//	Resetter         yes    yes         yes
//	ErrorCloser      yes    yes
//	Causer           yes    yes
//	Doner            yes    yes
//
// A wrapper that embeds an interface hides the optional methods of the value that it
// holds. It has those that it declares itself.

// Shutdowner is implemented by Ends and listeners.
type Shutdowner interface {
	// Shutdown lets nothing new begin, neither at this side nor at the peer (it gets
	// [ErrGoingAway]), waits until the calls, messages and streams that are under way
	// have ended, and closes the End. A listener refuses new clients and shuts all its
	// Ends down. If ctx ends earlier, Shutdown closes at once and returns ctx's error.
	Shutdown(ctx context.Context) error
}

// HalfCloser is implemented by streams and Ends. It ends one direction of the raw bytes;
// calls and messages go on. On an End that reconnects it holds for this connection and
// all that follow.
type HalfCloser interface {
	// CloseWrite ends the bytes that this side sends: the peer reads io.EOF after what
	// was written. Write returns net.ErrClosed from now on. After Close, CloseWrite
	// returns net.ErrClosed.
	CloseWrite() error

	// CloseRead discards the bytes that have come and tells the peer to send no more:
	// its Write returns a [*StreamError]. Read returns io.EOF from now on. After Close,
	// CloseRead returns net.ErrClosed.
	CloseRead() error
}

// Resetter is implemented by streams and Ends.
type Resetter interface {
	// Reset ends the stream at once, in both directions, and tells the peer why: its
	// Read and Write return a [*StreamError] with code and text. Bytes that were not
	// sent yet are discarded. The code must be one that an application may choose, as
	// for [Coder]; of the text at most 512 bytes travel. After the end of the stream
	// Reset returns net.ErrClosed. Reset of an End is CloseWithError.
	Reset(code Code, text string) error
}

// ErrorCloser is implemented by Ends.
type ErrorCloser interface {
	// CloseWithError is Close that tells the peer why: the cause of its End is a
	// [*RemoteError] with code and text. The code must be one that an application may
	// choose, as for [Coder]; of the text at most 512 bytes travel.
	CloseWithError(code Code, text string) error
}

// Causer is implemented by Ends.
type Causer interface {
	// Cause returns why the End has ended: io.EOF after Close at this side, else what
	// the peer said or what broke the connection. It returns nil as long as the End has
	// not ended. The cause of an End that reconnects is why it has ended for good.
	Cause() error
}

// Doner is implemented by Ends.
type Doner interface {
	// Done returns a channel that is closed when the End has ended. That of an End that
	// reconnects is closed when it has ended for good.
	Done() <-chan struct{}
}

// Shutdown calls the Shutdown of an End or listener. It returns an error that matches
// errors.ErrUnsupported if c has none. See [Shutdowner].
func Shutdown(ctx context.Context, c io.Closer) error {
	if s, ok := c.(Shutdowner); ok {
		return s.Shutdown(ctx)
	}
	return unsupported("Shutdown")
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

// errUnsupported is the error of a value that does not have an optional method.
type errUnsupported string

func unsupported(method string) error { return errUnsupported(method) }

func (e errUnsupported) Error() string { return "the value has no method " + string(e) }

func (e errUnsupported) Is(target error) bool { return target == errors.ErrUnsupported }
