package ratelimit

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"golang.org/x/time/rate"
)

// Error is the error of a call beyond the limit. The caller gets its text and its code.
type Error struct {
	RetryAfter time.Duration // after this time a call would have been allowed
}

// Error returns a text with RetryAfter.
func (e *Error) Error() string {
	return fmt.Sprintf("the rate limit is exceeded, retry after %s", e.RetryAfter.Round(time.Millisecond))
}

// Code returns geminio.CodeLimit.
func (e *Error) Code() geminio.Code { return geminio.CodeLimit }

// All allows limit calls in a second, and burst calls at once, to all handlers together that the
// middleware wraps. If the options of several Ends have the same middleware, they share the limit.
// A limit of rate.Inf allows all calls; a burst of 0 allows none, otherwise.
func All(limit rate.Limit, burst int) geminio.Middleware {
	l := rate.NewLimiter(limit, burst)
	return middleware(func(context.Context, geminio.Request) *rate.Limiter { return l })
}

// PerClient is like All with a limit of its own for each client id.
func PerClient(limit rate.Limit, burst int) geminio.Middleware {
	return By(limit, burst, func(_ context.Context, req geminio.Request) uint64 { return req.ClientID() })
}

// PerMethod is like All with a limit of its own for each method.
func PerMethod(limit rate.Limit, burst int) geminio.Middleware {
	return By(limit, burst, func(_ context.Context, req geminio.Request) string { return req.Method() })
}

// By is like All with a limit of its own for each key. It forgets a key whose calls have paused
// for so long that a new key would be treated alike, so its memory depends on the keys in use. key
// must be safe for concurrent use.
func By[K comparable](limit rate.Limit, burst int, key func(context.Context, geminio.Request) K) geminio.Middleware {
	t := &table[K]{limit: limit, burst: burst, all: make(map[K]*rate.Limiter)}
	return middleware(func(ctx context.Context, req geminio.Request) *rate.Limiter { return t.get(key(ctx, req)) })
}

// middleware returns a middleware whose calls take a token of the Limiter that of returns.
func middleware(of func(context.Context, geminio.Request) *rate.Limiter) geminio.Middleware {
	return func(next geminio.RPC) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, rsp geminio.Response) {
			if err := take(of(ctx, req)); err != nil {
				rsp.SetError(err)
				return
			}
			next(ctx, req, rsp)
		}
	}
}

// take takes a token, or returns an *Error.
func take(l *rate.Limiter) error {
	r := l.Reserve()
	if !r.OK() {
		return &Error{RetryAfter: rate.InfDuration}
	}
	if d := r.Delay(); d > 0 {
		r.Cancel()
		return &Error{RetryAfter: d}
	}
	return nil
}

// table has the limiters of By.
type table[K comparable] struct {
	limit rate.Limit
	burst int

	mu    sync.Mutex
	all   map[K]*rate.Limiter
	swept int // the length of all after the last sweep
}

// get returns the limiter of a key. When the number of keys has doubled, it removes the limiters
// whose bucket is full.
func (t *table[K]) get(key K) *rate.Limiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.all[key]; l != nil {
		return l
	}
	if len(t.all) >= 2*max(t.swept, minSweep) {
		for k, l := range t.all {
			if l.Tokens() >= float64(t.burst) {
				delete(t.all, k)
			}
		}
		t.swept = len(t.all)
	}
	l := rate.NewLimiter(t.limit, t.burst)
	t.all[key] = l
	return l
}

// minSweep is the least number of keys of a sweep.
const minSweep = 512
