package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/middleware"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/rig"
)

// inBubble runs a test on a pair of Ends in a bubble. The server has the middleware.
func inBubble(t *testing.T, all []geminio.Middleware, test func(t *testing.T, p *rig.Pair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		so := server.NewEndOptions()
		so.SetMiddleware(all...)
		p := rig.NewPair(t, "pipe", nil, so)
		defer p.Close()
		test(t, p)
	})
}

// call calls a method and returns the error.
func call(ctx context.Context, c geminio.RPCer, method, data string) error {
	_, err := c.Call(ctx, method, c.NewRequest([]byte(data)))
	return err
}

// lines is a log without times.
type lines struct {
	strings.Builder
	mu sync.Mutex
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(p)
}

// take returns the text that was logged since the last take.
func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.Reset()
	return l.String()
}

// logger returns a logger that writes to l.
func (l *lines) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

const codeFull = geminio.FirstApplicationCode + 2

// full is an error with a code.
type full struct{}

func (full) Error() string      { return "full" }
func (full) Code() geminio.Code { return codeFull }

// broken is an error whose method panics.
type broken struct{}

func (broken) Error() string { panic("oops") }

// outcomes is a hijack whose method says what happens.
func outcomes(ctx context.Context, method string, req geminio.Request, resp geminio.Response) {
	time.Sleep(time.Second)
	switch method {
	case "echo":
		resp.SetData(req.Data())
	case "full":
		resp.SetError(fmt.Errorf("wrapped: %w", full{}))
	case "panic":
		panic("oops")
	case "broken":
		resp.SetError(broken{})
	case "deadline":
		<-ctx.Done()
		resp.SetError(ctx.Err())
	}
}

