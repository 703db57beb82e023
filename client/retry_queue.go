package client

import (
	"context"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/internal/heap"
)

// retryQueue holds the asynchronous operations of one kind that wait for a connection.
// When there is one, a goroutine begins them in their order; it lives as long as there
// are any. The methods of a retryQueue are safe for concurrent use.
type retryQueue struct {
	r *RetryEnd

	mu      sync.Mutex
	waiting heap.Heap[*job] // in their order
	running bool            // a goroutine begins the waiting heap.Heap[*job] // in their order
	closed  bool            // the RetryEnd has ended
	changed chan struct{}   // closed when a job has left or running ends; nil if no goroutine waits for that
}

// job is an operation of a retryQueue. It either waits there, or an attempt is under way
// on a connection. The goroutine that takes a job out of the queue, begins an attempt of
// it or gets the outcome of an attempt owns the operation of the job, until the job
// waits again.
type job struct {
	operation
	queue *retryQueue
	order uint64 // the place among the waiting jobs: the lowest is first

	// begin begins an attempt on a connection. If it returns an error, done is not called.
	begin func(l *link, timeout time.Duration, done func(geminio.Response, error)) error
	// done is called with the outcome, once, and must not block.
	done func(geminio.Response, error)

	// Guarded by retryQueue.mu.
	heap.Place                    // in retryQueue.waiting
	timer      *time.Timer        // calls expire; nil if nothing bounds the wait
	unwatch    context.CancelFunc // stops watching the context
}

// Before implements heap.Element: the job with the lower order comes first.
func (j *job) Before(other *job) bool { return j.order < other.order }

// waitTurn returns the connection on which an operation may begin at once. It returns nil if
// there is none, so that the operation has to wait as a job. Jobs that wait go first:
// waitTurn blocks until they have begun, at most until the operation's context ends or its
// deadline passes.
func (q *retryQueue) waitTurn(op *operation) (*link, error) {
	var timeout <-chan time.Time
	for {
		l := q.r.working()
		if l == nil {
			return nil, nil
		}
		q.mu.Lock()
		idle := q.waiting.Len() == 0 && !q.running
		if !idle && q.changed == nil {
			q.changed = make(chan struct{})
		}
		changed := q.changed
		q.mu.Unlock()
		if idle {
			return l, nil
		}
		if timeout == nil && !op.deadline.IsZero() {
			timer := time.NewTimer(time.Until(op.deadline))
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-changed:
		case <-l.e.Done():
		case <-op.ctx.Done():
			return nil, op.ctx.Err()
		case <-timeout:
			return nil, context.DeadlineExceeded
		}
	}
}

// notifyChanged wakes the goroutines that wait for their turn. q.mu is held.
func (q *retryQueue) notifyChanged() {
	if q.changed != nil {
		close(q.changed)
		q.changed = nil
	}
}

// start begins a job when it is its turn, and has it wait if there is no connection. An
// error means that the job did not begin and will not.
func (q *retryQueue) start(j *job) error {
	l, err := q.waitTurn(&j.operation)
	if err != nil {
		return err
	}
	if l == nil {
		return q.push(j)
	}
	err = j.attempt(l)
	if !q.r.shouldRetry(&j.operation, l, err) {
		return err
	}
	return q.push(j)
}

// attempt begins an attempt on l. The methods of a request or message of the user's own
// type may panic.
func (j *job) attempt(l *link) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = guard.Panicked(j.queue.r.log, "a method of a Request or Message", v)
		}
	}()
	timeout, err := j.operation.startAttempt()
	if err != nil {
		return err
	}
	return j.begin(l, timeout, func(resp geminio.Response, err error) { j.ended(l, resp, err) })
}

