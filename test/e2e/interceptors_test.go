package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/rig"
)

// withInterceptors runs a test in a bubble with a plain client and one that reconnects. Both have
// the middleware that set sets.
func withInterceptors(t *testing.T, set func(*client.EndOptions), test func(t *testing.T, near, far geminio.End)) {
	for _, retry := range []bool{false, true} {
		t.Run(fmt.Sprint("retry ", retry), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				co := client.NewEndOptions()
				co.SetLogger(slog.New(slog.DiscardHandler))
				set(co)
				a, b := net.Pipe()
				accepted := make(chan geminio.End, 1)
				go func() {
					far, err := server.NewEndWithConn(b)
					assert.NoError(t, err)
					accepted <- far
				}()
				var near geminio.End
				var err error
				if retry {
					near, err = client.NewRetryEndWithDialer(func() (net.Conn, error) { return a, nil }, co)
				} else {
					near, err = client.NewEndWithConn(a, co)
				}
				require.NoError(t, err)
				far := <-accepted
				defer far.Close()
				defer near.Close()
				test(t, near, far)
			})
		})
	}
}

// Each call passes through the middleware of its stream once, the first one outermost.
func TestCallMiddleware(t *testing.T) {
	var made atomic.Int64
	var owner geminio.Stream
	mark := func(name string) geminio.CallMiddleware {
		return func(s geminio.Stream, next geminio.Caller) geminio.Caller {
			made.Add(1)
			owner = s
			return func(ctx context.Context, method string, req geminio.Request, opts ...*options.CallOptions) (geminio.Response, error) {
				req.SetCustom(append(req.Custom(), name...))
				resp, err := next(ctx, method, req, opts...)
				if err == nil {
					resp.SetData(append(resp.Data(), name...))
				}
				return resp, err
			}
		}
	}
	withInterceptors(t, func(o *client.EndOptions) {
		o.SetCallMiddleware(mark("a"))
		o.SetCallMiddleware(mark("b"))
	}, func(t *testing.T, near, far geminio.End) {
		echo := func(_ context.Context, req geminio.Request, resp geminio.Response) {
			resp.SetData(append([]byte("<"), req.Custom()...))
		}
		stream, farStream := rig.OpenStream(t, near, far)
		mustRegister(t, far, "m", echo)
		mustRegister(t, farStream, "m", echo)
		made.Store(0)
		for _, s := range []geminio.Stream{near, stream} {
			got, err := call(t, s, "m", "")
			require.NoError(t, err)
			require.Equal(t, "<abba", got)
			require.True(t, owner == s)
			c, err := s.CallAsync(t.Context(), "m", s.NewRequest(nil), nil)
			require.NoError(t, err)
			require.NoError(t, (<-c.Done).Error)
			require.Equal(t, "<abba", string(c.Response.Data()))
		}
		require.EqualValues(t, 4, made.Load(), "once for each stream")
		_, err := call(t, near, "unknown", "")
		require.EqualError(t, err, "no such rpc: unknown")
		req := near.NewRequest(nil)
		req.SetClientID(near.ClientID() + 1)
		_, err = near.Call(t.Context(), "m", req)
		require.Equal(t, geminio.ErrMismatchClientID, err)
		_, err = near.CallAsync(t.Context(), "m", req, nil)
		require.Equal(t, geminio.ErrMismatchClientID, err)
	})
}

