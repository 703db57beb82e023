package client

import (
	"context"
	"io"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// working returns the connection that takes new work, nil if there is none.
func (r *RetryEnd) working() *link {
	if l := r.cur.Load(); l != nil && l.works() {
		return l
	}
	return nil
}

// admit returns why nothing new may begin, if so.
func (r *RetryEnd) admit() error {
	switch {
	case r.over():
		return io.EOF
	case r.draining.Load():
		return geminio.ErrGoingAway
	}
	return nil
}

// await returns the connection that takes new work, and waits for one where there
// is none: as an operation that holds so many bytes, until ctx ends or until, if it
// is not zero, comes. With underWay set the operation was so already, and with sent
// the peer may have acted on it.
func (r *RetryEnd) await(ctx context.Context, until time.Time, size int, underWay, sent bool) (*link, error) {
	if l := r.working(); l != nil {
		return l, nil
	}
	if err := r.wait(size, underWay); err != nil {
		return nil, err
	}
	defer r.waited(size)
	var late <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		late = timer.C
	}
	for {
		r.mu.Lock()
		news := r.news
		r.mu.Unlock()
		if l := r.working(); l != nil {
			return l, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-late:
			return nil, context.DeadlineExceeded
		case <-r.done:
			return nil, r.interrupted(sent)
		}
	}
}

// interrupted is what something gets that was under way when the End ended.
func (r *RetryEnd) interrupted(sent bool) error {
	return &geminio.InterruptedError{MaybeExecuted: sent, Cause: r.Cause()}
}

// atEnd returns what err, with which an attempt has ended, is for its operation, on
// which the peer may have acted in an earlier one: after the end of the RetryEnd, that.
func (r *RetryEnd) atEnd(err error, sent bool) error {
	_, cut := err.(*geminio.InterruptedError)
	if (cut || err == io.EOF || err == geminio.ErrGoingAway) && r.over() {
		return r.interrupted(sent || maybe(err))
	}
	return err
}

// wait counts an operation that is to wait. What was under way already, when the
// connection was lost, is let in whatever the limits.
func (r *RetryEnd) wait(size int, underWay bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !underWay {
		if r.waiting >= r.opt.MaxWaiting {
			return &geminio.LimitError{
				What: "operations that wait for a connection", Value: uint64(r.waiting) + 1, Limit: uint64(r.opt.MaxWaiting), Err: geminio.ErrTooMany,
			}
		}
		if size > r.opt.MaxWaitingBytes-r.waitingBytes {
			return &geminio.LimitError{
				What: "bytes that wait for a connection", Value: uint64(r.waitingBytes + size), Limit: uint64(r.opt.MaxWaitingBytes), Err: geminio.ErrTooLarge,
			}
		}
	}
	r.waiting++
	r.waitingBytes += size
	return nil
}

// waited uncounts it.
func (r *RetryEnd) waited(size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting--
	r.waitingBytes -= size
	if r.waiting == 0 && r.drained != nil {
		close(r.drained)
		r.drained = nil
	}
}

// calm returns what is closed when nothing waits for a connection.
func (r *RetryEnd) calm() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == 0 {
		none := make(chan struct{})
		close(none)
		return none
	}
	if r.drained == nil {
		r.drained = make(chan struct{})
	}
	return r.drained
}

// again tells whether an operation that has ended with err on l is to be tried on
// the next connection: if it was not carried out, or if it may be repeated.
func (r *RetryEnd) again(l *link, err error, repeat bool) bool {
	if err == nil || r.over() {
		return false
	}
	switch err := err.(type) {
	case *geminio.InterruptedError:
		return !err.MaybeExecuted || repeat
	case *geminio.RefusedError:
		if err.Code == geminio.CodeGoingAway {
			r.leave(l)
			return true
		}
	default:
		switch err {
		case io.EOF:
			// The connection is at its end, or the server has closed its default
			// stream, without which it is of no use.
			l.control().CloseWith(io.EOF, packet.Reason{})
			<-l.e.Done()
			return true
		case geminio.ErrGoingAway:
			r.leave(l)
			return true
		}
	}
	return false
}

// maybe tells whether the peer may have acted on an operation that ended with err.
func maybe(err error) bool {
	interrupted, ok := err.(*geminio.InterruptedError)
	return ok && interrupted.MaybeExecuted
}

// until returns when a timeout that begins now is over: zero if there is none.
func until(timeout time.Duration) time.Time {
	if timeout <= 0 {
		return time.Time{}
	}
	return time.Now().Add(timeout)
}

// left returns what is left of a timeout: 0 if there is none, and
// context.DeadlineExceeded if nothing is.
func left(until time.Time) (time.Duration, error) {
	if until.IsZero() {
		return 0, nil
	}
	d := time.Until(until)
	if d <= 0 {
		return 0, context.DeadlineExceeded
	}
	return d, nil
}
