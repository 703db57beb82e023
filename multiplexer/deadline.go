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
	h := &d.send
	if h.writers != nil || !t.IsZero() {
		w := h.makeWriters(&m.mu)
		w.deadline = w.deadline.renew(t, &m.mu, h.wake)
	}
	return nil
}

// SetDeadline sets both deadlines.
func (d *Dialogue) SetDeadline(t time.Time) error {
	d.SetReadDeadline(t)
	return d.SetWriteDeadline(t)
}
