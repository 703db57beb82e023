package middleware

import (
	"context"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// Deadline returns a middleware that ends the context of a handler after d, with
// context.DeadlineExceeded, if the caller has set no deadline. The handler has to return then; its
// error is that of the call. Deadline panics if d is not positive.
func Deadline(d time.Duration) geminio.Middleware {
	checkPositive("Deadline", d)
	return func(next geminio.RPC) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			if _, has := ctx.Deadline(); !has {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, d)
				defer cancel()
			}
			next(ctx, req, resp)
		}
	}
}

// CallDeadline returns a middleware of outgoing calls that gives each call the timeout d, unless its
// context, its options or its request has a deadline. CallDeadline panics if d is not positive.
func CallDeadline(d time.Duration) geminio.CallMiddleware {
	checkPositive("CallDeadline", d)
	opt := options.Call()
	opt.SetTimeout(d)
	return func(_ geminio.Stream, next geminio.Caller) geminio.Caller {
		return func(ctx context.Context, method string, req geminio.Request, opts ...*options.CallOptions) (geminio.Response, error) {
			if _, has := ctx.Deadline(); has || req.Timeout() > 0 || options.MergeCallOptions(opts...).Timeout != nil {
				return next(ctx, method, req, opts...)
			}
			return next(ctx, method, req, append(opts[:len(opts):len(opts)], opt)...)
		}
	}
}

// checkPositive panics if d is not positive.
func checkPositive(name string, d time.Duration) {
	if d <= 0 {
		panic("middleware: " + name + " of " + d.String())
	}
}
