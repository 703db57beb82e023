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

// The methods that a server registers are those of its connection: a server that has
// registered as many as it may leaves room for those of the next. Until the next has
// registered its own, those of the one before are known.
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
		require.ErrorContains(t, call(l, "old 1"), "no such rpc", "the next one has not registered yet")
		require.ErrorIs(t, call(l, "new"), geminio.ErrRemoteRPCUnregistered)
		require.NoError(t, l.server().Register(t.Context(), "new", echo))
		require.NoError(t, call(l, "new"))
		require.ErrorContains(t, call(l, "old 1"), "no such rpc", "it may still be registering")
		time.Sleep(time.Second)
		require.ErrorIs(t, call(l, "old 1"), geminio.ErrRemoteRPCUnregistered)
		require.NoError(t, call(l, "new"))

		for range 3 { // each ends before its server has registered anything
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

// An asynchronous call that was cut off says why, and is not the end of everything.
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
			t.Fatal("the call has not ended")
		}
		var interrupted *geminio.InterruptedError
		require.ErrorAs(t, c.Error, &interrupted)
		assert.True(t, interrupted.MaybeExecuted)
		require.Error(t, interrupted.Cause)
		assert.NotErrorIs(t, c.Error, io.EOF, "that would be the End's")
	})
}

// A call that the peer may have seen once stays so, however its repetitions end.
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
		l.sopt.SetMaxHandlers(2) // so most of them wait for credit then
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
