package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// bufferSize is how many bytes a direction takes that were not read.
const bufferSize = 256 << 10

// direction has the bytes from one end of a Link to the other. The lock of the Link guards its
// fields.
type direction struct {
	link     *Link
	opposite *direction
	changed  sync.Cond // on the lock of the Link

	data    []byte   // written and not read
	arrived int      // how many bytes of data can be read
	flights []flight // the rest of data, in order
	timer   *time.Timer
	ended   bool // the reader knows that no more bytes follow
	writing bool // a Write is under way

	readErr, writeErr           error // set once
	readDeadline, writeDeadline deadline
}

// flight is a part of the data that has not arrived, or the end of the data.
type flight struct {
	n    int
	last last
	at   time.Time
}

// last says what follows a flight.
type last uint8

const (
	// moreData: other flights.
	moreData last = iota
	// noMoreData: the writer has ended its bytes, and reads on.
	noMoreData
	// noReader: the writer has closed its end: it does not read either.
	noReader
)

func (d *direction) init(l *Link, opposite *direction) {
	d.link, d.opposite = l, opposite
	d.changed.L = &l.mu
}

// read is Read of the end that the bytes go to.
func (d *direction) read(p []byte) (int, error) {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	for {
		switch {
		case d.readErr != nil:
			return 0, d.readErr
		case d.readDeadline.passed:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case d.arrived > 0:
			n := copy(p, d.data[:d.arrived])
			d.drop(n)
			return n, nil
		case d.ended:
			return 0, io.EOF
		}
		d.changed.Wait()
	}
}

// write is Write of the end that the bytes come from.
func (d *direction) write(p []byte) (total int, err error) {
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	for d.writing {
		if err := d.writable(); err != nil {
			return 0, err
		}
		d.changed.Wait()
	}
	d.writing = true
	defer func() {
		d.writing = false
		d.changed.Broadcast()
	}()
	for {
		if err := d.writable(); err != nil {
			return total, err
		}
		n := min(len(p)-total, bufferSize-len(d.data))
		d.data = append(d.data, p[total:total+n]...)
		d.send(n, moreData)
		if total += n; total == len(p) {
			return total, nil
		}
		d.changed.Wait()
	}
}

// writable returns the error of a Write that does not wait, or nil.
func (d *direction) writable() error {
	switch {
	case d.writeErr != nil:
		return d.writeErr
	case d.writeDeadline.passed:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// end ends the bytes.
func (d *direction) end(how last) {
	if d.writeErr != nil && how == noMoreData {
		return
	}
	d.fail(&d.writeErr, net.ErrClosed)
	d.send(0, how)
}

// send has n bytes arrive after the delay, and behind earlier bytes.
func (d *direction) send(n int, how last) {
	if n == 0 && how == moreData {
		return
	}
	f := flight{n: n, last: how, at: time.Now().Add(d.link.delay)}
	if i := len(d.flights) - 1; i >= 0 && d.flights[i].at.After(f.at) {
		f.at = d.flights[i].at
	}
	d.flights = append(d.flights, f)
	d.land()
}

// land has the flights arrive whose time has come, and sets the timer for the next one.
func (d *direction) land() {
	for len(d.flights) > 0 && !d.link.held {
		f := d.flights[0]
		if wait := time.Until(f.at); wait > 0 {
			d.setTimer(wait)
			return
		}
		d.flights = d.flights[1:]
		d.arrive(f)
	}
}

func (d *direction) setTimer(wait time.Duration) {
	if d.timer != nil {
		d.timer.Reset(wait)
		return
	}
	d.timer = time.AfterFunc(wait, func() {
		d.link.mu.Lock()
		defer d.link.mu.Unlock()
		d.land()
	})
}

// arrive shows a flight to the reader.
func (d *direction) arrive(f flight) {
	d.arrived += f.n
	if d.readErr != nil {
		d.drop(d.arrived)
	}
	if f.last != moreData {
		d.ended = true
	}
	if f.last == noReader {
		d.opposite.fail(&d.opposite.writeErr, syscall.EPIPE)
	}
	d.changed.Broadcast()
}

// drop removes n bytes that have arrived.
func (d *direction) drop(n int) {
	d.arrived -= n
	if n == len(d.data) {
		d.data = d.data[:0]
	} else {
		d.data = d.data[n:]
	}
	d.changed.Broadcast()
}

// fail sets one of the errors of d, unless it is set.
func (d *direction) fail(which *error, err error) {
	if *which == nil {
		*which = err
	}
	if d.readErr != nil {
		d.drop(d.arrived)
	}
	d.changed.Broadcast()
}

// clear removes all bytes.
func (d *direction) clear() {
	d.data, d.arrived, d.flights = nil, 0, nil
}

// deadline is the deadline of Read or Write.
type deadline struct {
	passed bool
	timer  *time.Timer
	number int // counts the calls of set, so that the timer of an earlier one has no effect
}

// set sets the deadline. A zero t means none.
func (w *deadline) set(d *direction, t time.Time) {
	if w.timer != nil {
		w.timer.Stop()
	}
	w.number++
	w.passed, w.timer = false, nil
	if !t.IsZero() {
		number, wait := w.number, time.Until(t)
		if w.passed = wait <= 0; !w.passed {
			w.timer = time.AfterFunc(wait, func() {
				d.link.mu.Lock()
				defer d.link.mu.Unlock()
				if w.number == number {
					w.passed = true
					d.changed.Broadcast()
				}
			})
		}
	}
	d.changed.Broadcast()
}

// stop ends the timer of the deadline.
func (w *deadline) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}
