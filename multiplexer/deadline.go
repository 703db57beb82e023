package multiplexer

import (
	"os"
	"sync"
	"time"
)

// deadline is the deadline of the Reads or of the Writes of a dialogue. The lock of the
// receiving or sending half guards it. A new value replaces it when the user sets
// another time.
type deadline struct {
	timer   *time.Timer // nil if the time had passed when the deadline was set
	expired bool
}

// renew returns the deadline that replaces dl, which may be nil. It returns nil if t is
// zero. At the time t, or at once if t has passed, the new deadline expires, and wake is
// called with the lock held. The caller holds the lock.
func (dl *deadline) renew(t time.Time, lock sync.Locker, wake func()) *deadline {
	if dl != nil && dl.timer != nil {
		dl.timer.Stop() // a timer that fires all the same changes only dl, which is not used again
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

// err returns os.ErrDeadlineExceeded if dl has expired. A nil deadline never expires.
func (dl *deadline) err() error {
	if dl != nil && dl.expired {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// SetReadDeadline sets the deadline of Reads, including those that wait already. A zero t
// removes it. The error is always nil.
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

// SetWriteDeadline sets the deadline of Writes, including those that wait already, and of
// Mux.Open. A zero t removes it. The error is always nil.
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

// SetDeadline sets the deadlines of Reads and Writes. The error is always nil.
func (d *Dialogue) SetDeadline(t time.Time) error {
	d.SetReadDeadline(t)
	return d.SetWriteDeadline(t)
}
