package multiplexer

// This file has Write: it takes turns, takes credit, and copies or lends the bytes. frames.go
// makes the frames.

import (
	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/packet"
)

// lendFrom is the number of bytes from which a Write lends its memory to the batch and waits
// until the batch is written, instead of copying.
const lendFrom = 8 << 10

// Write sends p. It returns when all bytes are sent or queued with credit: then they are
// delivered even if Close follows. If it returns fewer bytes than p has, its error is
//
//   - net.ErrClosed before the dialogue is open, and after Close or CloseWrite,
//   - a *geminio.StreamError if this side or the peer has reset the dialogue, or if the peer
//     has called CloseRead,
//   - an error that matches io.ErrClosedPipe if the peer has closed the dialogue or the
//     connection has ended,
//   - os.ErrDeadlineExceeded after the deadline.
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
			// The peer may wait for the queued bytes before it gives credit.
			m.mu.Unlock()
			m.c.Push(nil, false)
			m.mu.Lock()
			pushed = true
		case avail == 0:
			d.waitRawCredit()
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

// waitRawCredit waits until there is credit for raw bytes, or Write has to return. m.mu is held,
// but not while it waits.
func (d *Dialogue) waitRawCredit() {
	m, h := d.m, &d.send
	w := h.makeWriters(&m.mu)
	w.blocked = max(m.c.Now(), 1)
	for d.credit.tx[packet.ClassRaw].avail == 0 && h.writable() == nil {
		d.waitWrite()
	}
	since := w.blocked
	w.blocked = 0
	if m.stalled != nil {
		err := h.writable()
		m.mu.Unlock()
		m.stalled(Stall{d, packet.ClassRaw, since, m.c.Now() - since, err})
		m.mu.Lock()
	}
}

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

// flush has the queued bytes written. If Data frames have arrived since the last Write, the
// peer is likely to wait for an answer, and the caller writes at once. Otherwise another
// goroutine writes, together with the bytes that further Writes add meanwhile. A full queue
// is written at once too.
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

// writeCopy queues a copy of as many bytes of p as there is credit and room for, and returns
// how many. If there is no room, it has the queue written or waits, and then returns 0. m.mu
// is held, but not throughout.
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

// writeLent lends as many bytes of p as there is credit for. It returns when no batch refers
// to p any more, because the batches are written or Conn.Reclaim has ended the loans; n is
// the number of bytes that were sent. m.mu is held, but not throughout.
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
		if w.loans > 0 { // lender.Written is about to end the others
			d.waitWrite()
		}
	}
	return n, err
}

// pusher is a dialogue as the connection sees it while writeLent waits in Conn.Push.
type pusher Dialogue

var _ conn.Writer = (*pusher)(nil)

// Sent implements conn.Writer. It reports whether all lent bytes are in batches.
func (p *pusher) Sent() bool {
	d := (*Dialogue)(p)
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	return len(d.send.writers.lent) == 0
}

// lender is a dialogue as the owner of memory that it has lent to a batch.
type lender Dialogue

// Written implements conn.BufferOwner. It ends one loan.
func (l *lender) Written() {
	d := (*Dialogue)(l)
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.send.writers.loans--
	if d.send.writers.loans == 0 {
		d.send.wake()
	}
}
