package multiplexer

import (
	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/packet"
)

// lendFrom is from how many bytes a Write lends its memory and waits until it is
// written, instead of having it copied.
const lendFrom = 8 << 10

// Write sends p and returns when all of it is on its way or stands in the
// dialogue's queue, for all of which the peer has given credit: so it will be
// delivered even if Close comes next. Its error is net.ErrClosed after Close or
// CloseWrite, one that matches io.ErrClosedPipe when the peer or the connection is gone, a
// *geminio.StreamError when the peer reads no more, os.ErrDeadlineExceeded. Before
// the dialogue is open it is net.ErrClosed as well.
func (d *Dialogue) Write(p []byte) (total int, err error) {
	m := d.m
	m.mu.Lock()
	h := &d.send
	if err := h.writable(); err != nil {
		m.mu.Unlock()
		return 0, err
	}
	if err := d.takeTurn(); err != nil {
		d.writeReturns(len(p))
		return 0, err
	}
	h.writing = true
	for pushed := false; len(p) > 0 && err == nil; {
		var n int
		switch avail := d.credit.tx[packet.ClassRaw].avail; {
		case avail == 0 && h.buf.Len() > 0 && !pushed:
			// The peer may wait for what is queued before it gives credit.
			m.mu.Unlock()
			m.c.Push(nil, false)
			m.mu.Lock()
			pushed = true
		case avail == 0:
			d.waitWrite()
		case len(p) >= lendFrom && avail >= lendFrom:
			n, err = d.writeLent(p)
		default:
			n = d.writeCopy(p)
			pushed = false
		}
		total += n
		p = p[n:]
		if err == nil {
			err = h.writable()
		}
	}
	if len(p) == 0 {
		err = nil
	}
	h.writing = false
	h.wake()
	queued := h.buf.Len()
	d.writeReturns(len(p))
	if queued > 0 {
		d.flush(queued)
	}
	return total, err
}

// takeTurn waits until no other Write has its turn. m.mu is held.
func (d *Dialogue) takeTurn() error {
	h := &d.send
	if !h.writing {
		return nil
	}
	w := h.makeWriters(&d.m.mu)
	w.waiting++
	for h.writing && h.writable() == nil {
		d.waitWrite()
	}
	w.waiting--
	return h.writable()
}

// waitWrite waits until something has changed for the Writes. m.mu is held.
func (d *Dialogue) waitWrite() { d.send.makeWriters(&d.m.mu).cond.Wait() }

// writeReturns ends a Write that leaves rest bytes unsent. After the last Write has
// returned, it is known whether one was cut off, and the frame that ends the raw bytes can
// be sent. m.mu is held, and writeReturns releases it.
func (d *Dialogue) writeReturns(rest int) {
	m := d.m
	if rest > 0 {
		d.on(evWriteCut)
	}
	if d.send.state == sendOpen || d.send.underWay() {
		m.mu.Unlock()
		return
	}
	resets := d.send.state == sendCut && d.life == lifeOpen && d != m.main // after CloseWrite
	if resets {
		d.close()
	}
	if d.send.delaysClose {
		d.send.delaysClose = false
		m.delayingClose--
		m.amendClose()
		m.sched.push(d, laneRaw)
	} else if m.cause == nil {
		m.sched.push(d, laneRaw)
	}
	m.mu.Unlock()
	if resets {
		err := &geminio.StreamError{Code: geminio.CodeClosed, Text: cutText}
		d.endRecv(err)
		m.h.Closed(d, err)
	}
	m.c.Push(nil, false)
}

// cutText is the text of the reason with which a stream, or the connection for the default
// stream, ends if a Write was cut off.
const cutText = "closed during a Write"

// cutReason returns the reason that tells the peer that a Write was cut off.
func (m *Mux) cutReason() packet.Reason {
	code := geminio.CodeClosed
	if m.cause != nil {
		code = geminio.CodeGoingAway // the End was closed, not the stream
	}
	return packet.Reason{Code: uint32(code), Text: cutText}
}

// amendClose puts cutReason into the Close frame of the connection if a Write on the
// default dialogue, which cannot be reset, was cut off. m.mu is held.
func (m *Mux) amendClose() {
	if m.main.send.state == sendCut && m.cause != nil {
		m.c.Amend(m.cutReason())
	}
}

// flush has what Write has queued written: at once if the peer is likely to wait
// for it, which is when it has sent something since the last time; by another
// goroutine, that can gather what further Writes add, if not.
func (d *Dialogue) flush(queued int) {
	d.recv.mu.Lock()
	received := d.recv.receivedSinceWrite
	d.recv.receivedSinceWrite = false
	d.recv.mu.Unlock()
	if received || queued >= d.m.limits.SendQueue {
		d.m.c.Push(nil, false)
	} else {
		d.m.c.Kick()
	}
}

// writeCopy queues a copy of as much of p as there is credit and room for; if
// there is no room it makes some, or waits for it. m.mu is held.
func (d *Dialogue) writeCopy(p []byte) int {
	m := d.m
	room := m.limits.SendQueue - d.send.buf.Len()
	if room <= 0 {
		m.mu.Unlock()
		m.c.Push(nil, false)
		m.mu.Lock()
		if d.send.buf.Len() >= m.limits.SendQueue && d.send.writable() == nil {
			d.waitWrite()
		}
		return 0
	}
	n := d.credit.tx[packet.ClassRaw].takeUpTo(min(len(p), room))
	d.send.buf.Append(p[:n])
	m.sched.push(d, laneRaw)
	return n
}

// writeLent lends as much of p as there is credit for, and returns when it is
// written, or as much of it as must be and a copy of the rest of the last frame
// is on its way. m.mu is held, but not throughw.
func (d *Dialogue) writeLent(p []byte) (n int, err error) {
	m := d.m
	n = d.credit.tx[packet.ClassRaw].takeUpTo(len(p))
	w := d.send.makeWriters(&m.mu)
	w.lent = p[:n]
	m.sched.push(d, laneRaw)
	m.mu.Unlock()
	m.c.Push((*pusher)(d), false)
	m.mu.Lock()
	for len(w.lent) > 0 || w.loans > 0 {
		if err = d.send.writable(); err == nil {
			d.waitWrite()
			continue
		}
		unsent := len(w.lent)
		w.lent = nil
		n -= unsent
		d.credit.tx[packet.ClassRaw].restore(uint32(unsent))
		if w.loans == 0 {
			break
		}
		m.mu.Unlock()
		ended := m.c.Reclaim((*lender)(d))
		m.mu.Lock()
		w.loans -= ended
		if w.loans > 0 { // the others are being returned
			d.waitWrite()
		}
	}
	return n, err
}

// pusher is a dialogue as conn.Writer.
type pusher Dialogue

var _ conn.Writer = (*pusher)(nil)

// Sent implements conn.Writer.
func (p *pusher) Sent() bool {
	d := (*Dialogue)(p)
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	return len(d.send.writers.lent) == 0
}

// lender is a dialogue as conn.BufferOwner.
type lender Dialogue

// Written implements conn.BufferOwner.
func (l *lender) Written() {
	d := (*Dialogue)(l)
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.send.writers.loans--
	if d.send.writers.loans == 0 {
		d.send.wake()
	}
}
