package application

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// marking is a middleware that adds its name to the data before and after next.
func marking(name string) geminio.Middleware {
	return func(next geminio.RPC) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			resp.SetData(append(resp.Data(), "<"+name...))
			next(ctx, req, resp)
			resp.SetData(append(resp.Data(), name+">"...))
		}
	}
}

// wrapped returns a configuration with middleware.
func wrapped(all ...geminio.Middleware) *Config {
	cfg := endConfig()
	cfg.Middleware = all
	return cfg
}

// naming is an RPC that adds the method to the data.
func naming(_ context.Context, req geminio.Request, resp geminio.Response) {
	resp.SetData(append(resp.Data(), req.Method()...))
}

func TestMiddlewareWrapsAllHandlers(t *testing.T) {
	cfg := wrapped(marking("a"), marking("b"))
	cfg.LocalMethods = []*geminio.MethodRPC{nil, {Method: "local", RPC: naming}}
	withPair(t, nil, cfg, func(t *testing.T, client, server *End) {
		near, far := openPair(t, client, server)
		register(t, server, "m", naming)
		require.NoError(t, far.Register(t.Context(), "m", naming))
		require.NoError(t, near.Register(t.Context(), "m", naming))
		for _, c := range []struct {
			method, want string
			s            *Stream
		}{
			{"local", "<a<blocalb>a>", client.Stream},
			{"m", "<a<bmb>a>", client.Stream},
			{"m", "<a<bmb>a>", near},
			{"m", "m", far},
		} {
			resp, err := c.s.Call(t.Context(), c.method, c.s.NewRequest(nil))
			require.NoError(t, err)
			assert.Equal(t, c.want, string(resp.Data()))
		}
		_, err := client.Call(t.Context(), "unknown", client.NewRequest(nil))
		assert.Equal(t, &geminio.RemoteError{Code: geminio.CodeNoMethod, Text: "no such rpc: unknown"}, err)

		opt := options.Hijack()
		opt.SetMatch(false, "^m$")
		hijack := func(_ context.Context, method string, _ geminio.Request, resp geminio.Response) {
			resp.SetData(append(resp.Data(), "hijacked "+method...))
		}
		require.NoError(t, server.Hijack(hijack, opt))
		require.NoError(t, far.Hijack(hijack))
		assert.Equal(t, "<a<bmb>a>", answerOf(t, client, "m"))
		assert.Equal(t, "<a<bhijacked unknownb>a>", answerOf(t, client, "unknown"))
		resp, err := near.Call(t.Context(), "m", near.NewRequest(nil))
		require.NoError(t, err)
		assert.Equal(t, "<a<bhijacked mb>a>", string(resp.Data()))
		require.NoError(t, server.Hijack(nil))
		assert.Equal(t, "<a<blocalb>a>", answerOf(t, client, "local"))
	})
}

// A Middleware is called once for each registration, and its RPC for each call.
func TestMiddlewareIsCalledForEachRegistration(t *testing.T) {
	var made, ran int
	count := func(next geminio.RPC) geminio.RPC {
		made++
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			ran++
			next(ctx, req, resp)
		}
	}
	withPair(t, nil, wrapped(count), func(t *testing.T, client, server *End) {
		register(t, server, "a", noRPC)
		register(t, server, "b", noRPC)
		for range 5 {
			answerOf(t, client, "a")
		}
		assert.Equal(t, 2, made)
		assert.Equal(t, 5, ran)
	})
}

// A middleware may replace all that it passes on.
func TestMiddlewareReplacesItsArguments(t *testing.T) {
	type key struct{}
	replacing := func(next geminio.RPC) geminio.RPC {
		return func(_ context.Context, _ geminio.Request, resp geminio.Response) {
			inner := &response{}
			next(context.WithValue(context.Background(), key{}, "value"), &request{method: "other"}, inner)
			resp.SetData(append(inner.data, '!'))
		}
	}
	withPair(t, nil, wrapped(marking("a"), replacing, marking("b")), func(t *testing.T, client, server *End) {
		require.NoError(t, server.Hijack(func(ctx context.Context, method string, _ geminio.Request, resp geminio.Response) {
			resp.SetData(append(resp.Data(), fmt.Sprint(method, ctx.Value(key{}))...))
		}))
		assert.Equal(t, "<bothervalueb>!a>", answerOf(t, client, "m"))
	})
}

