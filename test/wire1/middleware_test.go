package wire1

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/wire1"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/oldpeer"
)

// coded is an error with a code, which wire 1 does not carry.
type coded struct{}

func (coded) Error() string      { return "full" }
func (coded) Code() geminio.Code { return geminio.FirstApplicationCode }

// wrapped sets middleware, a hijack and a function of SetPrepareFunc on both sides.
func wrapped(c *config) {
	m := func(next geminio.RPC) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			if end, ok := geminio.EndFrom(ctx); !ok || end.ClientID() != req.ClientID() {
				resp.SetError(errors.New("no End"))
				return
			}
			next(ctx, req, resp)
			resp.SetData(append(resp.Data(), " wrapped"...))
		}
	}
	match := options.Hijack()
	match.SetMatch(true, "^hijacked$")
	hijack := func(_ context.Context, method string, _ geminio.Request, resp geminio.Response) {
		resp.SetData([]byte(method))
	}
	prepare := func(e geminio.End) error {
		return e.Register(context.Background(), "fail", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
			resp.SetError(fmt.Errorf("wrapped: %w", coded{}))
		})
	}
	c.client.SetMiddleware(m)
	c.serve.SetMiddleware(m)
	c.client.SetHijack(hijack, match)
	c.serve.SetHijack(hijack, match)
	c.client.SetPrepareFunc(prepare)
	c.serve.SetPrepareFunc(prepare)
}

// The calls of a peer of wire 1 pass through the middleware, and find the hijack and the methods of
// the prepared End. Errors arrive without their code.
func TestMiddlewareOfCallsOfThePeer(t *testing.T) {
	eachRole(t, wrapped, func(t *testing.T, s *setup) {
		a, err := s.peer.CallWith(t.Context(), wire1.Content{Key: []byte("hijacked")})
		require.NoError(t, err)
		assert.Equal(t, "hijacked wrapped", string(a.Value))
		_, err = s.peer.Call(t.Context(), "fail", nil)
		assert.EqualError(t, err, "wrapped: full")
	})
}

// The errors of a peer of wire 1 have the code of errors without one.
func TestCodesOfThePeer(t *testing.T) {
	eachRole(t, echoing, func(t *testing.T, s *setup) {
		_, err := s.end.Call(t.Context(), "fail", s.end.NewRequest(nil))
		assert.Equal(t, &geminio.RemoteError{Code: geminio.CodeApplication, Text: "it did not work"}, err)
	})
}

func TestPreparingThatRefusesThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		opt := server.NewEndOptions()
		opt.SetPrepareFunc(func(geminio.End) error { return coded{} })
		done := make(chan error, 1)
		go func() {
			_, err := server.NewEndWithConn(near, opt)
			done <- err
		}()
		_, err := oldpeer.Dial(far, oldpeer.Config{})
		assert.EqualError(t, err, "full")
		assert.ErrorIs(t, <-done, coded{})
	})
}