// A middleware of calls may answer, refuse, repeat and panic.
func TestCallMiddlewareDecides(t *testing.T) {
	refused := errors.New("refused")
	withInterceptors(t, func(o *client.EndOptions) {
		o.SetCallMiddleware(func(_ geminio.Stream, next geminio.Caller) geminio.Caller {
			return func(ctx context.Context, method string, req geminio.Request, opts ...*options.CallOptions) (geminio.Response, error) {
				switch method {
				case "refuse":
					return nil, refused
				case "answer":
					return nil, nil
				case "panic":
					panic("oops")
				case "panic later":
					next(ctx, "m", req, opts...)
					panic("oops")
				}
				resp, err := next(ctx, method, req, opts...)
				for range 2 {
					if err != nil {
						resp, err = next(ctx, method, req, opts...)
					}
				}
				return resp, err
			}
		})
	}, func(t *testing.T, near, far geminio.End) {
		calls := 0
		mustRegister(t, far, "m", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
			if calls++; calls%3 != 0 {
				resp.SetError(errors.New("again"))
			}
		})
		async := func(method string) (outcome, err error) {
			c, err := near.CallAsync(t.Context(), method, near.NewRequest(nil), nil)
			if err != nil {
				return nil, err
			}
			return (<-c.Done).Error, nil
		}
		_, err := call(t, near, "m", "")
		require.NoError(t, err)
		require.Equal(t, 3, calls)
		outcome, err := async("m")
		require.NoError(t, err)
		require.NoError(t, outcome)
		require.Equal(t, 6, calls)

		_, err = call(t, near, "refuse", "")
		require.Equal(t, refused, err)
		_, err = async("refuse")
		require.Equal(t, refused, err)

		resp, err := near.Call(t.Context(), "answer", near.NewRequest(nil))
		require.NoError(t, err)
		require.Nil(t, resp)
		outcome, err = async("answer")
		require.NoError(t, err)
		require.NoError(t, outcome)

		require.PanicsWithValue(t, "oops", func() { call(t, near, "panic", "") })
		_, err = async("panic")
		require.EqualError(t, err, "CallMiddleware panicked")
		outcome, err = async("panic later")
		require.NoError(t, err)
		require.EqualError(t, outcome, "CallMiddleware panicked")
		_, err = call(t, near, "m", "")
		require.NoError(t, err)
	})
}

// Asynchronous publications arrive in their order, and wait for credit, also behind middleware that
// takes time before and after next.
func TestPublishMiddlewareKeepsTheOrder(t *testing.T) {
	const messages = 100
	withInterceptors(t, func(o *client.EndOptions) {
		o.SetPublishMiddleware(func(s geminio.Stream, next geminio.Publisher) geminio.Publisher {
			return func(ctx context.Context, msg geminio.Message, opts ...*options.PublishOptions) error {
				time.Sleep(time.Duration(msg.Data()[0]%7) * time.Millisecond)
				msg.SetTopic("wrapped")
				if msg.Data()[0] == 13 {
					return errors.New("unlucky")
				}
				err := next(ctx, msg, opts...)
				time.Sleep(time.Duration(msg.Data()[0]%5) * time.Millisecond)
				return err
			}
		})
	}, func(t *testing.T, near, far geminio.End) {
		stream, farStream := rig.OpenStream(t, near, far)
		for _, c := range []struct{ from, to geminio.Stream }{{near, far}, {stream, farStream}} {
			done := make(chan *geminio.Publish, messages)
			go func() {
				for i := range messages {
					_, err := c.from.PublishAsync(t.Context(), c.from.NewMessage([]byte{byte(i)}), done)
					if i == 13 {
						assert.EqualError(t, err, "unlucky")
					} else {
						assert.NoError(t, err)
					}
				}
			}()
			for i := range messages {
				if i == 13 {
					continue
				}
				m, err := c.to.Receive(t.Context())
				require.NoError(t, err)
				require.Equal(t, byte(i), m.Data()[0])
				require.Equal(t, "wrapped", m.Topic())
				m.Error(fmt.Errorf("no %d", i))
			}
			for range messages - 1 {
				p := <-done
				require.EqualError(t, p.Error, fmt.Sprint("no ", p.Message.Data()[0]))
			}
			published := make(chan error, 1)
			go func() { published <- c.from.Publish(t.Context(), c.from.NewMessage([]byte{1})) }()
			m, err := c.to.Receive(t.Context())
			require.NoError(t, err)
			require.Equal(t, "wrapped", m.Topic())
			require.NoError(t, m.Done())
			require.NoError(t, <-published)
		}
	})
}

// told is a Message whose answer is told to a function.
type told struct {
	geminio.Message
	tell func(error)
}

func (m *told) Error(err error) error {
	m.tell(err)
	return m.Message.Error(err)
}

