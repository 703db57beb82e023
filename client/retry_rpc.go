package client

import (
	"context"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/options"
)

// NewRequest makes a request, which is good also after a reconnect. The data is not
// copied: it must not change until the call is over.
func (r *RetryEnd) NewRequest(data []byte, opts ...*options.NewRequestOptions) geminio.Request {
	return application.NewRequest(r.opt.PacketFactory.NewPacketID(), r.ClientID(), multiplexer.DefaultID, data, opts)
}

// Call calls a method of the server and waits for its response, at most until ctx
// or a timeout ends: where there is no connection it waits for one. If the
// connection is lost while the call is under way, the call is made again on the next
// one if the server has not seen it, or if it is marked as idempotent; else the error
// is a *geminio.InterruptedError that matches geminio.ErrMaybeExecuted.
func (r *RetryEnd) Call(ctx context.Context, method string, req geminio.Request, opts ...*options.CallOptions) (geminio.Response, error) {
	switch {
	case ctx == nil:
		return nil, nilarg.New("call", "context")
	case req == nil:
		return nil, nilarg.New("call", "request")
	}
	if err := r.check(req.ClientID(), req.StreamID()); err != nil {
		return nil, err
	}
	if err := r.admit(); err != nil {
		return nil, err
	}
	until, repeat, sent := until(application.CallTimeout(req, opts)), idempotent(opts), false
	for underWay := false; ; underWay = true {
		l, err := r.await(ctx, until, len(req.Data())+len(req.Custom()), underWay, sent)
		if err != nil {
			return nil, err
		}
		timeout, err := left(until)
		if err != nil {
			return nil, err
		}
		resp, err := l.control().DoCall(ctx, method, req, timeout)
		if !r.again(l, err, repeat) {
			if sent {
				err = r.atEnd(err, sent)
			}
			return resp, err
		}
		sent = sent || maybe(err)
	}
}

// CallAsync is Call without the wait: the returned Call, with its Response or Error,
// is sent to ch when it is over. It waits for nothing but the credit that the
// request needs.
func (r *RetryEnd) CallAsync(ctx context.Context, method string, req geminio.Request, ch chan *geminio.Call, opts ...*options.CallOptions) (*geminio.Call, error) {
	switch {
	case ctx == nil:
		return nil, nilarg.New("call async", "context")
	case req == nil:
		return nil, nilarg.New("call async", "request")
	}
	if err := r.check(req.ClientID(), req.StreamID()); err != nil {
		return nil, err
	}
	if err := r.admit(); err != nil {
		return nil, err
	}
	if ch == nil {
		ch = make(chan *geminio.Call, 1)
	}
	c := &geminio.Call{Method: method, Request: req, Done: ch}
	err := r.calls.start(&job{
		lane: &r.calls, order: req.ID(), size: len(req.Data()) + len(req.Custom()), index: -1,
		ctx: ctx, until: until(application.CallTimeout(req, opts)), repeat: idempotent(opts),
		begin: func(l *link, timeout time.Duration, done func(geminio.Response, error)) error {
			return l.control().StartCall(ctx, method, req, timeout, done)
		},
		done: func(resp geminio.Response, err error) {
			c.Response, c.Error = resp, err
			application.Hand(r.log, r.done, ch, c)
		},
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// idempotent tells whether a call may be carried out twice.
func idempotent(opts []*options.CallOptions) bool {
	if len(opts) == 0 {
		return false
	}
	v := options.MergeCallOptions(opts...).Idempotent
	return v != nil && *v
}

// Register lets the server call a method, and returns when the server has taken
// note. It is registered again after each reconnect.
func (r *RetryEnd) Register(ctx context.Context, method string, rpc geminio.RPC) error {
	switch {
	case ctx == nil:
		return nilarg.New("register", "context")
	case rpc == nil:
		return nilarg.New("register", "rpc")
	}
	if err := r.admit(); err != nil {
		return err
	}
	there := r.methods.Has(method)
	for sent := false; ; sent = true {
		l, err := r.await(ctx, time.Time{}, 0, sent, sent)
		if err != nil {
			return err
		}
		err = l.e.Register(ctx, method, rpc)
		if _, refused := err.(*geminio.RemoteError); refused && !there {
			r.methods.Remove(method) // which an earlier attempt may have left there
		}
		if !r.again(l, err, true) {
			return err
		}
	}
}

// Hijack has calls of the server handled by rpc before any registered method: see
// geminio.RPCer. It stays over reconnects.
func (r *RetryEnd) Hijack(rpc geminio.HijackRPC, opts ...*options.HijackOptions) error {
	return r.methods.Hijack(rpc, opts...)
}
