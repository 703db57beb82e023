package application

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/options"
)

// Plain has the operations of a stream without middleware. The Start functions call done with the
// outcome, unless they return an error.
type Plain struct {
	Call         geminio.Caller
	StartCall    func(ctx context.Context, method string, req geminio.Request, opts []*options.CallOptions, done func(geminio.Response, error)) error
	Publish      geminio.Publisher
	StartPublish func(ctx context.Context, msg geminio.Message, opts []*options.PublishOptions, done func(error)) error
	Receive      geminio.Receiver
	Open         geminio.Opener // nil for a stream that is not an End
}

// Chains has the operations of a stream in their middleware. Each chain is made at its first use.
// The methods of Chains are safe for concurrent use.
type Chains struct {
	log   *slog.Logger
	s     geminio.Stream // as the user has it
	all   *geminio.Interceptors
	plain Plain

	call    chain[geminio.Caller]
	publish chain[geminio.Publisher]
	receive chain[geminio.Receiver]
	open    chain[geminio.Opener]
}

// NewChains returns the Chains of a stream.
func NewChains(log *slog.Logger, s geminio.Stream, all *geminio.Interceptors, plain Plain) *Chains {
	return &Chains{log: log, s: s, all: all, plain: plain}
}

// chain is an operation in its middleware, which get calls when the operation is used first.
type chain[F any] struct {
	once sync.Once
	f    F
	err  error
}

// errChainExited is the error of a chain if a middleware has ended the goroutine that made it.
var errChainExited = errors.New("a middleware ended its goroutine when it was called first")

// get returns the operation. make makes it.
func (c *chain[F]) get(make func() (F, error)) (F, error) {
	c.once.Do(func() {
		c.err = errChainExited
		c.f, c.err = make() // assigns nothing after runtime.Goexit
	})
	return c.f, c.err
}

// wrapAll returns f in its middleware. what names the middleware in errors, and owner is the stream
// or End of the operation.
func wrapAll[O, F any, M ~func(O, F) F](log *slog.Logger, what string, owner O, all []M, f F) (F, error) {
	for i := len(all) - 1; i >= 0; i-- {
		var err error
		guard.Run(log, what, func() { f = all[i](owner, f) }, func(failed error) { err = failed })
		if err == nil && reflect.ValueOf(f).IsNil() {
			err = fmt.Errorf("%s %d returned nil", what, i)
		}
		if err != nil {
			return f, err
		}
	}
	return f, nil
}

// caller returns Call in its middleware.
func (c *Chains) caller() (geminio.Caller, error) {
	return c.call.get(func() (geminio.Caller, error) {
		return wrapAll(c.log, "CallMiddleware", c.s, c.all.CallMiddleware, c.callInner)
	})
}

// Call is Call in its middleware.
func (c *Chains) Call(ctx context.Context, method string, req geminio.Request, opts ...*options.CallOptions) (geminio.Response, error) {
	call, err := c.caller()
	if err != nil {
		return nil, err
	}
	return call(unstarted(ctx), method, req, opts...)
}

// StartCall is Call without the wait: it returns when the call has begun, or with an error that is
// the outcome of a call that has not begun. Otherwise done gets the outcome.
func (c *Chains) StartCall(ctx context.Context, method string, req geminio.Request, opts []*options.CallOptions, done func(geminio.Response, error)) error {
	call, err := c.caller()
	if err != nil {
		return err
	}
	return startChain(c.log, "CallMiddleware", ctx, func(ctx context.Context) (geminio.Response, error) {
		return call(ctx, method, req, opts...)
	}, done)
}

// callInner makes a call. It is the last Caller of the chain.
func (c *Chains) callInner(ctx context.Context, method string, req geminio.Request, opts ...*options.CallOptions) (geminio.Response, error) {
	st, _ := ctx.Value(starterKey{}).(*starter)
	if st == nil {
		return c.plain.Call(ctx, method, req, opts...)
	}
	return st.wait(func(done func(geminio.Response, error)) error {
		return c.plain.StartCall(ctx, method, req, opts, done)
	})
}

// publisher returns Publish in its middleware.
func (c *Chains) publisher() (geminio.Publisher, error) {
	return c.publish.get(func() (geminio.Publisher, error) {
		return wrapAll(c.log, "PublishMiddleware", c.s, c.all.PublishMiddleware, c.publishInner)
	})
}

// Publish is Publish in its middleware.
func (c *Chains) Publish(ctx context.Context, msg geminio.Message, opts ...*options.PublishOptions) error {
	publish, err := c.publisher()
	if err != nil {
		return err
	}
	return publish(unstarted(ctx), msg, opts...)
}

// StartPublish is Publish without the wait, as StartCall is Call without the wait.
func (c *Chains) StartPublish(ctx context.Context, msg geminio.Message, opts []*options.PublishOptions, done func(error)) error {
	publish, err := c.publisher()
	if err != nil {
		return err
	}
	return startChain(c.log, "PublishMiddleware", ctx, func(ctx context.Context) (geminio.Response, error) {
		return nil, publish(ctx, msg, opts...)
	}, func(_ geminio.Response, err error) { done(err) })
}

// publishInner publishes a message. It is the last Publisher of the chain.
func (c *Chains) publishInner(ctx context.Context, msg geminio.Message, opts ...*options.PublishOptions) error {
	st, _ := ctx.Value(starterKey{}).(*starter)
	if st == nil {
		return c.plain.Publish(ctx, msg, opts...)
	}
	_, err := st.wait(func(done func(geminio.Response, error)) error {
		return c.plain.StartPublish(ctx, msg, opts, func(err error) { done(nil, err) })
	})
	return err
}

