package application

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
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