func TestReceiveMiddleware(t *testing.T) {
	var answers []error
	withInterceptors(t, func(o *client.EndOptions) {
		o.SetReceiveMiddleware(func(s geminio.Stream, next geminio.Receiver) geminio.Receiver {
			return func(ctx context.Context) (geminio.Message, error) {
				for {
					m, err := next(ctx)
					switch {
					case err != nil:
						return nil, err
					case m.Topic() == "skip":
						m.Error(errors.New("skipped"))
					default:
						return &told{m, func(err error) { answers = append(answers, err) }}, nil
					}
				}
			}
		})
	}, func(t *testing.T, near, far geminio.End) {
		answers = nil
		stream, farStream := rig.OpenStream(t, near, far)
		for _, c := range []struct{ from, to geminio.Stream }{{far, near}, {farStream, stream}} {
			published := make(chan error, 2)
			for _, topic := range []string{"skip", "keep"} {
				go func() {
					opt := options.NewMessage()
					opt.SetTopic(topic)
					published <- c.from.Publish(t.Context(), c.from.NewMessage(nil, opt))
				}()
				synctest.Wait()
			}
			m, err := c.to.Receive(t.Context())
			require.NoError(t, err)
			require.Equal(t, "keep", m.Topic())
			require.NoError(t, m.Error(errors.New("no")))
			require.ElementsMatch(t, []string{"skipped", "no"}, []string{(<-published).Error(), (<-published).Error()})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err = c.to.Receive(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		require.Equal(t, []error{errors.New("no"), errors.New("no")}, answers)
		near.Close()
		_, err := near.Receive(t.Context())
		require.Equal(t, io.EOF, err)
	})
}

// counted is a stream that counts the bytes of Write.
type counted struct {
	geminio.Stream
	n *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Stream.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func TestOpenMiddleware(t *testing.T) {
	var n atomic.Int64
	var owner geminio.End
	withInterceptors(t, func(o *client.EndOptions) {
		o.SetOpenMiddleware(func(e geminio.End, next geminio.Opener) geminio.Opener {
			owner = e
			return func(ctx context.Context, opts ...*options.OpenStreamOptions) (geminio.Stream, error) {
				opt := options.OpenStream()
				opt.SetMeta([]byte("meta"))
				s, err := next(ctx, append(opts, opt)...)
				if err != nil {
					return nil, fmt.Errorf("middleware: %w", err)
				}
				return &counted{s, &n}, nil
			}
		})
	}, func(t *testing.T, near, far geminio.End) {
		n.Store(0)
		s, err := near.OpenStream()
		require.NoError(t, err)
		require.True(t, owner == near)
		peer, err := far.AcceptStream()
		require.NoError(t, err)
		require.Equal(t, "meta", string(peer.Meta()))
		_, err = s.Write([]byte("hello"))
		require.NoError(t, err)
		require.EqualValues(t, 5, n.Load())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = geminio.OpenStreamContext(ctx, near)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "middleware: ")
	})
}

// A middleware of accepted streams replaces and refuses them; the others are not affected.
func TestAcceptMiddleware(t *testing.T) {
	for _, function := range []bool{false, true} {
		var n atomic.Int64
		var owner geminio.End
		accept := func(e geminio.End, next geminio.Acceptor) geminio.Acceptor {
			owner = e
			return func(s geminio.Stream) (geminio.Stream, error) {
				s, err := next(s)
				switch s.Peer() {
				case "refuse":
					return nil, fmt.Errorf("wrapped: %w", &quota{1})
				case "going away":
					return nil, geminio.ErrGoingAway
				case "panic":
					panic("oops")
				case "nothing":
					return nil, nil
				}
				return &counted{s, &n}, err
			}
		}
		synctest.Test(t, func(t *testing.T) {
			co, so := client.NewEndOptions(), server.NewEndOptions()
			accepted := make(chan geminio.Stream, 1)
			if function {
				so.SetAcceptStreamFunc(func(s geminio.Stream) { accepted <- s })
				so.SetAcceptMiddleware(accept)
			} else {
				so.SetAcceptMiddleware(accept)
			}
			p := rig.NewPair(t, "pipe", co, so)
			defer p.Close()
			if !function {
				go func() {
					s, err := p.Server.AcceptStream()
					assert.NoError(t, err)
					accepted <- s
				}()
			}
			for name, want := range map[string]*geminio.StreamError{
				"refuse":     {Code: codeQuota, Text: "wrapped: 1 left", Remote: true},
				"going away": {Code: geminio.CodeApplication, Text: geminio.ErrGoingAway.Error(), Remote: true},
				"panic":      {Code: geminio.CodePanic, Text: "AcceptMiddleware panicked", Remote: true},
				"nothing":    {Code: geminio.CodeApplication, Text: "AcceptMiddleware returned no stream", Remote: true},
			} {
				opt := options.OpenStream()
				opt.SetPeer(name)
				s, err := p.Client.OpenStream(opt)
				require.NoError(t, err)
				_, err = s.Read(make([]byte, 1))
				require.Equal(t, want, err)
			}
			_, err := p.Client.OpenStream()
			require.NoError(t, err)
			s := <-accepted
			require.True(t, owner == p.Server)
			_, err = s.Write([]byte("hello"))
			require.NoError(t, err)
			require.EqualValues(t, 5, n.Load())
		})
	}
}

// A middleware that cannot be made fails the operations that it would wrap, and nothing else.
func TestInterceptorsThatCannotBeMade(t *testing.T) {
	withInterceptors(t, func(o *client.EndOptions) {
		o.SetCallMiddleware(func(geminio.Stream, geminio.Caller) geminio.Caller { return nil })
		o.SetPublishMiddleware(func(geminio.Stream, geminio.Publisher) geminio.Publisher { panic("oops") })
		o.SetReceiveMiddleware(func(geminio.Stream, geminio.Receiver) geminio.Receiver { return nil })
		o.SetOpenMiddleware(func(geminio.End, geminio.Opener) geminio.Opener { return nil })
		o.SetAcceptMiddleware(func(geminio.End, geminio.Acceptor) geminio.Acceptor { return nil })
	}, func(t *testing.T, near, far geminio.End) {
		for range 2 {
			_, err := near.Call(t.Context(), "m", near.NewRequest(nil))
			require.EqualError(t, err, "CallMiddleware 0 returned nil")
			_, err = near.CallAsync(t.Context(), "m", near.NewRequest(nil), nil)
			require.EqualError(t, err, "CallMiddleware 0 returned nil")
			require.EqualError(t, near.Publish(t.Context(), near.NewMessage(nil)), "PublishMiddleware panicked")
			_, err = near.PublishAsync(t.Context(), near.NewMessage(nil), nil)
			require.EqualError(t, err, "PublishMiddleware panicked")
			_, err = near.Receive(t.Context())
			require.EqualError(t, err, "ReceiveMiddleware 0 returned nil")
			_, err = near.OpenStream()
			require.EqualError(t, err, "OpenMiddleware 0 returned nil")
		}
		go near.AcceptStream()
		s, err := far.OpenStream()
		require.NoError(t, err)
		_, err = s.Read(make([]byte, 1))
		require.Equal(t, &geminio.StreamError{Code: geminio.CodeApplication, Text: "AcceptMiddleware 0 returned nil", Remote: true}, err)
		mustRegister(t, near, "m", rig.Echo)
		got, err := call(t, far, "m", "text")
		require.NoError(t, err)
		require.Equal(t, "text", got)
	})
}

// A constructor refuses middleware that is nil, and names it. Setters and merged options add up.
func TestNilMiddleware(t *testing.T) {
	nop := func(next geminio.RPC) geminio.RPC { return next }
	for want, set := range map[string]func(*geminio.Interceptors){
		"options: Middleware 2 is nil":        func(i *geminio.Interceptors) { i.SetMiddleware(nop, nop, nil) },
		"options: CallMiddleware 0 is nil":    func(i *geminio.Interceptors) { i.SetCallMiddleware(nil) },
		"options: PublishMiddleware 0 is nil": func(i *geminio.Interceptors) { i.SetPublishMiddleware(nil) },
		"options: ReceiveMiddleware 0 is nil": func(i *geminio.Interceptors) { i.SetReceiveMiddleware(nil) },
		"options: OpenMiddleware 0 is nil":    func(i *geminio.Interceptors) { i.SetOpenMiddleware(nil) },
		"options: AcceptMiddleware 0 is nil":  func(i *geminio.Interceptors) { i.SetAcceptMiddleware(nil) },
	} {
		co, so := client.NewEndOptions(), server.NewEndOptions()
		set(&co.Interceptors)
		set(&so.Interceptors)
		_, err := client.NewEnd("tcp", "127.0.0.1:0", co)
		require.EqualError(t, err, want)
		_, err = client.NewRetryEndWithDialer(func() (net.Conn, error) { panic("not called") }, nil, co)
		require.EqualError(t, err, want)
		_, err = server.Listen("tcp", "127.0.0.1:0", so)
		require.EqualError(t, err, want)
	}
	a, b := client.NewEndOptions(), client.NewEndOptions()
	a.SetMiddleware(nop)
	a.SetMiddleware(nop, nop)
	b.SetMiddleware(nop)
	require.Len(t, client.MergeEndOptions(a, b).Middleware, 4)
	require.Len(t, a.Middleware, 3)

	bad := client.NewEndOptions()
	match := options.Hijack()
	match.SetMatch(true, "(")
	bad.SetHijack(naming, match)
	_, err := client.NewEnd("tcp", "127.0.0.1:0", bad)
	require.ErrorContains(t, err, "options: Hijack: error parsing regexp")
}
