package typed_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/typed"
)

// A CallMiddleware that panics, or ends its goroutine, fails its streaming call alone.
func TestCallMiddlewareFailsAStreamingCall(t *testing.T) {
	for text, fail := range map[string]func(){
		"panicked": func() { panic("oops") }, "ended its goroutine": runtime.Goexit,
	} {
		t.Run(text, func(t *testing.T) {
			opt := client.NewEndOptions()
			opt.SetCallMiddleware(func(_ geminio.Stream, next geminio.Caller) geminio.Caller {
				return func(ctx context.Context, method string, req geminio.Request, opts ...*options.CallOptions) (geminio.Response, error) {
					if method == "numbers" {
						fail()
					}
					return next(ctx, method, req, opts...)
				}
			})
			inPair(t, func(t *testing.T, client, far geminio.End) {
				var s typed.Server
				m := typed.ServerStreaming[int, int]{Name: "numbers"}
				m.Register(&s, func(context.Context, int, *typed.Sender[int]) error { return nil })
				go s.Serve(far, nil)
				var got error
				over := make(chan struct{})
				go func() {
					defer close(over)
					for _, err := range m.Call(t.Context(), client, 1) {
						got = err
					}
				}()
				synctest.Wait()
				select {
				case <-over:
				default:
					require.Fail(t, "the call hangs")
				}
				assert.ErrorContains(t, got, text)
			}, &geminiotest.PairOptions{Client: opt})
		})
	}
}

// badMessage is a message of a ReceiveMiddleware whose answer fails.
type badMessage struct {
	geminio.Message
	fail func()
}

func (m badMessage) Done() error { m.fail(); return nil }

// A Message of a ReceiveMiddleware whose Done panics, or ends its goroutine, disturbs no others.
func TestAnswerFails(t *testing.T) {
	for name, fail := range map[string]func(){"panic": func() { panic("oops") }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			opt := server.NewEndOptions()
			opt.SetReceiveMiddleware(func(_ geminio.Stream, next geminio.Receiver) geminio.Receiver {
				return func(ctx context.Context) (geminio.Message, error) {
					m, err := next(ctx)
					if err == nil && string(m.Data()) == "1" {
						return badMessage{m, fail}, nil
					}
					return m, err
				}
			})
			inPair(t, func(t *testing.T, client, far geminio.End) {
				d := typed.Dispatcher{Concurrency: 1, Backlog: 1}
				topic := typed.Topic[int]{Name: "t", Cnss: options.CnssAtMostOnce}
				topic.Subscribe(&d, func(context.Context, int) error { return nil })
				go d.Run(t.Context(), far)
				for range 3 {
					require.NoError(t, topic.Publish(t.Context(), client, 1))
				}
				sure := typed.Topic[int]{Name: "t"}
				done := make(chan error, 1)
				go func() { done <- sure.Publish(t.Context(), client, 2) }()
				synctest.Wait()
				select {
				case err := <-done:
					require.NoError(t, err)
				default:
					require.Fail(t, "Run takes no more messages")
				}
			}, &geminiotest.PairOptions{Server: opt})
		})
	}
}

// A message whose Key ends the goroutine of Run is answered.
func TestKeyEndsRun(t *testing.T) {
	inPair(t, func(t *testing.T, client, far geminio.End) {
		var d typed.Dispatcher
		topic := typed.Topic[int]{Name: "t"}
		topic.Subscribe(&d, func(context.Context, int) error { return nil },
			&typed.SubscribeOptions[int]{Key: func(int) string { runtime.Goexit(); return "" }})
		go d.Run(t.Context(), far)
		done := make(chan error, 1)
		go func() { done <- topic.Publish(t.Context(), client, 2) }()
		synctest.Wait()
		select {
		case err := <-done:
			requireCode(t, err, geminio.CodePanic, "ended its goroutine")
		default:
			require.Fail(t, "the message is not answered")
		}
	})
}

// plainStream hides the optional methods of a stream.
type plainStream struct{ geminio.Stream }

// Streaming calls that need the half-close fail if a middleware has replaced the stream by one that
// has none. No side hangs.
func TestStreamsWithoutHalfClose(t *testing.T) {
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetOpenMiddleware(func(_ geminio.End, next geminio.Opener) geminio.Opener {
		return func(ctx context.Context, opts ...*options.OpenStreamOptions) (geminio.Stream, error) {
			s, err := next(ctx, opts...)
			return plainStream{s}, err
		}
	})
	so.SetAcceptMiddleware(func(geminio.End, geminio.Acceptor) geminio.Acceptor {
		return func(s geminio.Stream) (geminio.Stream, error) { return plainStream{s}, nil }
	})
	ask := func(p *streamPair) (down, up error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, down = collect(count.Call(ctx, p.client, question{N: 2}))
		_, up = sum.Call(ctx, p.client, sequence(nil, 1))
		return down, up
	}
	inStreams(t, func(t *testing.T, p *streamPair) {
		down, up := ask(p)
		require.NoError(t, down)
		require.ErrorIs(t, up, errors.ErrUnsupported)
	}, &geminiotest.PairOptions{Client: co})
	inStreams(t, func(t *testing.T, p *streamPair) {
		down, up := ask(p)
		requireCode(t, down, geminio.CodeApplication, "has no CloseWrite and CloseRead")
		requireCode(t, up, geminio.CodeApplication, "has no CloseWrite and CloseRead")
	}, &geminiotest.PairOptions{Server: so})
}
