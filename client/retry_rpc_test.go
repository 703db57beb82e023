package client

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// The methods that a server registers belong to its connection. They do not count against the
// limit for the methods of the next server, and are known until the next server has registered
// its own.
func TestRegisteredMethodsBelongToTheConnection(t *testing.T) {
	var many []*geminio.MethodRPC
	for i := range 1 << 14 {
		many = append(many, &geminio.MethodRPC{Method: fmt.Sprint("old ", i), RPC: echo})
	}
	greedy := server.NewEndOptions()
	greedy.SetRegisterLocalRPCs(many...)
	opt := NewEndOptions()
	opt.SetRemoteRPCCheck()
	call := func(l *retryTest, method string) error {
		_, err := l.end.Call(context.Background(), method, l.end.NewRequest(nil))
		return err
	}
	withRetryEnd(t, greedy, opt, func(t *testing.T, l *retryTest) {
		require.NoError(t, call(l, "old 0"))
		require.ErrorIs(t, call(l, "new"), geminio.ErrRemoteRPCUnregistered)
		time.Sleep(time.Minute)

		l.sopt = nil
		l.cut()
		l.mend()
		require.ErrorContains(t, call(l, "old 1"), "no such rpc", "a call before the next server has registered its methods")
		require.ErrorIs(t, call(l, "new"), geminio.ErrRemoteRPCUnregistered)
		require.NoError(t, l.server().Register(t.Context(), "new", echo))
		require.NoError(t, call(l, "new"))
		require.ErrorContains(t, call(l, "old 1"), "no such rpc", "a call while the next server may still register methods")
		time.Sleep(time.Second)
		require.ErrorIs(t, call(l, "old 1"), geminio.ErrRemoteRPCUnregistered)
		require.NoError(t, call(l, "new"))

		for range 3 { // each connection ends before its server has registered a method
			l.cut()
			l.mend()
		}
		require.ErrorContains(t, call(l, "new"), "no such rpc")
		require.ErrorIs(t, call(l, "old 1"), geminio.ErrRemoteRPCUnregistered)
		require.NoError(t, l.server().Register(t.Context(), "newer", echo))
		l.cut()
		l.mend()
		require.ErrorContains(t, call(l, "new"), "no such rpc")
		require.ErrorContains(t, call(l, "newer"), "no such rpc")
	})
}

// The error of an asynchronous call that was cut off has the cause, and is not that of the end
// of the RetryEnd.
func TestAsyncCallIsCutOff(t *testing.T) {
	withRetryEnd(t, serving("hang", hang), nil, func(t *testing.T, l *retryTest) {
		c, err := l.end.CallAsync(context.Background(), "hang", l.end.NewRequest(nil), nil)
		require.NoError(t, err)
		synctest.Wait()
		l.cut()
		synctest.Wait()
		select {
		case <-c.Done:
		default:
			t.Fatal("the call did not end")
		}
		var interrupted *geminio.InterruptedError
		require.ErrorAs(t, c.Error, &interrupted)
		assert.True(t, interrupted.MaybeExecuted)
		require.Error(t, interrupted.Cause)
		assert.NotErrorIs(t, c.Error, io.EOF, "the error of a call, want another than that of the end")
	})
}

// If the peer may have executed a call once, its error says so, however its repetitions end.
func TestRepeatedCallsEndTruthfully(t *testing.T) {
	withRetryEnd(t, serving("hang", hang), nil, func(t *testing.T, l *retryTest) {
		ctx := context.Background()
		idempotent := options.Call()
		idempotent.SetIdempotent(true)
		var all []<-chan error
		for i := range 20 {
			if i%2 == 0 {
				all = append(all, kit.Run(func() error {
					_, err := l.end.Call(ctx, "hang", l.end.NewRequest(nil), idempotent)
					return err
				}))
				continue
			}
			c, err := l.end.CallAsync(ctx, "hang", l.end.NewRequest(nil), nil, idempotent)
			require.NoError(t, err)
			all = append(all, kit.Run(func() error { return (<-c.Done).Error }))
		}
		l.sopt = serving("hang", hang)
		l.sopt.SetMaxHandlers(2) // most of the repetitions wait for credit
		l.cut()
		l.mend()
		l.end.Close()
		for i, ch := range all {
			err := kit.Returned(t, ch)
			assert.ErrorIs(t, err, geminio.ErrMaybeExecuted, "call %d", i)
			assert.ErrorIs(t, err, io.EOF, "call %d", i)
		}
		l.waiting(0)
	})
}

