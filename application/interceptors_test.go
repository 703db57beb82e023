package application

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// A middleware that ends its goroutine when it is called first fails the later operations, too.
func TestChainWhoseMiddlewareEndsItsGoroutine(t *testing.T) {
	cfg := endConfig()
	cfg.Interceptors = &geminio.Interceptors{CallMiddleware: []geminio.CallMiddleware{
		func(geminio.Stream, geminio.Caller) geminio.Caller { runtime.Goexit(); return nil },
	}}
	withPair(t, cfg, nil, func(t *testing.T, client, server *End) {
		register(t, server, "m", noRPC)
		var first sync.WaitGroup
		first.Go(func() { call(t.Context(), client, "m") })
		first.Wait()
		assert.Equal(t, errChainExited, call(t.Context(), client, "m"))
	})
}

// A stream is reset if an AcceptMiddleware ends the goroutine of AcceptStream.
func TestAcceptMiddlewareEndsItsGoroutine(t *testing.T) {
	for name, accept := range map[string]geminio.AcceptMiddleware{
		"when it is made": func(geminio.End, geminio.Acceptor) geminio.Acceptor { runtime.Goexit(); return nil },
		"for a stream": func(geminio.End, geminio.Acceptor) geminio.Acceptor {
			return func(geminio.Stream) (geminio.Stream, error) { runtime.Goexit(); return nil, nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := endConfig()
			cfg.Interceptors = &geminio.Interceptors{AcceptMiddleware: []geminio.AcceptMiddleware{accept}}
			withPair(t, nil, cfg, func(t *testing.T, client, server *End) {
				var accepting sync.WaitGroup
				accepting.Go(func() { server.AcceptStream() })
				s, err := client.OpenStream()
				require.NoError(t, err)
				accepting.Wait()
				ended := make(chan error, 1)
				go func() {
					_, err := s.Read(make([]byte, 1))
					ended <- err
				}()
				synctest.Wait()
				select {
				case err := <-ended:
					want := &geminio.StreamError{Code: geminio.CodePanic, Text: "AcceptMiddleware ended its goroutine", Remote: true}
					assert.Equal(t, want, err)
				default:
					assert.Fail(t, "the stream was not reset")
				}
			})
		})
	}
}

// The calls and messages that a middleware sends itself with the context of a CallAsync do not count
// as its beginning: the memory of the request is in use until the call has begun.
func TestMiddlewareThatSendsBeforeAnAsynchronousCall(t *testing.T) {
	var before func(ctx context.Context, s geminio.Stream)
	cfg := endConfig()
	cfg.Interceptors = &geminio.Interceptors{
		CallMiddleware: []geminio.CallMiddleware{func(s geminio.Stream, next geminio.Caller) geminio.Caller {
			return func(ctx context.Context, method string, req geminio.Request, opts ...*options.CallOptions) (geminio.Response, error) {
				if method == "m" {
					before(ctx, s)
				}
				return next(ctx, method, req, opts...)
			}
		}},
		PublishMiddleware: []geminio.PublishMiddleware{func(_ geminio.Stream, next geminio.Publisher) geminio.Publisher { return next }},
	}
	for name, send := range map[string]func(ctx context.Context, s geminio.Stream){
		"a call":    func(ctx context.Context, s geminio.Stream) { s.Call(ctx, "token", s.NewRequest(nil)) },
		"a message": func(ctx context.Context, s geminio.Stream) { s.Publish(ctx, s.NewMessage(nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			before = send
			withPair(t, cfg, nil, func(t *testing.T, client, server *End) {
				release := make(chan struct{})
				register(t, server, "m", noRPC)
				register(t, server, "token", func(context.Context, geminio.Request, geminio.Response) { <-release })
				go func() {
					if m, err := server.Receive(t.Context()); err == nil {
						<-release
						m.Done()
					}
				}()
				begun := make(chan *geminio.Call, 1)
				go func() {
					c, _ := client.CallAsync(t.Context(), "m", client.NewRequest(nil), nil)
					begun <- c
				}()
				synctest.Wait()
				assert.Empty(t, begun, "CallAsync has returned before the call has begun")
				close(release)
				c := <-begun
				require.NotNil(t, c)
				assert.NoError(t, (<-c.Done).Error)
			})
		})
	}
}