// Receive is Receive in its middleware.
func (c *Chains) Receive(ctx context.Context) (geminio.Message, error) {
	receive, err := c.receive.get(func() (geminio.Receiver, error) {
		return wrapAll(c.log, "ReceiveMiddleware", c.s, c.all.ReceiveMiddleware, c.plain.Receive)
	})
	if err != nil {
		return nil, err
	}
	return receive(ctx)
}

// Open is OpenStreamContext of an End in its middleware.
func (c *Chains) Open(ctx context.Context, opts ...*options.OpenStreamOptions) (geminio.Stream, error) {
	open, err := c.open.get(func() (geminio.Opener, error) {
		return wrapAll(c.log, "OpenMiddleware", c.s.(geminio.End), c.all.OpenMiddleware, c.plain.Open)
	})
	if err != nil {
		return nil, err
	}
	return open(ctx, opts...)
}

// The states of a starter.
const (
	// starting: the operation has not begun. begin and refuse leave this state.
	starting uint32 = iota
	// begun: the operation has begun. Nothing leaves this state.
	begun
	// refused: the chain has returned an error before the operation has begun. Nothing leaves this
	// state.
	refused
)

// starter tells when a chain of middleware, which runs in a goroutine of its own, has begun its
// asynchronous operation.
type starter struct {
	state atomic.Uint32
	begun chan struct{} // closed in the state begun
}

// starterKey is the key of the *starter in the context of an asynchronous operation.
type starterKey struct{}

// unstarted returns ctx without a starter. A middleware has one in its context if it makes a call of
// its own within an asynchronous operation.
func unstarted(ctx context.Context) context.Context {
	if st, _ := ctx.Value(starterKey{}).(*starter); st != nil {
		return context.WithValue(ctx, starterKey{}, (*starter)(nil))
	}
	return ctx
}

// begin says that the operation has begun.
func (st *starter) begin() {
	if st.state.CompareAndSwap(starting, begun) {
		close(st.begun)
	}
}

// wait begins an operation, and waits for its outcome.
func (st *starter) wait(start func(done func(geminio.Response, error)) error) (geminio.Response, error) {
	type outcome struct {
		resp geminio.Response
		err  error
	}
	over := make(chan outcome, 1)
	if err := start(func(resp geminio.Response, err error) { over <- outcome{resp, err} }); err != nil {
		return nil, err
	}
	st.begin()
	o := <-over
	return o.resp, o.err
}

// startChain runs a chain in a goroutine of its own, and returns when the chain has begun its
// operation or has returned. what names the middleware. If the chain returns an error before it has
// begun the operation, that is the result; otherwise done gets the outcome.
func startChain(log *slog.Logger, what string, ctx context.Context, run func(context.Context) (geminio.Response, error), done func(geminio.Response, error)) error {
	st := &starter{begun: make(chan struct{})}
	early := make(chan error, 1)
	go func() {
		var resp geminio.Response
		var err error
		guard.Run(log, what, func() { resp, err = run(context.WithValue(ctx, starterKey{}, st)) }, func(failed error) {
			if failed != nil {
				resp, err = nil, failed
			}
			if err != nil && st.state.CompareAndSwap(starting, refused) {
				early <- err
				return
			}
			st.begin()
			done(resp, err)
		})
	}()
	select {
	case <-st.begun:
		return nil
	case err := <-early:
		return err
	}
}

// intercepted returns the Chains of the stream, which are made on first use.
func (s *Stream) intercepted() *Chains {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.chains == nil {
		plain := Plain{
			Call: s.plainCall, StartCall: s.plainStartCall,
			Publish: s.plainPublish, StartPublish: s.plainStartPublish, Receive: s.receive,
		}
		if s == s.end.Stream {
			plain.Open = s.end.openStream
		}
		s.chains = NewChains(s.end.log, s.user(), s.end.cfg.Interceptors, plain)
	}
	return s.chains
}

// admit passes a stream of the peer through the AcceptMiddleware. It reports false if a middleware
// has refused the stream, which is reset then.
func (e *End) admit(s *Stream) (out geminio.Stream, ok bool) {
	i := e.cfg.Interceptors
	if i == nil || len(i.AcceptMiddleware) == 0 {
		return s, true
	}
	guard.Run(e.log, "AcceptMiddleware", func() {
		accept, err := e.acceptor.get(func() (geminio.Acceptor, error) {
			return wrapAll(e.log, "AcceptMiddleware", e.user, i.AcceptMiddleware,
				func(s geminio.Stream) (geminio.Stream, error) { return s, nil })
		})
		if err == nil {
			out, err = accept(s)
		}
		if err == nil && out == nil {
			err = errors.New("AcceptMiddleware returned no stream")
		}
		if err != nil {
			out = nil
			e.refuse(s, err)
		}
	}, func(failed error) { // also if a middleware ends the goroutine of AcceptStream
		if failed != nil {
			out = nil
			e.refuse(s, failed)
		}
	})
	return out, out != nil
}

// refuse resets a stream that the AcceptMiddleware has refused.
func (e *End) refuse(s *Stream, err error) {
	why := guard.Describe(e.log, err)
	if !guard.Choosable(geminio.Code(why.Code)) {
		why.Code = uint32(geminio.CodeApplication)
	}
	s.d.Reset(why)
}
