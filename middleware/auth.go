package middleware

import (
	"context"
	"strings"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/metadata"
)

// Authenticate returns a middleware that calls check before each handler. An error of check refuses
// the call, with the text and the code of the error (see geminio.Coder); the handler does not run.
// Otherwise the handler gets the context that check returns, which should be derived from its
// argument, and may carry the identity of the caller. A nil context stands for the argument.
//
// check finds the metadata of the call by metadata.FromIncomingContext, a token by [Bearer], and the
// End by geminio.EndFrom. It must be safe for concurrent use. Authenticate panics if check is nil.
//
// To authenticate a connection once, rather than each call, use the delegate of the server.
func Authenticate(check func(ctx context.Context, method string) (context.Context, error)) geminio.Middleware {
	if check == nil {
		panic("middleware: Authenticate with a nil function")
	}
	return func(next geminio.RPC) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			checked, err := check(ctx, req.Method())
			if err != nil {
				resp.SetError(err)
				return
			}
			if checked == nil {
				checked = ctx
			}
			next(checked, req, resp)
		}
	}
}

// AuthorizationKey is the key of the metadata in which [Bearer] looks for a token.
const AuthorizationKey = "authorization"

// Bearer returns the token of a call: the metadata of its context has the key "authorization" with
// the value "Bearer TOKEN", as in HTTP. The word Bearer may be in any case. Bearer reports false if
// there is no such value, or more than one value.
func Bearer(ctx context.Context) (token string, ok bool) {
	values := metadata.ValueFromIncomingContext(ctx, AuthorizationKey)
	if len(values) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "bearer") || token == "" {
		return "", false
	}
	return token, true
}
