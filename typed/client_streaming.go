package typed

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// ClientStreaming describes a streaming method: the caller sends any number of Items, and the
// handler answers with one Resp. Both sides usually share one variable. All methods are safe for
// concurrent use.
type ClientStreaming[Item, Resp any] struct {
	// Name is the name of the method.
	Name string
	// Codec encodes items and responses. Nil stands for JSON. Both sides must use the same.
	Codec Codec
	// MaxItem is the largest encoded item, in bytes, by default 4 MiB. A larger one fails the
	// call with an error that matches geminio.ErrTooLarge.
	MaxItem int
}

// Call sends the items of a sequence, and returns the response. It waits while the handler does
// not take items. If the handler returns before it has taken all items, Call stops at the next
// item, and returns the response or the error of the handler.
//
// An error in the sequence, or of an item that cannot be encoded, ends the call: Call returns that
// error, and the handler gets it with its text and code. Other errors are those of
// [ServerStreaming.Call].
func (m ClientStreaming[Item, Resp]) Call(ctx context.Context, end geminio.Multiplexer, items iter.Seq2[Item, error], opts ...*options.CallOptions) (resp Resp, err error) {
	c := coderOf(m.Codec, m.Name)
	k, err := open(ctx, end, c, maxItem(m.MaxItem), nil, opts)
	if err != nil {
		return resp, err
	}
	defer func() { k.close(err) }()
	for item, err := range items {
		if err != nil {
			return resp, err
		}
		if err := k.send(item); err == io.EOF {
			break
		} else if err != nil {
			return resp, err
		}
	}
	if err := geminio.CloseWrite(k.stream); errors.Is(err, errors.ErrUnsupported) {
		return resp, err // the handler would wait for the end of the items
	}
	if err := k.outcome(io.EOF); err != io.EOF {
		return resp, err
	}
	if err := c.checkOf("response", k.resp); err != nil {
		return resp, err
	}
	err = c.decode("response", k.resp.Data(), &resp)
	return resp, err
}

// Register has s serve the method with h, in place of an earlier handler. A nil h removes the
// method. The handler ranges over the items, at most once. If the last pair has an error, its item
// is zero, and the caller has left: the error matches context.Canceled or is a *geminio.RemoteError
// with the caller's reason. The error of h is sent to the caller with its text and code.
func (m ClientStreaming[Item, Resp]) Register(s *Server, h func(ctx context.Context, items iter.Seq2[Item, error]) (Resp, error)) {
	method := streamMethod{coder: coderOf(m.Codec, m.Name), max: maxItem(m.MaxItem)}
	if h != nil {
		method.serve = func(ctx context.Context, _ geminio.Request, s *session) ([]byte, error) {
			resp, err := h(ctx, all[Item](s.receive))
			if err != nil {
				return nil, err
			}
			method.coder.answer(ctx)
			return method.coder.encode(nil, "response", resp)
		}
	}
	s.register(m.Name, method)
}

// all returns the items that receive returns, until io.EOF or another error.
func all[T any](receive func(any) error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			var item T
			err := receive(&item)
			if err == io.EOF {
				return
			}
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
			if !yield(item, nil) {
				return
			}
		}
	}
}
