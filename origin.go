package geminio

import (
	"context"

	"github.com/singchia/geminio/internal/ctxkey"
)

// This file has the ways from a context or a message to its stream and End, so that a program
// needs no table of Ends.

// EndFrom returns the End whose peer has made the call that a handler serves. ctx is the
// context of the handler or middleware, or one that is derived from it. The End is the value
// that the program has: the one that AcceptEnd or a constructor returns, and for a client that
// reconnects the *client.RetryEnd.
//
// It returns false if ctx is not such a context. After the end of the connection it may return
// false too: then the garbage collector has freed the End, because nothing else refers to it
// and this handler has not asked for it before.
func EndFrom(ctx context.Context) (End, bool) {
	if e, ok := ctx.Value(ctxkey.End{}).(End); ok {
		return e, true
	}
	s, ok := StreamFrom(ctx)
	if !ok {
		return nil, false
	}
	return EndOf(s)
}

// StreamFrom returns the stream on which the peer has made the call that a handler serves. It
// is the End itself for calls on the default stream. In all else it is like [EndFrom].
func StreamFrom(ctx context.Context) (Stream, bool) {
	s, ok := ctx.Value(ctxkey.Stream{}).(Stream)
	return s, ok
}

// WithStream returns a context that is derived from ctx, from which [StreamFrom] returns s
// and [EndFrom] returns the End of s. A program that dispatches messages to handlers uses it,
// and so do tests that call a handler without a connection.
func WithStream(ctx context.Context, s Stream) context.Context {
	return streamContext{ctx, s}
}

// streamContext is the context of WithStream.
type streamContext struct {
	context.Context
	s Stream
}

// Value implements context.Context.
func (c streamContext) Value(key any) any {
	switch key.(type) {
	case ctxkey.Stream:
		return c.s
	case ctxkey.End:
		e, _ := EndOf(c.s)
		return e
	}
	return c.Context.Value(key)
}

// StreamOf returns the stream on which a message was received. It is the End itself for
// messages of the default stream. It returns false for a message that was not received, and
// for a value without a method Stream (see [StreamOwned]).
func StreamOf(m Message) (Stream, bool) {
	o, ok := m.(StreamOwned)
	if !ok {
		return nil, false
	}
	s := o.Stream()
	return s, s != nil
}

// EndOf returns the End that a stream belongs to. For an End it returns the End itself. It
// returns false for a value without a method End (see [EndOwned]) that is not an End.
func EndOf(s Stream) (End, bool) {
	if o, ok := s.(EndOwned); ok {
		e := o.End()
		return e, e != nil
	}
	e, ok := s.(End)
	return e, ok
}