func TestCallWaitsForAConnection(t *testing.T) {
	withRetryEnd(t, serving("echo", echo), nil, func(t *testing.T, l *retryTest) {
		l.cut()
		req := l.end.NewRequest([]byte("data"))
		result := kit.Run(func() string {
			resp, err := l.end.Call(context.Background(), "echo", req)
			require.NoError(t, err)
			return string(resp.Data())
		})
		c, err := l.end.CallAsync(context.Background(), "echo", l.end.NewRequest([]byte("async")), nil)
		require.NoError(t, err)
		l.waiting(2)
		assert.Equal(t, len("data")+len("async"), l.end.Stats().WaitingBytes)
		l.mend()
		assert.Equal(t, "data", kit.Returned(t, result))
		assert.Same(t, c, <-c.Done)
		require.NoError(t, c.Error)
		assert.Equal(t, "async", string(c.Response.Data()))
	})
}

func TestCallIsRepeatedOnlyIfIdempotent(t *testing.T) {
	withRetryEnd(t, serving("m", hang), nil, func(t *testing.T, l *retryTest) {
		idempotent := options.Call()
		idempotent.SetIdempotent(true)
		call := func(opts ...*options.CallOptions) <-chan error {
			return kit.Run(func() error {
				_, err := l.end.Call(context.Background(), "m", l.end.NewRequest(nil), opts...)
				return err
			})
		}
		once, repeated := call(), call(idempotent)
		l.sopt = serving("m", echo)
		l.cut()
		assert.ErrorIs(t, kit.Returned(t, once), geminio.ErrMaybeExecuted)
		kit.Blocked(t, repeated)
		l.mend()
		assert.NoError(t, kit.Returned(t, repeated))
	})
}

func TestMethodsAreThereAfterAReconnect(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		require.NoError(t, l.end.Register(t.Context(), "registered", echo))
		opt := options.Hijack()
		opt.SetMatch(true, "^hijacked$")
		require.NoError(t, l.end.Hijack(func(_ context.Context, _ string, req geminio.Request, resp geminio.Response) {
			resp.SetData(req.Data())
		}, opt))
		for range 2 {
			for _, method := range []string{"registered", "hijacked"} {
				resp, err := l.server().Call(t.Context(), method, l.server().NewRequest([]byte("data")))
				require.NoError(t, err, method)
				assert.Equal(t, "data", string(resp.Data()), method)
			}
			l.cut()
			l.mend()
		}
		l.cut()
		waits := kit.Run(func() error { return l.end.Register(context.Background(), "later", echo) })
		kit.Blocked(t, waits)
		l.mend()
		require.NoError(t, kit.Returned(t, waits))
		_, err := l.server().Call(t.Context(), "later", l.server().NewRequest(nil))
		assert.NoError(t, err)
	})
}

func TestCallRefusesItsArguments(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		var none context.Context
		req := l.end.NewRequest(nil)
		for _, test := range []struct {
			name string
			ctx  context.Context
			req  geminio.Request
		}{{"context", none, req}, {"request", t.Context(), nil}} {
			_, err := l.end.Call(test.ctx, "m", test.req)
			assert.ErrorContains(t, err, "nil", test.name)
			_, err = l.end.CallAsync(test.ctx, "m", test.req, nil)
			assert.ErrorContains(t, err, "nil", test.name)
		}
		assert.ErrorContains(t, l.end.Register(none, "m", echo), "nil")
		assert.ErrorContains(t, l.end.Register(t.Context(), "m", nil), "nil")
		req.SetClientID(l.end.ClientID() + 1)
		_, err := l.end.Call(t.Context(), "m", req)
		assert.Equal(t, geminio.ErrMismatchClientID, err)
		_, err = l.end.CallAsync(t.Context(), "m", req, nil)
		assert.Equal(t, geminio.ErrMismatchClientID, err)
	})
}
