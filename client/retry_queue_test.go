package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// recordedJob is a job that records its attempts and outcomes.
type recordedJob struct {
	job
	begun    int
	outcomes []error
}

func (l *retryTest) probe(order uint64) *recordedJob {
	p := &recordedJob{}
	p.job = job{
		queue: &l.end.calls, order: order,
		operation: operation{ctx: context.Background(), size: 10},
		begin: func(_ *link, _ time.Duration, done func(geminio.Response, error)) error {
			p.begun++
			done(nil, nil)
			return nil
		},
		done: func(_ geminio.Response, err error) { p.outcomes = append(p.outcomes, err) },
	}
	return p
}

// outcome requires that p has one outcome, and returns it.
func (p *recordedJob) outcome(t *testing.T) error {
	t.Helper()
	synctest.Wait()
	require.Len(t, p.outcomes, 1, "outcomes of job %d", p.order)
	return p.outcomes[0]
}

func TestRetryQueueBeginsInOrder(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		l.cut()
		var begun []uint64
		for _, order := range []uint64{7, 3, 9, 1, 8, 2, 6, 5, 4} {
			p := l.probe(order)
			begin := p.begin
			p.begin = func(at *link, timeout time.Duration, done func(geminio.Response, error)) error {
				begun = append(begun, order)
				return begin(at, timeout, done)
			}
			require.NoError(t, l.end.calls.start(&p.job))
			defer func() { assert.NoError(t, p.outcome(t)) }()
		}
		l.waiting(9)
		assert.Equal(t, 90, l.end.Stats().WaitingBytes)
		l.mend()
		assert.Equal(t, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9}, begun)
		l.waiting(0)
	})
}

// A job that cannot begin on a connection keeps its place in the queue for the next one.
func TestRetryQueueTriesAgain(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		l.cut()
		lost := &geminio.InterruptedError{Cause: io.ErrUnexpectedEOF}
		maybe := &geminio.InterruptedError{MaybeExecuted: true, Cause: io.ErrUnexpectedEOF}
		final := errors.New("for good")
		type attempts struct {
			p    *recordedJob
			errs []error
		}
		var all []attempts
		var begun []string
		for _, errs := range [][]error{
			{lost, nil}, {nil}, {geminio.ErrGoingAway, nil}, {nil}, {io.EOF, lost, nil}, {final}, {maybe},
		} {
			p := l.probe(uint64(len(all)))
			all = append(all, attempts{p, errs})
			p.begin = func(at *link, _ time.Duration, done func(geminio.Response, error)) error {
				err := errs[p.begun]
				p.begun++
				begun = append(begun, fmt.Sprint(p.order, " ", err))
				switch err {
				case error(lost), error(maybe):
					at.control().CloseWith(io.ErrUnexpectedEOF, packet.Reason{})
					done(nil, err)
					return nil
				case geminio.ErrGoingAway:
					go at.e.Close()
				case nil:
					done(nil, nil)
				}
				return err
			}
			require.NoError(t, l.end.calls.start(&p.job))
		}
		l.mend()
		time.Sleep(time.Minute)
		l.waiting(0)
		for _, a := range all {
			assert.Equal(t, len(a.errs), a.p.begun, "attempts of %d", a.p.order)
			assert.Equal(t, a.errs[len(a.errs)-1], a.p.outcome(t), "outcome of %d", a.p.order)
		}
		assert.Equal(t, []string{
			"0 " + lost.Error(), "0 <nil>", "1 <nil>", "2 shutting down", "2 <nil>", "3 <nil>",
			"4 EOF", "4 " + lost.Error(), "4 <nil>", "5 for good", "6 " + maybe.Error(),
		}, begun)
	})
}

func TestRetryQueueGivesUp(t *testing.T) {
	opt := NewEndOptions()
	opt.SetConnectWait(0)
	withRetryEnd(t, nil, opt, func(t *testing.T, l *retryTest) {
		l.cut()
		stopped, byContext, byTime, both, stays := l.probe(1), l.probe(2), l.probe(3), l.probe(4), l.probe(5)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		cause, stop := context.WithCancelCause(context.Background())
		stopped.ctx, byContext.ctx, both.ctx = cause, ctx, ctx
		byTime.deadline, both.deadline = time.Now().Add(time.Minute), time.Now().Add(time.Minute)
		stays.deadline = time.Now().Add(time.Hour)
		for _, p := range []*recordedJob{stays, both, byTime, byContext, stopped} {
			require.NoError(t, l.end.calls.start(&p.job))
		}
		stop(io.ErrNoProgress)
		assert.ErrorIs(t, stopped.outcome(t), context.Canceled)
		l.waiting(4)
		time.Sleep(time.Minute - 1)
		l.waiting(4)
		time.Sleep(time.Nanosecond)
		assert.ErrorIs(t, byTime.outcome(t), context.DeadlineExceeded)
		assert.ErrorIs(t, both.outcome(t), context.DeadlineExceeded)
		cancel()
		assert.ErrorIs(t, byContext.outcome(t), context.Canceled)
		assert.ErrorIs(t, both.outcome(t), context.DeadlineExceeded, "once")
		l.waiting(1)
		l.mend()
		assert.NoError(t, stays.outcome(t))
		time.Sleep(2 * time.Hour)
		for _, p := range []*recordedJob{stopped, byContext, byTime, both, stays} {
			p.outcome(t)
			assert.Equal(t, p == stays, p.begun == 1, "job %d was begun %d times", p.order, p.begun)
		}
		l.waiting(0)
	})
}

