package client

// This file counts the operations that wait for a connection, and lets them wait.

import (
	"io"
	"time"

	"github.com/singchia/geminio"
)

// working returns the connection that takes new work, nil if there is none.
func (r *RetryEnd) working() *link {
	if l := r.last.Load(); l != nil && l.takesWork() {
		return l
	}
	return nil
}

// checkOpen returns an error if no new operation may begin.
func (r *RetryEnd) checkOpen() error {
	switch {
	case r.ended():
		return io.EOF
	case r.draining.Load():
		return geminio.ErrGoingAway
	}
	return nil
}

// beginOperation counts an operation, which endOperation ends, or returns an error if no new
// operation may begin.
func (r *RetryEnd) beginOperation() error {
	r.operations.Add(1) // before the check: Shutdown waits for each operation that passes it
	err := r.checkOpen()
	if err != nil {
		r.endOperation()
	}
	return err
}

// endOperation is called when an operation has its outcome.
func (r *RetryEnd) endOperation() {
	if r.operations.Add(-1) == 0 && r.draining.Load() {
		r.mu.Lock()
		r.notifySettled()
		r.mu.Unlock()
		r.closeIfUnused(r.last.Load())
	}
}

// opsSettled returns a channel that is closed when all operations have ended, or one of them waits
// for a connection. Until then, an operation whose connection has ended may go either way.
func (r *RetryEnd) opsSettled() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settledCh == nil {
		r.settledCh = make(chan struct{})
	}
	ch := r.settledCh
	if r.operations.Load() == 0 || r.waiting > 0 {
		r.notifySettled()
	}
	return ch
}

// notifySettled wakes the goroutines that wait for the channel of opsSettled. r.mu is held.
func (r *RetryEnd) notifySettled() {
	if r.settledCh != nil {
		close(r.settledCh)
		r.settledCh = nil
	}
}

// await returns the connection that takes new work. If there is none, the operation waits
// for it, until its context ends, waitLeft says that its time is over, or the RetryEnd ends.
func (r *RetryEnd) await(op *operation) (*link, error) {
	if l := r.working(); l != nil {
		return l, nil
	}
	if err := r.startWait(op); err != nil {
		return nil, err
	}
	defer func() {
		r.leave(op)
		r.endWait(op.size)
	}()
	left, err := r.waitLeft(op)
	if err != nil {
		return nil, op.fail(err)
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	for {
		r.mu.Lock()
		connChanged := r.connChanged
		r.mu.Unlock()
		if l := r.working(); l != nil {
			return l, nil
		}
		select {
		case <-connChanged:
		case <-op.ctx.Done():
			return nil, op.fail(r.withFailure(op.ctx.Err()))
		case <-timer.C:
			if left, err = r.waitLeft(op); err != nil {
				return nil, op.fail(err)
			}
			timer.Reset(left)
		case <-r.done:
			return nil, r.interrupt(op)
		}
	}
}

// startWait counts an operation as one that waits. SetMaxWaiting bounds new operations
// only: an operation that was under way when its connection was lost is not refused.
func (r *RetryEnd) startWait(op *operation) error {
	_, op.bounded = op.ctx.Deadline()
	r.mu.Lock()
	defer r.mu.Unlock()
	if op.state == opNew {
		if r.waiting >= r.opt.MaxWaiting {
			return &geminio.LimitError{
				What: "operations that wait for a connection", Value: uint64(r.waiting) + 1, Limit: uint64(r.opt.MaxWaiting), Err: geminio.ErrTooMany,
			}
		}
		if op.size > r.opt.MaxWaitingBytes-r.waitingBytes {
			return &geminio.LimitError{
				What: "bytes that wait for a connection", Value: uint64(r.waitingBytes + op.size), Limit: uint64(r.opt.MaxWaitingBytes), Err: geminio.ErrTooLarge,
			}
		}
	}
	r.waiting++
	r.waitingBytes += op.size
	r.notifySettled()
	op.queue()
	if op.call {
		op.waiter = &waitingCall{method: op.method, begin: op.waitStart}
		r.waitingCalls.Add(&op.waiter.link, op.waiter)
	}
	return nil
}

// leave removes an operation that no longer waits from the calls that wait. The caller owns the
// operation, and calls endWait too.
func (r *RetryEnd) leave(op *operation) {
	if op.waiter == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	op.waiter.link.Remove()
	op.waiter = nil
}

// endWait removes an operation of the given size from the count of those that wait.
func (r *RetryEnd) endWait(size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting--
	r.waitingBytes -= size
	if r.waiting == 0 && r.idleCh != nil {
		close(r.idleCh)
		r.idleCh = nil
	}
}

// idle returns a channel that is closed when no operation waits for a connection.
func (r *RetryEnd) idle() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == 0 {
		none := make(chan struct{})
		close(none)
		return none
	}
	if r.idleCh == nil {
		r.idleCh = make(chan struct{})
	}
	return r.idleCh
}
