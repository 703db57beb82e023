package typed

import (
	"context"
	"iter"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// Bidirectional describes a streaming method: the caller sends any number of Ins, and the handler
// sends any number of Outs, in any order. Both sides usually share one variable. All methods are
// safe for concurrent use.
type Bidirectional[In, Out any] struct {
	// Name is the name of the method.
	Name string
	// Codec encodes all items. Nil stands for JSON. Both sides must use the same.
	Codec Codec
	// MaxItem is the largest encoded item, in bytes, by default 4 MiB. A larger one fails the
	// call with an error that matches geminio.ErrTooLarge.
	MaxItem int
}

// Call begins a call. The program must call Close of the Conversation. The call ends when the
// handler returns, when ctx ends, when the timeout of opts has passed, or with Close. The errors
// are those of [ServerStreaming.Call].
func (m Bidirectional[In, Out]) Call(ctx context.Context, end geminio.Multiplexer, opts ...*options.CallOptions) (*Conversation[In, Out], error) {
	k, err := open(ctx, end, coderOf(m.Codec, m.Name), maxItem(m.MaxItem), nil, opts)
	if err != nil {
		return nil, err
	}
	return &Conversation[In, Out]{side: k, stream: k.stream, close: k.close}, nil
}

// Register has s serve the method with h, in place of an earlier handler. A nil h removes the
// method. The call ends when h returns. Its error is sent to the caller with its text and code.
func (m Bidirectional[In, Out]) Register(s *Server, h func(ctx context.Context, c *Conversation[Out, In]) error) {
	method := streamMethod{coder: coderOf(m.Codec, m.Name), max: maxItem(m.MaxItem)}
	if h != nil {
		method.serve = func(ctx context.Context, _ geminio.Request, s *session) ([]byte, error) {
			return nil, h(ctx, &Conversation[Out, In]{side: s, stream: s.stream, close: func(error) {}})
		}
	}
	s.register(m.Name, method)
}

// Conversation is one side of a [Bidirectional] call: it sends Ss and receives Rs. One goroutine
// may send and another one may receive at the same time. CloseSend belongs to the sending one;
// Close may be called at any time.
type Conversation[S, R any] struct {
	side   itemSide
	stream geminio.Stream
	close  func(why error)
}

// itemSide is a session at the handler, and a call at the caller.
type itemSide interface {
	send(v any) error
	receive(v any) error
}

// Send sends an item. It waits while the windows of the stream are full. If v cannot be encoded or
// is too large, the error is a *DataError or matches geminio.ErrTooLarge, nothing is sent, and
// further items can be sent. At the caller, Send returns io.EOF if the handler has returned without
// an error; other errors say why the call has ended.
func (c *Conversation[S, R]) Send(v S) error { return c.side.send(v) }

// CloseSend says that no more items follow. The other side receives io.EOF after the items that
// were sent. The handler's return does the same.
func (c *Conversation[S, R]) CloseSend() error { return geminio.CloseWrite(c.stream) }

// Receive receives an item. It returns io.EOF when the other side sends no more: at the caller,
// after the handler has returned without an error, or has called CloseSend and returned. Other
// errors say why the call has ended: at the caller, the error of the handler.
func (c *Conversation[S, R]) Receive() (R, error) {
	var v R
	err := c.side.receive(&v)
	if err != nil {
		var zero R
		return zero, err
	}
	return v, nil
}

// All returns the items that Receive returns. The last pair has an error, if there is one other
// than io.EOF. Leaving the range does not end the call.
func (c *Conversation[S, R]) All() iter.Seq2[R, error] { return all[R](c.side.receive) }

// Close ends the call. If the handler has not returned, its context ends, and its operations return
// an error that matches context.Canceled. A second Close, and Close in a handler, have no effect.
// Close returns nil.
func (c *Conversation[S, R]) Close() error {
	c.close(nil)
	return nil
}
