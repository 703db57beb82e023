package client

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/singchia/geminio"
)

// outage is the time for which a RetryEnd has no connection. RetryEnd.mu guards it.
type outage struct {
	since   time.Time // when the time of SetConnectWait begins for operations that began earlier
	failure error     // the last failure of dialling or shaking hands; nil: none so far
}

// begin notes that the time of SetConnectWait does not begin before t.
func (o *outage) begin(t time.Time) {
	if t.After(o.since) {
		o.since = t
	}
}

// noLimit is the time that is left for a wait without a bound.
const noLimit = time.Duration(math.MaxInt64)

// waitLeft returns for how long an operation may still wait for a connection: noLimit, or a
// time after which the caller has to ask again. If the time is over, it returns the error of
// the operation.
func (r *RetryEnd) waitLeft(op *operation) (time.Duration, error) {
	if !op.deadline.IsZero() {
		if left := time.Until(op.deadline); left > 0 {
			return left, nil
		}
		return 0, r.withFailure(context.DeadlineExceeded)
	}
	if op.state == opMaybeExecuted {
		return noLimit, nil
	}
	if op.bounded {
		return noLimit, nil
	}
	return r.connectWaitLeft(op.waitStart)
}

// connectWaitLeft returns how much is left of the time of SetConnectWait for a wait that
// began at start, as waitLeft does. The time does not run while there is a connection, even
// if that takes no new work.
func (r *RetryEnd) connectWaitLeft(start time.Time) (time.Duration, error) {
	wait := *r.opt.ConnectWait
	if wait == 0 {
		return noLimit, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.last.Load(); l != nil && !l.hasEnded && !l.interrupted.Load() {
		return wait, nil
	}
	if r.outage.since.After(start) {
		start = r.outage.since
	}
	if left := time.Until(start.Add(wait)); left > 0 {
		return left, nil
	}
	if r.outage.failure == nil {
		return 0, fmt.Errorf("%w for %v", geminio.ErrNotConnected, wait)
	}
	return 0, fmt.Errorf("%w for %v: %w", geminio.ErrNotConnected, wait, r.outage.failure)
}

// withFailure returns the error of an operation whose context or time has ended. If there is
// no connection, the error has the last failure of dialling or shaking hands too.
func (r *RetryEnd) withFailure(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.outage.failure == nil {
		return err
	}
	return fmt.Errorf("%w while not connected: %w", err, r.outage.failure)
}
