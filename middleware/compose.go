package middleware

import (
	"context"

	"github.com/singchia/geminio"
)

// Chain returns the middleware all as one. The first one is the outermost. Without arguments it
// returns a middleware that does nothing. Chain panics if one of them is nil.
func Chain(all ...geminio.Middleware) geminio.Middleware {
	for _, m := range all {
		if m == nil {
			panic("middleware: Chain of a nil Middleware")
		}
	}
	return func(next geminio.RPC) geminio.RPC {
		for i := len(all) - 1; i >= 0 && next != nil; i-- {
			next = all[i](next)
		}
		return next
	}
}

// Only returns the middleware all, as by Chain, for the methods for which match reports true. Other
// calls go past it. match must be safe for concurrent use. Only panics if match or a middleware is
// nil.
func Only(match func(method string) bool, all ...geminio.Middleware) geminio.Middleware {
	if match == nil {
		panic("middleware: Only with a nil function")
	}
	chain := Chain(all...)
	return func(next geminio.RPC) geminio.RPC {
		wrapped := chain(next)
		if wrapped == nil {
			return nil
		}
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			if match(req.Method()) {
				wrapped(ctx, req, resp)
			} else {
				next(ctx, req, resp)
			}
		}
	}
}
