package bench

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// thin is a middleware that does nothing.
func thin(next geminio.RPC) geminio.RPC {
	return func(ctx context.Context, req geminio.Request, resp geminio.Response) { next(ctx, req, resp) }
}

// thinCall is a middleware of outgoing calls that does nothing.
func thinCall(_ geminio.Stream, next geminio.Caller) geminio.Caller {
	return func(ctx context.Context, method string, req geminio.Request, opts ...*options.CallOptions) (geminio.Response, error) {
		return next(ctx, method, req, opts...)
	}
}

// wrappedCaller is caller on Ends with n middleware of handlers and m of calls.
func wrappedCaller(tb testing.TB, n, m int) func() error {
	co, so := client.NewEndOptions(), server.NewEndOptions()
	for range n {
		so.SetMiddleware(thin)
	}
	for range m {
		co.SetCallMiddleware(thinCall)
	}
	p := rig.NewPair(tb, "tcp", co, so)
	return callerOf(tb, p.Client, p.Server, 256)
}

// BenchmarkMiddleware makes calls with one middleware, and with five, beside the same calls
// without. The metric of-off is the ratio of the pace with them to the pace without.
func BenchmarkMiddleware(b *testing.B) {
	for name, ours := range map[string]func(testing.TB) func() error{
		"One":     func(tb testing.TB) func() error { return wrappedCaller(tb, 1, 0) },
		"Five":    func(tb testing.TB) func() error { return wrappedCaller(tb, 5, 0) },
		"OneCall": func(tb testing.TB) func() error { return wrappedCaller(tb, 0, 1) },
	} {
		b.Run(name, func(b *testing.B) {
			contest{raw: by(many, wrappedCaller(b, 0, 0)), ours: by(many, ours(b)), ratio: "of-off", least: 2 * many}.run(b)
		})
	}
}

// Middleware adds no allocations of its own.
func TestMiddlewareAllocations(t *testing.T) {
	for _, c := range []struct{ handlers, calls int }{{0, 0}, {5, 0}, {0, 5}, {5, 5}} {
		run := wrappedCaller(t, c.handlers, c.calls)
		var err error
		got := testing.AllocsPerRun(2000, func() {
			if e := run(); e != nil {
				err = e
			}
		})
		require.NoError(t, err)
		t.Logf("%d middleware of handlers, %d of calls: %v allocations", c.handlers, c.calls, got)
		if got > maxCallAllocs && !kit.Race {
			t.Errorf("%v allocations, at most %v are allowed", got, maxCallAllocs)
		}
	}
}
