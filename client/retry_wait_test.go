package client

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// The repetitions of OpenStream and Register end with their contexts.
func TestWaitingIsBoundedByTimeouts(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		l.cut()
		opt := options.OpenStream()
		opt.SetTimeout(time.Minute)
		open := kit.Run(func() error {
			_, err := l.end.OpenStream(opt)
			return err
		})
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		register := kit.Run(func() error { return l.end.Register(ctx, "m", hang) })
		l.waiting(2)
		time.Sleep(time.Minute - 1)
		kit.Blocked(t, open)
		kit.Blocked(t, register)
		time.Sleep(time.Nanosecond)
		assert.ErrorIs(t, kit.Returned(t, open), context.DeadlineExceeded)
		assert.ErrorIs(t, kit.Returned(t, register), context.DeadlineExceeded)
		l.waiting(0)
	})
}

// The context of OpenStreamContext ends the wait for a connection and the wait for the answer.
func TestOpenStreamContextWhileWaiting(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		l.cut()
		ctx, cancel := context.WithCancel(t.Context())
		open := kit.Run(func() error {
			_, err := l.end.OpenStreamContext(ctx)
			return err
		})
		l.waiting(1)
		cancel()
		assert.ErrorIs(t, kit.Returned(t, open), context.Canceled)
		l.waiting(0)
		_, err := l.end.OpenStreamContext(context.Context(nil))
		assert.EqualError(t, err, "open: the context is nil")
	})
}

// slowDelegate decides about streams after an hour.
type slowDelegate struct {
	*delegate.UnimplementedDelegate
}

func (slowDelegate) DialogueOnline(delegate.DialogueDescriber) error {
	time.Sleep(time.Hour)
	return nil
}

// The context of OpenStreamContext ends the wait for the answer of the server.
func TestOpenStreamContextWithoutAnswer(t *testing.T) {
	sopt := server.NewEndOptions()
	sopt.SetDelegate(slowDelegate{})
	withRetryEnd(t, sopt, nil, func(t *testing.T, l *retryTest) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		_, err := l.end.OpenStreamContext(ctx)
		assert.Equal(t, context.DeadlineExceeded, err)
		assert.Equal(t, time.Minute, time.Since(start))
		assert.Len(t, l.end.ListStreams(), 1)
		time.Sleep(2 * time.Hour)
		assert.Len(t, l.server().ListStreams(), 1)
	})
}

func TestStartWaitCounts(t *testing.T) {
	opt := NewEndOptions()
	opt.SetMaxWaiting(2, 100)
	withRetryEnd(t, nil, opt, func(t *testing.T, l *retryTest) {
		r := l.end
		ctx := t.Context()
		first, second := operation{ctx: ctx, size: 60}, operation{ctx: ctx, size: 40}
		require.NoError(t, r.startWait(&first))
		idle := r.idle()
		assert.ErrorIs(t, r.startWait(&operation{ctx: ctx, size: 41}), geminio.ErrTooLarge)
		require.NoError(t, r.startWait(&second))
		assert.ErrorIs(t, r.startWait(&operation{ctx: ctx}), geminio.ErrTooMany)
		sent := operation{ctx: ctx, state: opMaybeExecuted, size: 1000}
		require.NoError(t, r.startWait(&sent), "startWait of an operation that was sent, above the limits")
		assert.Equal(t, opMaybeExecuted, sent.state)
		assert.Equal(t, opQueued, first.state)
		stats := r.Stats()
		assert.Equal(t, 3, stats.Waiting)
		assert.Equal(t, 1100, stats.WaitingBytes)
		for _, op := range []operation{first, second, sent} {
			select {
			case <-idle:
				t.Error("the RetryEnd is idle while an operation waits")
			default:
			}
			r.endWait(op.size)
		}
		<-idle
		<-r.idle()
		l.waiting(0)
	})
}

func TestAwait(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		op := operation{ctx: t.Context()}
		at, err := l.end.await(&op)
		require.NoError(t, err)
		assert.Same(t, l.end.last.Load(), at)
		assert.Equal(t, opNew, op.state, "an operation that did not wait")

		l.cut()
		assert.Nil(t, l.end.working())
		found := kit.Run(func() *link {
			at, err := l.end.await(&op)
			assert.NoError(t, err)
			return at
		})
		l.waiting(1)
		l.mend()
		assert.Same(t, l.end.last.Load(), kit.Returned(t, found))
		assert.Equal(t, opQueued, op.state)
		l.waiting(0)

		l.cut()
		failed := kit.Run(func() error {
			_, err := l.end.await(&op)
			return err
		})
		l.end.Close()
		assert.ErrorIs(t, kit.Returned(t, failed), geminio.ErrNotExecuted)
		assert.Equal(t, opDone, op.state)
		assert.Equal(t, io.EOF, l.end.checkOpen())
	})
}

func TestCheckOpen(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		assert.NoError(t, l.end.checkOpen())
		l.end.draining.Store(true)
		assert.Equal(t, geminio.ErrGoingAway, l.end.checkOpen())
	})
}