// bad are middleware that break the rules, and the errors of their calls.
var bad = map[string]struct {
	m    func(next geminio.RPC, after func(func())) geminio.RPC
	want string // the text; "" stands for success
	runs int    // how many times the handler runs, at most
	logs int    // how many misuses are logged
}{
	"a panic": {func(geminio.RPC, func(func())) geminio.RPC {
		return func(context.Context, geminio.Request, geminio.Response) { panic("oops") }
	}, `panic in handler of "m": oops`, 0, 1},
	"a panic after next": {func(next geminio.RPC, _ func(func())) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			next(ctx, req, resp)
			panic("oops")
		}
	}, `panic in handler of "m": oops`, 1, 1},
	"next twice": {func(next geminio.RPC, _ func(func())) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			next(ctx, req, resp)
			next(ctx, req, resp)
			resp.SetError(nil)
		}
	}, `a middleware of "m" has called next twice`, 1, 1},
	"next twice, with another response": {func(next geminio.RPC, _ func(func())) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, _ geminio.Response) {
			next(ctx, req, &response{})
			next(ctx, req, &response{})
		}
	}, `a middleware of "m" has called next twice`, 1, 1},
	"next twice, with another context": {func(next geminio.RPC, _ func(func())) geminio.RPC {
		return func(_ context.Context, req geminio.Request, resp geminio.Response) {
			next(context.Background(), req, resp)
			next(context.Background(), req, resp)
		}
	}, `a middleware of "m" has called next twice`, 1, 1},
	"next twice at once": {func(next geminio.RPC, _ func(func())) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			var both sync.WaitGroup
			both.Go(func() { next(ctx, req, resp) })
			both.Go(func() { next(ctx, req, resp) })
			both.Wait()
		}
	}, `a middleware of "m" has called next twice`, 1, 2},
	"next again after a panic of the handler": {func(next geminio.RPC, _ func(func())) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			func() {
				defer func() { recover() }()
				next(ctx, req, panicking{resp})
			}()
			next(ctx, req, resp)
		}
	}, `a middleware of "m" has called next twice`, 1, 1},
	"next after the return": {func(next geminio.RPC, after func(func())) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			after(func() { next(ctx, req, resp) })
		}
	}, "", 0, 1},
	"next again after the return": {func(next geminio.RPC, after func(func())) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			next(ctx, req, resp)
			after(func() { next(ctx, req, resp) })
		}
	}, "", 1, 1},
}

// panicking is a Response whose SetData panics.
type panicking struct{ geminio.Response }

func (panicking) SetData([]byte) { panic("oops") }

// counting is a slog.Handler that counts the records at the level of errors.
type counting struct {
	slog.Handler
	mu     sync.Mutex
	errors int
}

func (c *counting) Enabled(context.Context, slog.Level) bool { return true }
func (c *counting) Handle(_ context.Context, r slog.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Level >= slog.LevelError {
		c.errors++
	}
	return nil
}

// Middleware that breaks the rules fails its own call, and the next calls succeed.
func TestMiddlewareThatBreaksTheRules(t *testing.T) {
	for name, c := range bad {
		for _, place := range []string{"alone", "outermost", "in the middle", "innermost"} {
			t.Run(name+", "+place, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					log := &counting{Handler: slog.DiscardHandler}
					end := make(chan struct{})
					breaks := true
					var late sync.WaitGroup
					breaking := func(next geminio.RPC) geminio.RPC {
						broken := c.m(next, func(f func()) { late.Go(func() { <-end; f() }) })
						return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
							if breaks {
								broken(ctx, req, resp)
							} else {
								next(ctx, req, resp)
							}
						}
					}
					all := map[string][]geminio.Middleware{
						"alone":         {breaking},
						"outermost":     {breaking, marking("a"), marking("b")},
						"in the middle": {marking("a"), breaking, marking("b")},
						"innermost":     {marking("a"), marking("b"), breaking},
					}[place]
					m, err := NewMethods(slog.New(log), wrapped(all...))
					require.NoError(t, err)
					cfg := wrapped(all...)
					cfg.Methods = m
					client, server := startPair(t, endConfig(), cfg)
					defer server.Close()
					defer client.Close()
					server.workers.log = slog.New(log)
					var mu sync.Mutex
					runs := 0
					register(t, server, "m", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
						mu.Lock()
						runs++
						mu.Unlock()
						resp.SetData(nil)
					})
					err = call(t.Context(), client, "m")
					if c.want == "" {
						assert.NoError(t, err)
					} else {
						assert.Equal(t, &geminio.RemoteError{Code: geminio.CodePanic, Text: c.want}, err)
					}
					close(end)
					late.Wait()
					assert.LessOrEqual(t, runs, c.runs)
					assert.GreaterOrEqual(t, log.errors, 1)
					assert.LessOrEqual(t, log.errors, c.logs+1)
					breaks, runs = false, 0
					require.NoError(t, call(t.Context(), client, "m"))
					assert.Equal(t, 1, runs)
				})
			})
		}
	}
}