func TestLog(t *testing.T) {
	var l lines
	inBubble(t, []geminio.Middleware{middleware.Log(l.logger(slog.LevelInfo), nil)}, func(t *testing.T, p *rig.Pair) {
		require.NoError(t, p.Server.Hijack(outcomes))
		id := p.Client.ClientID()
		for _, c := range []struct{ method, want string }{
			{"echo", "level=INFO msg=call method=echo client=%d stream=1 code=0 duration=1s request=4 response=4\n"},
			{"full", "level=INFO msg=call method=full client=%d stream=1 code=1002 duration=1s request=4 response=0 err=\"wrapped: full\"\n"},
			{"panic", "level=ERROR msg=call method=panic client=%d stream=1 code=5 duration=1s request=4 response=0 err=\"the handler panicked\"\n"},
			{"broken", "level=ERROR msg=call method=broken client=%d stream=1 code=5 duration=1s request=4 response=0 err=\"the methods of the error panicked\"\n"},
		} {
			call(t.Context(), p.Client, c.method, "data")
			assert.Equal(t, fmt.Sprintf(c.want, id), l.take())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		require.ErrorIs(t, call(ctx, p.Client, "deadline", ""), context.DeadlineExceeded)
		synctest.Wait()
		assert.Equal(t, fmt.Sprintf("level=WARN msg=call method=deadline client=%d stream=1 code=3 duration=2s request=0 response=0 err=\"context deadline exceeded\"\n", id), l.take())
	})
}

func TestLogLevels(t *testing.T) {
	var l lines
	quiet := func(code geminio.Code) slog.Level {
		if code == geminio.CodeOK {
			return slog.LevelDebug
		}
		return slog.LevelWarn
	}
	inBubble(t, []geminio.Middleware{middleware.Log(l.logger(slog.LevelInfo), quiet)}, func(t *testing.T, p *rig.Pair) {
		require.NoError(t, p.Server.Hijack(outcomes))
		require.NoError(t, call(t.Context(), p.Client, "echo", ""))
		assert.Empty(t, l.take())
		require.Error(t, call(t.Context(), p.Client, "full", ""))
		assert.Contains(t, l.take(), "level=WARN msg=call method=full")
	})
	for code, want := range map[geminio.Code]slog.Level{
		geminio.CodeOK: slog.LevelInfo, geminio.CodeApplication: slog.LevelInfo, codeFull: slog.LevelInfo,
		geminio.CodeCanceled: slog.LevelInfo, geminio.CodeLimit: slog.LevelWarn, geminio.CodeDeadline: slog.LevelWarn,
		geminio.CodePanic: slog.LevelError,
	} {
		assert.Equal(t, want, middleware.Level(code))
	}
}

func TestConcurrency(t *testing.T) {
	limits := middleware.Limits{Default: 2, Methods: map[string]int{"one": 1, "any": 0}, Code: codeFull}
	m := middleware.Concurrency(limits)
	limits.Methods["one"] = 100 // has no effect any more
	inBubble(t, []geminio.Middleware{m}, func(t *testing.T, p *rig.Pair) {
		release := make(chan struct{})
		panics := make(chan bool, 10)
		require.NoError(t, p.Server.Hijack(func(ctx context.Context, _ string, _ geminio.Request, _ geminio.Response) {
			select {
			case <-release:
			case <-panics:
				panic("oops")
			}
		}))
		stream, farStream := rig.OpenStream(t, p.Client, p.Server)
		require.NoError(t, farStream.Hijack(func(context.Context, string, geminio.Request, geminio.Response) { <-release }))
		running := 0
		results := make(chan error, 100)
		start := func(c geminio.RPCer, method string) {
			running++
			go func() { results <- call(context.Background(), c, method, "") }()
			synctest.Wait()
		}
		refused := func(c geminio.RPCer, method string, limit int) {
			t.Helper()
			want := fmt.Sprintf("too many calls of %q: %d are running", method, limit)
			assert.Equal(t, &geminio.RemoteError{Code: codeFull, Text: want}, call(t.Context(), c, method, ""))
		}
		start(p.Client, "one")
		refused(p.Client, "one", 1)
		refused(stream, "one", 1)
		start(p.Client, "two")
		start(stream, "two")
		refused(p.Client, "two", 2)
		for range 10 {
			start(p.Client, "any")
		}
		assert.Empty(t, results)

		panics <- true // ends one of the calls, which counts no more if it is one of those that count
		synctest.Wait()
		require.Len(t, results, 1)
		close(release)
		for range running {
			<-results
		}
		require.NoError(t, call(t.Context(), p.Client, "one", ""))
		require.NoError(t, call(t.Context(), p.Client, "two", ""))
	})
}

// The default code is that of limits.
func TestConcurrencyWithoutACode(t *testing.T) {
	inBubble(t, []geminio.Middleware{middleware.Concurrency(middleware.Limits{Default: 1})}, func(t *testing.T, p *rig.Pair) {
		require.NoError(t, p.Server.Register(t.Context(), "m", rig.Hang))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- call(ctx, p.Client, "m", "") }()
		synctest.Wait()
		require.ErrorIs(t, call(t.Context(), p.Client, "m", ""), geminio.ErrTooMany)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

func TestDeadline(t *testing.T) {
	inBubble(t, []geminio.Middleware{middleware.Deadline(time.Minute)}, func(t *testing.T, p *rig.Pair) {
		require.NoError(t, p.Server.Register(t.Context(), "m", rig.Hang))
		start := time.Now()
		err := call(context.Background(), p.Client, "m", "")
		assert.Equal(t, &geminio.RemoteError{Code: geminio.CodeDeadline, Text: "context deadline exceeded"}, err)
		assert.Equal(t, time.Minute, time.Since(start))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start = time.Now()
		assert.Equal(t, context.DeadlineExceeded, call(ctx, p.Client, "m", ""))
		assert.Equal(t, time.Hour, time.Since(start), "the caller's own deadline")
	})
}

func TestCallDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		co := client.NewEndOptions()
		co.SetCallMiddleware(middleware.CallDeadline(time.Minute))
		p := rig.NewPair(t, "pipe", co, nil)
		defer p.Close()
		require.NoError(t, p.Server.Register(t.Context(), "m", rig.Hang))
		hour := options.Call()
		hour.SetTimeout(time.Hour)
		none := options.Call()
		none.SetTimeout(0)
		withRequest := p.Client.NewRequest(nil)
		withRequest.SetTimeout(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		for _, c := range []struct {
			ctx  context.Context
			req  geminio.Request
			opts []*options.CallOptions
			want time.Duration
		}{
			{ctx, p.Client.NewRequest(nil), nil, 2 * time.Second},
			{t.Context(), withRequest, nil, time.Second},
			{t.Context(), p.Client.NewRequest(nil), []*options.CallOptions{hour, nil}, time.Hour},
			{t.Context(), p.Client.NewRequest(nil), nil, time.Minute},
			{t.Context(), p.Client.NewRequest(nil), []*options.CallOptions{options.Call(), nil}, time.Minute},
		} {
			start := time.Now()
			_, err := p.Client.Call(c.ctx, "m", c.req, c.opts...)
			require.Equal(t, context.DeadlineExceeded, err)
			require.Equal(t, c.want, time.Since(start))
		}
		call, err := p.Client.CallAsync(t.Context(), "m", p.Client.NewRequest(nil), nil, none)
		require.NoError(t, err)
		time.Sleep(24 * time.Hour)
		select {
		case <-call.Done:
			t.Error("a timeout of 0 in the options stands for none")
		default:
		}
	})
}

// identity is the key of the caller's name in the context of a handler.
type identity struct{}

func TestAuthenticate(t *testing.T) {
	check := func(ctx context.Context, method string) (context.Context, error) {
		if _, ok := geminio.EndFrom(ctx); !ok {
			return nil, errors.New("no End")
		}
		token, ok := middleware.Bearer(ctx)
		switch {
		case method == "public":
			return nil, nil
		case !ok:
			return nil, errors.New("no token")
		case token != "secret":
			return nil, full{}
		}
		return context.WithValue(ctx, identity{}, "Ada"), nil
	}
	inBubble(t, []geminio.Middleware{middleware.Authenticate(check)}, func(t *testing.T, p *rig.Pair) {
		require.NoError(t, p.Server.Hijack(func(ctx context.Context, _ string, _ geminio.Request, resp geminio.Response) {
			resp.SetData(fmt.Append(nil, ctx.Value(identity{})))
		}))
		with := func(kv ...string) context.Context { return metadata.AppendToOutgoingContext(t.Context(), kv...) }
		for _, c := range []struct {
			ctx    context.Context
			method string
			want   string
			err    error
		}{
			{t.Context(), "public", "<nil>", nil},
			{t.Context(), "m", "", &geminio.RemoteError{Code: geminio.CodeApplication, Text: "no token"}},
			{with("authorization", "Bearer wrong"), "m", "", &geminio.RemoteError{Code: codeFull, Text: "full"}},
			{with("authorization", "Bearer secret"), "m", "Ada", nil},
			{with("Authorization", "bearer secret"), "m", "Ada", nil},
			{with("authorization", "Basic secret"), "m", "", &geminio.RemoteError{Code: geminio.CodeApplication, Text: "no token"}},
			{with("authorization", "Bearer "), "m", "", &geminio.RemoteError{Code: geminio.CodeApplication, Text: "no token"}},
			{with("authorization", "secret"), "m", "", &geminio.RemoteError{Code: geminio.CodeApplication, Text: "no token"}},
			{with("authorization", "Bearer secret", "authorization", "Bearer secret"), "m", "", &geminio.RemoteError{Code: geminio.CodeApplication, Text: "no token"}},
		} {
			resp, err := p.Client.Call(c.ctx, c.method, p.Client.NewRequest(nil))
			if c.err != nil {
				assert.Equal(t, c.err, err)
				continue
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, string(resp.Data()))
		}
	})
}

// mark is a middleware that adds its name to the data.
func mark(name string) geminio.Middleware {
	return func(next geminio.RPC) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			next(ctx, req, resp)
			resp.SetData(append(resp.Data(), name...))
		}
	}
}