// push has a job wait. An error means that the job does not wait.
func (q *retryQueue) push(j *job) error {
	if err := q.r.startWait(&j.operation); err != nil {
		return err
	}
	watch, unwatch := j.watch()
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		unwatch()
		q.r.leave(&j.operation)
		q.r.endWait(j.size)
		return q.r.interrupt(&j.operation)
	}
	q.waiting.Push(j)
	j.unwatch = unwatch
	context.AfterFunc(watch, func() {
		if err := j.ctx.Err(); err != nil {
			q.giveUp(j, func() error { return q.r.withFailure(err) })
		}
	})
	if left, _ := q.r.waitLeft(&j.operation); left != noLimit {
		j.timer = time.AfterFunc(left, func() { q.expire(j) })
	}
	q.mu.Unlock()
	q.wake()
	return nil
}

// watch returns a context that ends when the context of the job ends or unwatch is
// called. Its methods may be called with a lock held, unlike those of a caller's context
// and unwatch.
func (j *job) watch() (watch context.Context, unwatch context.CancelFunc) {
	if j.ctx.Done() == nil {
		return context.Background(), func() {}
	}
	return context.WithCancel(j.ctx)
}

// disarm stops the timer of a job that leaves the queue. retryQueue.mu is held. The
// caller calls j.unwatch when it has released the lock.
func (j *job) disarm() {
	if j.timer != nil {
		j.timer.Stop()
		j.timer = nil
	}
}

// expire ends a job if it waits and waitLeft says that its time is over.
func (q *retryQueue) expire(j *job) {
	q.giveUp(j, func() error {
		left, err := q.r.waitLeft(&j.operation)
		if err == nil && left != noLimit {
			j.timer.Reset(left)
		}
		return err
	})
}

// giveUp ends a job if it waits and reason returns an error, which is the outcome then.
// reason is called with q.mu held, and may take RetryEnd.mu.
func (q *retryQueue) giveUp(j *job, reason func() error) {
	q.mu.Lock()
	var err error
	if j.Queued() {
		err = reason()
	}
	if err != nil {
		q.waiting.Remove(j)
		j.disarm()
		q.notifyChanged()
	}
	q.mu.Unlock()
	if err != nil {
		j.unwatch()
		q.r.leave(&j.operation)
		q.r.endWait(j.size)
		j.done(nil, j.fail(err))
	}
}

// wake starts the goroutine that begins the waiting jobs, if there are any, there is a
// connection, and the goroutine does not run yet.
func (q *retryQueue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting.Len() > 0 && !q.running && q.r.working() != nil {
		q.running = true
		go q.run()
	}
}

// run begins the waiting jobs, as long as there is a connection.
func (q *retryQueue) run() {
	for {
		q.mu.Lock()
		l := q.r.working()
		if l == nil || q.waiting.Len() == 0 {
			q.running = false
			q.notifyChanged()
			q.mu.Unlock()
			return
		}
		j := q.waiting.Pop()
		j.disarm()
		q.mu.Unlock()

		j.unwatch()
		q.r.leave(&j.operation)
		size := j.size // the job is another goroutine's once it has begun
		if err := j.attempt(l); err != nil {
			j.ended(l, nil, err)
		}
		q.r.endWait(size) // not earlier: Shutdown waits until the job is under way
	}
}

// ended takes the outcome of an attempt on l.
func (j *job) ended(l *link, resp geminio.Response, err error) {
	q := j.queue
	if q.r.shouldRetry(&j.operation, l, err) {
		if err = q.push(j); err == nil {
			return
		}
		resp = nil
	}
	j.done(resp, q.r.finish(&j.operation, err))
}

// end ends all jobs that wait, and has none wait from now on.
func (q *retryQueue) end() {
	q.mu.Lock()
	q.closed = true
	var all []*job
	for q.waiting.Len() > 0 {
		j := q.waiting.Pop()
		j.disarm()
		all = append(all, j)
	}
	q.notifyChanged()
	q.mu.Unlock()
	for _, j := range all {
		j.unwatch()
		q.r.leave(&j.operation)
		q.r.endWait(j.size)
		j.done(nil, q.r.interrupt(&j.operation))
	}
}