// Close ends all jobs that wait. Their errors say whether the peer may have executed them.
func TestRetryQueueEnds(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		l.cut()
		waits, sent := l.probe(1), l.probe(2)
		require.NoError(t, l.end.calls.push(&waits.job))
		sent.state = opMaybeExecuted
		require.NoError(t, l.end.calls.push(&sent.job))
		l.waiting(2)
		l.end.Close()
		for p, want := range map[*recordedJob]error{waits: geminio.ErrNotExecuted, sent: geminio.ErrMaybeExecuted} {
			assert.ErrorIs(t, p.outcome(t), want)
			assert.ErrorIs(t, p.outcome(t), io.EOF)
			assert.Zero(t, p.begun)
		}
		l.waiting(0)

		late := l.probe(3)
		late.state = opMaybeExecuted
		err := l.end.calls.push(&late.job)
		assert.ErrorIs(t, err, geminio.ErrMaybeExecuted)
		assert.ErrorIs(t, err, io.EOF)
		assert.Empty(t, late.outcomes, "outcomes, beside the error of push")
		l.waiting(0)
	})
}

func TestRetryQueueLimits(t *testing.T) {
	opt := NewEndOptions()
	opt.SetMaxWaiting(3, 35)
	withRetryEnd(t, nil, opt, func(t *testing.T, l *retryTest) {
		l.cut()
		var limit *geminio.LimitError
		require.NoError(t, l.end.calls.start(&l.probe(1).job))
		big := l.probe(2)
		big.size = 26
		err := l.end.calls.start(&big.job)
		require.ErrorAs(t, err, &limit)
		assert.ErrorIs(t, err, geminio.ErrTooLarge)
		assert.EqualValues(t, 36, limit.Value)
		assert.EqualValues(t, 35, limit.Limit)
		assert.Empty(t, big.outcomes)
		l.waiting(1)

		require.NoError(t, l.end.outbox.start(&l.probe(3).job), "start within the limits of all queues")
		require.NoError(t, l.end.calls.start(&l.probe(4).job))
		small := l.probe(5)
		small.size = 0
		err = l.end.calls.start(&small.job)
		require.ErrorAs(t, err, &limit)
		assert.ErrorIs(t, err, geminio.ErrTooMany)
		assert.EqualValues(t, 4, limit.Value)
		assert.EqualValues(t, 3, limit.Limit)
		l.waiting(3)

		big.size = 1 << 30
		big.state = opInFlight
		require.NoError(t, l.end.calls.push(&big.job), "push of a job that was in flight, above the limits")
		l.waiting(4)
		l.mend()
		l.waiting(0)
		assert.NoError(t, big.outcome(t))
	})
}

// A request of a user's type whose methods panic costs its own call.
func TestJobThatPanics(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		l.cut()
		bad, good := l.probe(1), l.probe(2)
		bad.begin = func(*link, time.Duration, func(geminio.Response, error)) error { panic("oops") }
		require.NoError(t, l.end.calls.start(&bad.job))
		require.NoError(t, l.end.calls.start(&good.job))
		l.mend()
		assert.ErrorContains(t, bad.outcome(t), "panicked")
		assert.NoError(t, good.outcome(t))
	})
}

// nosyContext is a context whose methods use the RetryEnd.
type nosyContext struct {
	context.Context
	use func()
}

func (c nosyContext) Deadline() (time.Time, bool) { c.use(); return c.Context.Deadline() }
func (c nosyContext) Done() <-chan struct{}       { c.use(); return c.Context.Done() }
func (c nosyContext) Err() error                  { c.use(); return c.Context.Err() }
func (c nosyContext) Value(key any) any           { c.use(); return c.Context.Value(key) }

// Methods of a context are called without a lock.
func TestContextThatUsesTheRetryEnd(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		l.cut()
		ctx, cancel := context.WithCancel(context.Background())
		nosy := nosyContext{ctx, func() { l.end.calls.wake(); l.end.Stats() }}
		given, begun := l.probe(1), l.probe(2)
		given.ctx, begun.ctx = nosy, nosyContext{context.Background(), nosy.use}
		started := kit.Run(func() error {
			if err := l.end.calls.start(&given.job); err != nil {
				return err
			}
			return l.end.calls.start(&begun.job)
		})
		time.Sleep(time.Second)
		require.NoError(t, kit.Returned(t, started))
		cancel()
		assert.ErrorIs(t, given.outcome(t), context.Canceled)
		l.mend()
		assert.NoError(t, begun.outcome(t))
	})
}
