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

// set sets *dl to t. When the time comes, or now if it has come, it marks the
// deadline as expired and calls wake, with the lock held. A zero t removes it.
func setDeadline(dl **deadline, t time.Time, lock *sync.Mutex, wake func()) {
	lock.Lock()
	defer lock.Unlock()
	if *dl != nil && (*dl).timer != nil {
		(*dl).timer.Stop()
	}
	*dl = nil // a timer that fires all the same marks one that nobody looks at
	if t.IsZero() {
		return
	}
	own := &deadline{}
	*dl = own
	if wait := time.Until(t); wait > 0 {
		own.timer = time.AfterFunc(wait, func() {
			lock.Lock()
			own.expired = true
			wake()
			lock.Unlock()
		})
		return
	}
	own.expired = true
	wake()
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
	setDeadline(&d.rdeadline, t, &d.rmu, d.wakeRead)
	return nil
}

// SetWriteDeadline sets the deadline of Write, also of one that waits already. A
// zero t removes it.
func (d *Dialogue) SetWriteDeadline(t time.Time) error {
	setDeadline(&d.wdeadline, t, &d.m.mu, d.wakeWrite)
	return nil
}

// SetDeadline sets both deadlines.
func (d *Dialogue) SetDeadline(t time.Time) error {
	d.SetReadDeadline(t)
	return d.SetWriteDeadline(t)
}

// waitWrite waits until something has changed for the writers. m.mu is held.
func (d *Dialogue) waitWrite() {
	if d.wcond == nil {
		d.wcond = sync.NewCond(&d.m.mu)
	}
	d.wcond.Wait()
}

// wakeWrite wakes the writers. m.mu is held.
func (d *Dialogue) wakeWrite() {
	if d.wcond != nil {
		d.wcond.Broadcast()
	}
}

// waitRead waits until something has changed for the readers. rmu is held.
func (d *Dialogue) waitRead() {
	if d.rcond == nil {
		d.rcond = sync.NewCond(&d.rmu)
	}
	d.rcond.Wait()
}

// wakeRead wakes the readers. rmu is held.
func (d *Dialogue) wakeRead() {
	if d.rcond != nil {
		d.rcond.Broadcast()
	}
}