// A middleware that cannot be called fails the registration.
func TestMiddlewareThatCannotBeMade(t *testing.T) {
	for name, c := range map[string]struct {
		m    geminio.Middleware
		want string
	}{
		"nil":   {func(geminio.RPC) geminio.RPC { return nil }, "middleware 1 returned a nil RPC for "},
		"panic": {func(geminio.RPC) geminio.RPC { panic("oops") }, "a middleware panicked"},
	} {
		t.Run(name, func(t *testing.T) {
			withPair(t, nil, wrapped(marking("a"), c.m, marking("b")), func(t *testing.T, client, server *End) {
				err := server.Register(t.Context(), "m", naming)
				assert.ErrorContains(t, err, "register: "+c.want)
				err = server.Hijack(func(context.Context, string, geminio.Request, geminio.Response) {})
				assert.ErrorContains(t, err, "hijack: "+c.want)
				assert.EqualError(t, call(t.Context(), client, "m"), "no such rpc: m")
			})
			cfg := wrapped(marking("a"), c.m)
			cfg.LocalMethods = []*geminio.MethodRPC{{Method: "m", RPC: naming}}
			_, err := NewMethods(slog.New(slog.DiscardHandler), cfg)
			assert.ErrorContains(t, err, c.want)
			cfg = wrapped(marking("a"), c.m)
			cfg.Hijack = func(context.Context, string, geminio.Request, geminio.Response) {}
			_, err = NewMethods(slog.New(slog.DiscardHandler), cfg)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

// A middleware that ends the call itself decides about its outcome.
func TestMiddlewareThatAnswers(t *testing.T) {
	refuse := errors.New("refused")
	m := func(geminio.RPC) geminio.RPC {
		return func(_ context.Context, _ geminio.Request, resp geminio.Response) { resp.SetError(refuse) }
	}
	withPair(t, nil, wrapped(m), func(t *testing.T, client, server *End) {
		register(t, server, "m", func(context.Context, geminio.Request, geminio.Response) { t.Error("the handler ran") })
		assert.EqualError(t, call(t.Context(), client, "m"), "refused")
		server.Close()
		assert.Equal(t, io.EOF, call(t.Context(), client, "m"))
	})
}

// A middleware that has returned cannot run the handler any more, also if an outer one still runs.
func TestNextOfAnInnerMiddlewareThatHasReturned(t *testing.T) {
	returned := make(chan struct{})
	outer := func(next geminio.RPC) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			next(ctx, req, resp)
			close(returned)
			synctest.Wait()
		}
	}
	inner := func(next geminio.RPC) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			go func() {
				<-returned
				next(ctx, req, resp)
			}()
		}
	}
	synctest.Test(t, func(t *testing.T) {
		returned = make(chan struct{})
		client, server := startPair(t, endConfig(), wrapped(outer, inner))
		defer server.Close()
		defer client.Close()
		register(t, server, "m", func(context.Context, geminio.Request, geminio.Response) { t.Error("the handler ran") })
		err := call(t.Context(), client, "m")
		assert.Equal(t, &geminio.RemoteError{Code: geminio.CodePanic, Text: `a middleware of "m" has called next twice`}, err)
	})
}
