package client

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/singchia/geminio/internal/setup"
)

const (
	defaultRetryMin        = 100 * time.Millisecond
	defaultRetryMax        = 30 * time.Second
	defaultMaxWaiting      = 4096
	defaultMaxWaitingBytes = 64 << 20
	defaultDrainTimeout    = 5 * time.Minute
	defaultConnectWait     = 10 * time.Second
	// hintFactor is the default of MaxRetryAfter as a multiple of the longest back-off.
	hintFactor = 10

	// leastBackoff is the shortest back-off, so that an End does not dial without a pause.
	leastBackoff = time.Millisecond
)

// RetryOptions are the options of an End that reconnects by itself. EndOptions embed them;
// the other constructors ignore them. A zero field stands for the default that its setter
// states.
type RetryOptions struct {
	RetryMin        time.Duration
	RetryMax        time.Duration
	RetryFirst      context.Context
	RetryFailed     func(error)
	StopOnRefusal   bool
	MaxWaiting      int
	MaxWaitingBytes int
	MaxRetryAfter   time.Duration
	DrainTimeout    time.Duration
	ConnectWait     *time.Duration
}

// SetRetryBackoff sets how long a RetryEnd waits before it dials again: a random time between 0
// and a bound, which begins at min and doubles with every failed attempt, up to max. By
// default, and for 0, min is 100 ms and max 30 s. Both are at least 1 ms and at most a year, and
// max is at least min.
//
// The bound begins at min again after a connection that has lasted ten times min, and after one
// on which the server has sent anything other than registrations and its end, unless a side has
// broken a rule of the wire.
func (o *RetryOptions) SetRetryBackoff(min, max time.Duration) { o.RetryMin, o.RetryMax = min, max }

// SetRetryFirst has the constructor of a RetryEnd try again, with the back-off of
// SetRetryBackoff, until it has a first connection or ctx ends. By default the constructor
// tries once and returns the error.
func (o *RetryOptions) SetRetryFirst(ctx context.Context) { o.RetryFirst = ctx }

// SetRetryFailedFunc has f called with the error of each failed attempt of a RetryEnd to
// connect: a *geminio.RefusedError if the server refuses the client, for instance because of
// its credentials; geminio.ErrReplaced if another connection has taken over the client's id;
// otherwise an error of the dialer or the network. f also gets the reason, a
// *geminio.RemoteError, when the server has closed the connection with CloseWithError. The
// RetryEnd then makes the next connection. The next attempt waits until f returns. f must not
// close the End.
func (o *RetryOptions) SetRetryFailedFunc(f func(error)) { o.RetryFailed = f }

// SetStopOnRefusal has a RetryEnd close itself when the server refuses it, or when another
// connection has taken over its id. By default it tries again, as after other failures. A
// refusal that matches geminio.ErrGoingAway is temporary and does not end the RetryEnd.
func (o *RetryOptions) SetStopOnRefusal() { o.StopOnRefusal = true }

// SetMaxWaiting bounds the operations that wait while a RetryEnd has no connection: their
// number, by default 4096, and the bytes of their requests and messages, by default
// 64 MiB. An operation beyond that is refused with a *geminio.LimitError, which matches
// geminio.ErrTooMany or geminio.ErrTooLarge.
func (o *RetryOptions) SetMaxWaiting(operations, bytes int) {
	o.MaxWaiting, o.MaxWaitingBytes = operations, bytes
}

// SetMaxRetryAfter bounds the time for which a server can ask a RetryEnd to stay away, by its
// SetRetryAfter or by a refusal. The RetryEnd waits for at most twice that time. The default,
// and 0, is ten times the longest back-off, so it is five minutes with the default back-off.
// It is at least 1 ms and at most ten years.
func (o *RetryOptions) SetMaxRetryAfter(d time.Duration) { o.MaxRetryAfter = d }

// SetDrainTimeout bounds how long a RetryEnd keeps a connection whose server is shutting down,
// for the calls, messages and streams that are under way there. Then it closes that
// connection, with a cause that matches geminio.ErrGoingAway, and makes the next one. The
// default, and 0, is five minutes. It is at least 1 ms and at most a year.
func (o *RetryOptions) SetDrainTimeout(d time.Duration) { o.DrainTimeout = d }

// SetConnectWait bounds the time for which an operation waits while a RetryEnd has no
// connection, if the operation has no deadline of its own and was never sent. Then the
// operation fails with an error that matches geminio.ErrNotConnected and the last failure of
// dialling or shaking hands. The default is 10 s; 0 sets no bound. It is at most a year.
//
// It is for Call, CallAsync, Publish, PublishAsync, Register, OpenStream and Write. A context
// with a deadline, a timeout and SetWriteDeadline take its place. The time begins with the
// operation. If there is a connection at that moment, the time begins when that connection
// ends. If the server has asked clients to stay away, it begins when the time that the server
// named is over. An operation that was sent, and is sent again after a reconnect, waits
// without this bound, and so do Receive, Read, AcceptStream and Accept.
func (o *RetryOptions) SetConnectWait(d time.Duration) { o.ConnectWait = &d }

// resolve sets the defaults of fields that are zero, and checks the others.
func (o *RetryOptions) resolve() error {
	wait := defaultConnectWait
	if o.ConnectWait != nil {
		wait = *o.ConnectWait
	}
	o.SetConnectWait(wait) // its own copy
	err := errors.Join(
		setup.Range("ConnectWait", wait, 0, setup.LongestTime),
		setup.Default("RetryMin", &o.RetryMin, defaultRetryMin, leastBackoff, setup.LongestTime),
		setup.Default("RetryMax", &o.RetryMax, defaultRetryMax, leastBackoff, setup.LongestTime),
		setup.Default("DrainTimeout", &o.DrainTimeout, defaultDrainTimeout, time.Millisecond, setup.LongestTime),
		setup.Default("MaxWaiting", &o.MaxWaiting, defaultMaxWaiting, 1, math.MaxInt),
		setup.Default("MaxWaitingBytes", &o.MaxWaitingBytes, defaultMaxWaitingBytes, 1, math.MaxInt),
	)
	if err != nil {
		return err
	}
	o.RetryMax = max(o.RetryMax, o.RetryMin)
	return setup.Default("MaxRetryAfter", &o.MaxRetryAfter, hintFactor*o.RetryMax, time.Millisecond, hintFactor*setup.LongestTime)
}
