package client

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// A synchronous operation of a RetryEnd over a healthy connection allocates no more than
// that of a plain End.
func TestRetryEndAllocatesNoMoreThanAPlainEnd(t *testing.T) {
	opt := server.NewEndOptions()
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: func(context.Context, geminio.Request, geminio.Response) {}})
	dial := func() (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			peer, err := server.NewEndWithConn(far, opt)
			if err != nil {
				return
			}
			for {
				m, err := peer.Receive(context.Background())
				if err != nil {
					return
				}
				m.Done()
			}
		}()
		return near, nil
	}
	measure := func(e geminio.End, err error) (calls, messages float64) {
		require.NoError(t, err)
		defer e.Close()
		ctx := context.Background()
		calls = testing.AllocsPerRun(500, func() {
			_, err = e.Call(ctx, "m", e.NewRequest(nil))
		})
		require.NoError(t, err)
		messages = testing.AllocsPerRun(500, func() { err = e.Publish(ctx, e.NewMessage(nil)) })
		require.NoError(t, err)
		return calls, messages
	}
	calls, messages := measure(NewEndWithDialer(dial))
	retryCalls, retryMessages := measure(NewRetryEndWithDialer(dial))
	t.Logf("plain: %v per call, %v per message; RetryEnd: %v and %v", calls, messages, retryCalls, retryMessages)
	if kit.Race {
		return // the race detector allocates
	}
	assert.LessOrEqual(t, retryCalls, calls, "allocations per call")
	assert.LessOrEqual(t, retryMessages, messages, "allocations per message")
}

// shouldRetry decides for each outcome of an attempt.
func TestShouldRetry(t *testing.T) {
	notExecuted := &geminio.InterruptedError{Cause: io.ErrUnexpectedEOF}
	maybeExecuted := &geminio.InterruptedError{MaybeExecuted: true, Cause: io.ErrUnexpectedEOF}
	for _, c := range []struct {
		name       string
		err        error
		repeatable bool
		want       bool
		state      opState
	}{
		{"success", nil, true, false, opInFlight},
		{"not executed", notExecuted, false, true, opInFlight},
		{"not executed, repeatable", notExecuted, true, true, opInFlight},
		{"maybe executed", maybeExecuted, false, false, opInFlight},
		{"maybe executed, repeatable", maybeExecuted, true, true, opMaybeExecuted},
		{"refused for now", &geminio.RefusedError{Code: geminio.CodeGoingAway}, false, true, opInFlight},
		{"refused", &geminio.RefusedError{Code: geminio.CodeApplication}, true, false, opInFlight},
		{"the connection has ended", io.EOF, false, true, opInFlight},
		{"the peer is going away", geminio.ErrGoingAway, false, true, opInFlight},
		{"an answer with an error", &geminio.RemoteError{Text: "no"}, true, false, opInFlight},
		{"the deadline", context.DeadlineExceeded, true, false, opInFlight},
		{"an error of this side", geminio.ErrTooLarge, true, false, opInFlight},
	} {
		t.Run(c.name, func(t *testing.T) {
			withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
				op := operation{ctx: t.Context(), repeatable: c.repeatable}
				_, err := op.startAttempt()
				require.NoError(t, err)
				assert.Equal(t, c.want, l.end.shouldRetry(&op, l.end.last.Load(), c.err))
				assert.Equal(t, c.state, op.state)
				l.end.Close()
				assert.False(t, l.end.shouldRetry(&op, l.end.last.Load(), c.err), "after the end")
			})
		})
	}
}

// The error of an operation whose last attempt ends after the end of the RetryEnd.
func TestFinishAfterTheEnd(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		l.end.Close()
		other := errors.New("another error")
		notExecuted := &geminio.InterruptedError{Cause: io.ErrUnexpectedEOF}
		maybeExecuted := &geminio.InterruptedError{MaybeExecuted: true, Cause: io.ErrUnexpectedEOF}
		no := &geminio.InterruptedError{Cause: io.EOF}
		maybe := &geminio.InterruptedError{MaybeExecuted: true, Cause: io.EOF}
		for _, c := range []struct {
			name      string
			state     opState
			accepted  bool
			err, want error
		}{
			{"success", opInFlight, true, nil, nil},
			{"another error", opMaybeExecuted, true, other, other},
			{"a first attempt does not begin", opInFlight, false, io.EOF, io.EOF},
			{"an attempt after a wait does not begin", opInFlight, true, io.EOF, no},
			{"an attempt after one that may be executed does not begin", opMaybeExecuted, false, geminio.ErrGoingAway, maybe},
			{"interrupted before the peer acts", opInFlight, false, notExecuted, no},
			{"interrupted", opInFlight, false, maybeExecuted, maybe},
			{"interrupted after one that may be executed", opMaybeExecuted, true, notExecuted, maybe},
		} {
			op := operation{state: c.state, accepted: c.accepted}
			assert.Equal(t, c.want, l.end.finish(&op, c.err), c.name)
			assert.Equal(t, opDone, op.state, c.name)
		}
	})
}

// The states of an operation that waits, is attempted, is lost, and ends.
func TestOperationStates(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		op := operation{ctx: t.Context(), repeatable: true}
		assert.Equal(t, opNew, op.state)
		l.cut()
		require.NoError(t, l.end.startWait(&op))
		l.end.endWait(op.size)
		assert.Equal(t, opQueued, op.state)
		step := func(want opState) {
			t.Helper()
			_, err := op.startAttempt()
			require.NoError(t, err)
			assert.Equal(t, want, op.state)
		}
		step(opInFlight)
		require.True(t, l.end.shouldRetry(&op, l.end.last.Load(), &geminio.InterruptedError{MaybeExecuted: true}))
		require.NoError(t, l.end.startWait(&op))
		l.end.endWait(op.size)
		assert.Equal(t, opMaybeExecuted, op.state, "while it waits for the next connection")
		step(opMaybeExecuted)
		op.deadline = time.Now()
		_, err := op.startAttempt()
		assert.Equal(t, context.DeadlineExceeded, err)
		assert.Equal(t, err, op.fail(err))
		assert.Equal(t, opDone, op.state)
	})
}
