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

// NewRequest makes a request, which stays valid after a reconnect. The data is not
// copied: it must not change until the call has ended.
func (r *RetryEnd) NewRequest(data []byte, opts ...*options.NewRequestOptions) geminio.Request {
	return application.NewRequest(r.opt.PacketFactory.NewPacketID(), r.ClientID(), multiplexer.DefaultID, data, opts)
}

// Call calls a method of the server and waits for its response, at most until ctx
// or a timeout ends. If there is no connection, Call waits for one. If the connection is
// lost while the call is under way, the call is made again on the next connection if the
// server has not seen it, or if it is marked as idempotent. Otherwise the error is a
// *geminio.InterruptedError that matches geminio.ErrMaybeExecuted.
func (r *RetryEnd) Call(ctx context.Context, method string, req geminio.Request, opts ...*options.CallOptions) (geminio.Response, error) {
	switch {
	case ctx == nil:
		return nil, nilarg.New("call", "context")
	case req == nil:
		return nil, nilarg.New("call", "request")
	}
	if i := r.interceptors; i != nil && len(i.CallMiddleware) > 0 {
		return r.chains.Call(ctx, method, req, opts...)
	}
	return r.plainCall(ctx, method, req, opts...)
}

// plainCall is Call without middleware.
func (r *RetryEnd) plainCall(ctx context.Context, method string, req geminio.Request, opts ...*options.CallOptions) (geminio.Response, error) {
	if err := r.check(req.ClientID(), req.StreamID()); err != nil {
		return nil, err
	}
	if !r.observer.Calls() {
		return r.doCall(ctx, method, req, opts)
	}
	return r.observer.Call(ctx, r, r, method, req, time.Now(), func() (geminio.Response, error) { return r.doCall(ctx, method, req, opts) })
}

// doCall is plainCall without the checks of the arguments.
func (r *RetryEnd) doCall(ctx context.Context, method string, req geminio.Request, opts []*options.CallOptions) (geminio.Response, error) {
	if err := r.beginOperation(); err != nil {
		return nil, err
	}
	defer r.endOperation()
	r.callCounts.begun.Add(1)
	defer r.callCounts.ended.Add(1)
	op := operation{
		call: true, method: method,
		ctx: ctx, deadline: deadlineAfter(application.CallTimeout(req, opts)),
		size: len(req.Data()) + len(req.Custom()) + metadataSize(ctx), repeatable: idempotent(opts),
	}
	var resp geminio.Response
	err := r.do(&op, func(l *link, timeout time.Duration) (err error) {
		resp, err = l.control().DoCall(ctx, method, req, timeout)
		return err
	})
	return resp, err
}

// CallAsync is Call without the wait. The returned Call is sent to ch, with its Response
// or Error, when it has ended. CallAsync waits only for the credit that the request needs.
func (r *RetryEnd) CallAsync(ctx context.Context, method string, req geminio.Request, ch chan *geminio.Call, opts ...*options.CallOptions) (*geminio.Call, error) {
	switch {
	case ctx == nil:
		return nil, nilarg.New("call async", "context")
	case req == nil:
		return nil, nilarg.New("call async", "request")
	}
	if ch == nil {
		ch = make(chan *geminio.Call, 1)
	}
	c := &geminio.Call{Method: method, Request: req, Done: ch}
	done := func(resp geminio.Response, err error) {
		c.Response, c.Error = resp, err
		application.Hand(r.log, r.done, ch, c)
	}
	var err error
	if i := r.interceptors; i != nil && len(i.CallMiddleware) > 0 {
		err = r.chains.StartCall(ctx, method, req, opts, done)
	} else {
		err = r.plainStartCall(ctx, method, req, opts, done)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// plainStartCall is plainCall without the wait. It calls done with the outcome, unless it returns
// an error.
func (r *RetryEnd) plainStartCall(ctx context.Context, method string, req geminio.Request, opts []*options.CallOptions, done func(geminio.Response, error)) error {
	if err := r.check(req.ClientID(), req.StreamID()); err != nil {
		return err
	}
	start := func(done func(geminio.Response, error)) error { return r.startCall(ctx, method, req, opts, done) }
	if r.observer.Calls() {
		return r.observer.StartCall(ctx, r, r, method, req, time.Now(), start, done)
	}
	return start(done)
}

// startCall is plainStartCall without the checks of the arguments.
func (r *RetryEnd) startCall(ctx context.Context, method string, req geminio.Request, opts []*options.CallOptions, done func(geminio.Response, error)) error {
	if err := r.beginOperation(); err != nil {
		return err
	}
	r.callCounts.begun.Add(1)
	err := r.calls.start(&job{
		queue: &r.calls, order: req.ID(),
		operation: operation{
			call: true, method: method,
			ctx: ctx, deadline: deadlineAfter(application.CallTimeout(req, opts)),
			size: len(req.Data()) + len(req.Custom()) + metadataSize(ctx), repeatable: idempotent(opts),
		},
		begin: func(l *link, timeout time.Duration, done func(geminio.Response, error)) error {
			return l.control().StartCall(ctx, method, req, timeout, done)
		},
		done: func(resp geminio.Response, err error) {
			r.callCounts.ended.Add(1)
			done(resp, err)
			r.endOperation()
		},
	})
	if err != nil {
		r.callCounts.ended.Add(1)
		r.endOperation()
	}
	return err
}

// idempotent tells whether a call may be executed twice.
func idempotent(opts []*options.CallOptions) bool {
	if len(opts) == 0 {
		return false
	}
	v := options.MergeCallOptions(opts...).Idempotent
	return v != nil && *v
}

// Register lets the server call a method, and returns when the server has confirmed it. After
// each reconnect the End registers the method again. If there is no connection, Register waits
// for one.
func (r *RetryEnd) Register(ctx context.Context, method string, rpc geminio.RPC) error {
	switch {
	case ctx == nil:
		return nilarg.New("register", "context")
	case rpc == nil:
		return nilarg.New("register", "rpc")
	}
	if r.preparing.Load() {
		if err := r.methods.Add(method, rpc); err != nil || r.preparing.Load() {
			return err // the first connection registers it with the server
		}
	}
	if err := r.beginOperation(); err != nil {
		return err
	}
	defer r.endOperation()
	registered := r.methods.Has(method)
	op := operation{ctx: ctx, repeatable: true}
	return r.do(&op, func(l *link, _ time.Duration) error {
		err := l.e.Register(ctx, method, rpc)
		if _, refused := err.(*geminio.RemoteError); refused && !registered {
			r.methods.Remove(method) // an earlier attempt may have left it there
		}
		return err
	})
}

// Hijack has rpc handle calls of the server in place of the registered methods: see
// geminio.RPCer. It stays in effect after a reconnect.
func (r *RetryEnd) Hijack(rpc geminio.HijackRPC, opts ...*options.HijackOptions) error {
	return r.methods.Hijack(rpc, opts...)
}
