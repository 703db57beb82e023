package typed

import (
	"context"
	"io"
	"iter"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// ServerStreaming describes a streaming method: a call has one Req, and the handler sends any
// number of Items. Both sides usually share one variable. All methods are safe for concurrent use.
type ServerStreaming[Req, Item any] struct {
	// Name is the name of the method.
	Name string
	// Codec encodes requests and items. Nil stands for JSON. Both sides must use the same.
	Codec Codec
	// MaxItem is the largest encoded item, in bytes, by default 4 MiB. A larger one fails the
	// call with an error that matches geminio.ErrTooLarge, at the side that sends it and at the
	// one that receives it.
	MaxItem int
}

// Call returns the items of a call. The call begins when the caller ranges over them, and each
// range makes a call of its own. It ends, and the context of the handler with it, when the range
// ends, when ctx ends, or when the timeout of opts has passed. The handler waits while the caller
// does not take items: both sides hold no more than the windows of a stream.
//
// The last pair has an error, if there is one; then its item is zero. The error is that of the
// handler as a *geminio.RemoteError, ctx.Err(), context.DeadlineExceeded after the timeout, an
// error of OpenStream, a *DataError, an error that matches geminio.ErrTooLarge, or one that says
// that the stream or its connection has ended. Call waits until ctx ends if the peer does not
// accept the stream.
func (m ServerStreaming[Req, Item]) Call(ctx context.Context, end geminio.Multiplexer, req Req, opts ...*options.CallOptions) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		var zero Item
		c := coderOf(m.Codec, m.Name)
		data, err := c.encode(nil, "request", req)
		if err != nil {
			yield(zero, err)
			return
		}
		k, err := open(ctx, end, c, maxItem(m.MaxItem), data, opts)
		if err != nil {
			yield(zero, err)
			return
		}
		defer func() { k.close(err) }() // also if yield panics
		for {
			var item Item
			if err = k.receive(&item); err != nil {
				break
			}
			if !yield(item, nil) {
				return
			}
		}
		if err != io.EOF {
			yield(zero, err)
		}
	}
}

// Register has s serve the method with h, in place of an earlier handler. A nil h removes the
// method. The items arrive in order. The error of h is sent to the caller after the items, with
// its text and code (see geminio.Coder).
func (m ServerStreaming[Req, Item]) Register(s *Server, h func(ctx context.Context, req Req, items *Sender[Item]) error) {
	method := streamMethod{coder: coderOf(m.Codec, m.Name), max: maxItem(m.MaxItem)}
	if h != nil {
		method.serve = func(ctx context.Context, req geminio.Request, s *session) ([]byte, error) {
			var in Req
			if err := method.coder.decode("request", req.Data(), &in); err != nil {
				return nil, err
			}
			return nil, h(ctx, in, &Sender[Item]{s})
		}
	}
	s.register(m.Name, method)
}

// Sender sends the items of a handler. It must not be used after the handler has returned.
type Sender[T any] struct{ s *session }

// Send sends an item. It waits while the windows of the stream are full. One goroutine may use it
// at a time.
//
// If v cannot be encoded or is too large, the error is a *DataError or matches geminio.ErrTooLarge,
// nothing is sent, and further items can be sent. All other errors say that the call has ended. If
// the caller has left, the error matches context.Canceled or is a *geminio.RemoteError with the
// caller's reason.
func (s *Sender[T]) Send(v T) error { return s.s.send(v) }