func TestComposing(t *testing.T) {
	all := []geminio.Middleware{
		mark("a"),
		middleware.Chain(),
		middleware.Chain(mark("b"), middleware.Only(func(method string) bool { return method == "m" }, mark("c"), mark("d"))),
	}
	inBubble(t, all, func(t *testing.T, p *rig.Pair) {
		require.NoError(t, p.Server.Hijack(func(context.Context, string, geminio.Request, geminio.Response) {}))
		for method, want := range map[string]string{"m": "dcba", "other": "ba"} {
			resp, err := p.Client.Call(t.Context(), method, p.Client.NewRequest(nil))
			require.NoError(t, err)
			assert.Equal(t, want, string(resp.Data()))
		}
	})
	none := func(geminio.RPC) geminio.RPC { return nil }
	inBubble(t, []geminio.Middleware{middleware.Only(func(string) bool { return true }, middleware.Chain(mark("a"), none))}, func(t *testing.T, p *rig.Pair) {
		assert.ErrorContains(t, p.Server.Register(t.Context(), "m", rig.Echo), "middleware 0 returned a nil RPC")
	})
}

func TestArgumentsThatPanic(t *testing.T) {
	yes := func(string) bool { return true }
	for want, f := range map[string]func(){
		"middleware: Chain of a nil Middleware":                   func() { middleware.Chain(mark("a"), nil) },
		"middleware: Only with a nil function":                    func() { middleware.Only(nil) },
		"middleware: Chain of a nil Middleware ":                  func() { middleware.Only(yes, nil) },
		"middleware: Authenticate with a nil function":            func() { middleware.Authenticate(nil) },
		"middleware: Deadline of 0s":                              func() { middleware.Deadline(0) },
		"middleware: CallDeadline of -1s":                         func() { middleware.CallDeadline(-time.Second) },
		"middleware: an application must not choose the code 10":  func() { middleware.Concurrency(middleware.Limits{Code: geminio.CodeGoingAway}) },
		"middleware: an application must not choose the code 999": func() { middleware.Concurrency(middleware.Limits{Code: 999}) },
	} {
		assert.PanicsWithValue(t, strings.TrimSpace(want), f)
	}
}
