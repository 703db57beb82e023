package multiplexer

import (
	"os"
	"sync"
	"time"
)

// deadline is one of a dialogue's two. The lock of its direction guards it.
type deadline struct {
	timer   *time.Timer
	expired bool
}

// renew makes a deadline in place of dl. When t comes, or now if it has come, it
// marks the deadline as expired and calls wake, with the lock held. For a zero t it
// returns nil. The lock is held.
func (dl *deadline) renew(t time.Time, lock sync.Locker, wake func()) *deadline {
	if dl != nil && dl.timer != nil {
		dl.timer.Stop() // one that fires all the same marks what nobody looks at
	}
	if t.IsZero() {
		return nil
	}
	own := &deadline{}
	wait := time.Until(t)
	if wait <= 0 {
		own.expired = true
		wake()
		return own
	}
	own.timer = time.AfterFunc(wait, func() {
		lock.Lock()
		own.expired = true
		wake()
		lock.Unlock()
	})
	return own
}

// err returns os.ErrDeadlineExceeded if the deadline has passed.
func (dl *deadline) err() error {
	if dl != nil && dl.expired {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// sender is what a dialogue has only while somebody waits to write, lends what he
// writes, or has set a deadline. Mux.mu guards it.
type sender struct {
	lent     []byte // raw bytes behind those that are queued, still the writer's
	loans    int    // pieces of a batch that are the writer's
	turns    int    // Writes that wait for their turn
	cond     sync.Cond
	deadline *deadline
}

// sender returns what the writers need, made on first use. m.mu is held.
func (d *Dialogue) sender() *sender {
	if d.out == nil {
		d.out = &sender{cond: sync.Cond{L: &d.m.mu}}
	}
	return d.out
}

// late returns os.ErrDeadlineExceeded if the deadline has passed.
func (s *sender) late() error {
	if s == nil {
		return nil
	}
	return s.deadline.err()
}

// unsent is what is lent and not yet in a batch.
func (s *sender) unsent() []byte {
	if s == nil {
		return nil
	}
	return s.lent
}

// SetReadDeadline sets the deadline of Read, also of one that waits already. A
// zero t removes it.
func (d *Dialogue) SetReadDeadline(t time.Time) error {
	h := &d.recv
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readers != nil || !t.IsZero() {
		r := h.makeReaders()
		r.deadline = r.deadline.renew(t, &h.mu, h.wake)
	}
	return nil
}

// SetWriteDeadline sets the deadline of Write, also of one that waits already. A
// zero t removes it.
func (d *Dialogue) SetWriteDeadline(t time.Time) error {
	m := d.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if d.out != nil || !t.IsZero() {
		out := d.sender()
		out.deadline = out.deadline.renew(t, &m.mu, d.wakeWrite)
	}
	return nil
}

// SetDeadline sets both deadlines.
func (d *Dialogue) SetDeadline(t time.Time) error {
	d.SetReadDeadline(t)
	return d.SetWriteDeadline(t)
}

// waitWrite waits until something has changed for the writers. m.mu is held.
func (d *Dialogue) waitWrite() { d.sender().cond.Wait() }

// wakeWrite wakes the writers. m.mu is held.
func (d *Dialogue) wakeWrite() {
	if d.out != nil {
		d.out.cond.Broadcast()
	}
}
