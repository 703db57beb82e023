package client

import (
	"context"
	"io"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/list"
	"github.com/singchia/geminio/internal/pairs"
	"github.com/singchia/geminio/packet"
)

// opState says how far an operation has come.
type opState uint8

const (
	// opNew: no attempt has begun. An attempt leads to opInFlight. If there is no
	// connection, the operation goes to opQueued, within the limits of SetMaxWaiting.
	opNew opState = iota

	// opQueued: the operation waits for a connection, and the peer has not acted on it.
	// The next connection leads to opInFlight. The end of the operation's context, its
	// deadline, the time of SetConnectWait and the end of the RetryEnd lead to opDone.
	opQueued

	// opInFlight: an attempt is under way on a connection. Its outcome leads to opDone.
	// If the connection is lost, the operation goes back to opQueued if the peer has
	// not acted on it. It goes on to opMaybeExecuted if the peer may have acted and a
	// second execution does no harm.
	opInFlight

	// opMaybeExecuted: the peer may have acted on an attempt whose connection was lost.
	// The operation waits for a connection, or a further attempt is under way. It stays
	// in this state until opDone, since a further attempt that is lost does not tell
	// whether the earlier one was executed.
	opMaybeExecuted

	// opDone: the operation has its outcome. Nothing leaves this state.
	opDone
)

// operation is a call, a publication, a registration or the opening of a stream. A
// RetryEnd attempts it on one connection after the other, as shouldRetry says. One
// goroutine at a time uses it; an asynchronous operation is a job of a retryQueue, whose
// rules then hold.
type operation struct {
	ctx        context.Context // bounds the wait for a connection
	deadline   time.Time       // of the operation with all its attempts; zero: none
	size       int             // bytes of its request, message or meta, which SetMaxWaiting bounds
	repeatable bool            // a second execution does no harm
	waitStart  time.Time       // when its present wait began
	bounded    bool            // ctx has a deadline; set when the wait begins
	accepted   bool            // it has waited: from then on the end of the RetryEnd interrupts it
	call       bool            // it is a call
	method     string          // of a call
	waiter     *waitingCall    // of a call that waits; else nil
	state      opState
}

// waitingCall is a call that waits for a connection, for snapshots.
type waitingCall struct {
	link   list.Link[waitingCall] // in RetryEnd.waitingCalls
	method string
	begin  time.Time // when it began to wait for the first time
}

// metadataSize returns the size of the metadata that an operation with ctx sends.
func metadataSize(ctx context.Context) int {
	l, _ := pairs.FromContext(ctx)
	return len(l)
}

// startAttempt begins an attempt. It returns the time that is left for it, and 0 if there is no
// limit. After the deadline it returns context.DeadlineExceeded.
func (op *operation) startAttempt() (time.Duration, error) {
	timeout, err := timeLeft(op.deadline)
	if err == nil && op.state != opMaybeExecuted {
		op.state = opInFlight
	}
	return timeout, err
}

// queue notes that the operation waits.
func (op *operation) queue() {
	op.accepted = true
	op.waitStart = time.Now()
	if op.state != opMaybeExecuted {
		op.state = opQueued
	}
}

// fail ends the operation with an error of this side, and returns it.
func (op *operation) fail(err error) error {
	op.state = opDone
	return err
}

// do carries out a synchronous operation: it waits for a connection, and calls attempt
// there with the time that is left, again and again until shouldRetry says that the
// outcome is final.
func (r *RetryEnd) do(op *operation, attempt func(l *link, timeout time.Duration) error) error {
	for {
		l, err := r.await(op)
		if err != nil {
			return err
		}
		timeout, err := op.startAttempt()
		if err != nil {
			return op.fail(err)
		}
		err = attempt(l, timeout)
		if !r.shouldRetry(op, l, err) {
			return r.finish(op, err)
		}
	}
}

// shouldRetry is the rule of repeating. It takes the outcome of an attempt on l and tells
// whether the operation is attempted again on the next connection. It is, if
//
//   - the connection was lost before the peer could act on the operation, or
//   - the connection was lost, the peer may have acted, and the operation is repeatable, or
//   - the connection takes no new work, because it has ended or the peer is going away.
//
// Every other outcome is final. After the end of the RetryEnd, every outcome is final.
func (r *RetryEnd) shouldRetry(op *operation, l *link, err error) bool {
	if err == nil || r.ended() {
		return false
	}
	switch err := err.(type) {
	case *geminio.InterruptedError:
		if !err.MaybeExecuted {
			return true
		}
		if op.repeatable {
			op.state = opMaybeExecuted
		}
		return op.repeatable
	case *geminio.RefusedError:
		if err.Code == geminio.CodeGoingAway {
			r.goAway(l)
			return true
		}
		return false
	}
	switch err {
	case io.EOF:
		// The connection has ended, or the server has closed its default stream, without
		// which the connection is of no use.
		l.control().CloseWith(io.EOF, packet.Reason{})
		<-l.e.Done()
		return true
	case geminio.ErrGoingAway:
		r.goAway(l)
		return true
	}
	return false
}

// finish ends an operation whose last attempt has ended with err, and returns its error.
// If the end of the RetryEnd has interrupted the operation, the returned error is a
// *geminio.InterruptedError. If the context or the time of the operation has ended while its
// session was interrupted, the error has the last failure too.
func (r *RetryEnd) finish(op *operation, err error) error {
	state := op.state
	op.state = opDone
	maybeExecuted := state == opMaybeExecuted
	switch e := err.(type) {
	case nil:
		return nil
	case *geminio.InterruptedError:
		maybeExecuted = maybeExecuted || e.MaybeExecuted
	default:
		if err == context.Canceled || err == context.DeadlineExceeded {
			return r.withFailure(err)
		}
		notBegun := err == io.EOF || err == geminio.ErrGoingAway
		if !notBegun || !op.accepted && !maybeExecuted {
			return err
		}
	}
	if !r.ended() {
		return err
	}
	return &geminio.InterruptedError{MaybeExecuted: maybeExecuted, Cause: r.Cause()}
}

// interrupt ends an operation that waits when the RetryEnd ends, and returns its error.
func (r *RetryEnd) interrupt(op *operation) error {
	maybeExecuted := op.state == opMaybeExecuted
	op.state = opDone
	return &geminio.InterruptedError{MaybeExecuted: maybeExecuted, Cause: r.Cause()}
}

// deadlineAfter returns when a timeout that begins now has passed, and the zero time if
// there is no timeout.
func deadlineAfter(timeout time.Duration) time.Time {
	if timeout <= 0 {
		return time.Time{}
	}
	return time.Now().Add(timeout)
}

// timeLeft returns the time until a deadline, 0 if there is none, and
// context.DeadlineExceeded if it has passed.
func timeLeft(deadline time.Time) (time.Duration, error) {
	if deadline.IsZero() {
		return 0, nil
	}
	d := time.Until(deadline)
	if d <= 0 {
		return 0, context.DeadlineExceeded
	}
	return d, nil
}
