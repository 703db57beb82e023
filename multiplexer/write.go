package multiplexer

import (
	"net"

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
	if err := d.writable(); err != nil {
		m.mu.Unlock()
		return 0, err
	}
	if err := d.takeTurn(); err != nil {
		d.wrote(p)
		return 0, err
	}
	d.writing = true
	for pushed := false; len(p) > 0 && err == nil; {
		var n int
		switch avail := d.credit.tx[packet.ClassRaw].avail; {
		case avail == 0 && d.raw.Len() > 0 && !pushed:
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
			err = d.writable()
		}
	}
	if len(p) == 0 {
		err = nil
	}
	d.writing = false
	d.wakeWrite()
	queued := d.raw.Len()
	d.wrote(p)
	if queued > 0 {
		d.flush(queued)
	}
	return total, err
}

// takeTurn waits until no other Write has its turn. m.mu is held.
func (d *Dialogue) takeTurn() error {
	if !d.writing {
		return nil
	}
	out := d.sender()
	out.turns++
	for d.writing && d.writable() == nil {
		d.waitWrite()
	}
	out.turns--
	return d.writable()
}

// writes tells whether a Write is under way. m.mu is held.
func (d *Dialogue) writes() bool { return d.writing || d.out != nil && d.out.turns > 0 }

// wrote ends a Write that has left rest unsent. If this side has ended the raw bytes
// meanwhile, the peer is told how when the last Write has ended: until then it is not
// known whether one was cut off. m.mu is held, and wrote releases it.
func (d *Dialogue) wrote(rest []byte) {
	m := d.m
	if len(rest) > 0 && d.fin && !d.finSent && !d.peerGone {
		d.cut = true
	}
	if !d.fin || d.writes() {
		m.mu.Unlock()
		return
	}
	broken := d.cut && d.state == dialogueOpen && d != m.main // by CloseWrite
	if broken {
		d.end(net.ErrClosed)
		d.closing = true
		m.ledger.drop(&d.credit)
		m.purge(d)
	}
	if d.held {
		d.held = false
		m.delayingClose--
		m.sayCut()
		m.sched.push(d, laneRaw)
	} else if m.cause == nil {
		m.sched.push(d, laneRaw)
	}
	m.mu.Unlock()
	if broken {
		err := &geminio.StreamError{Code: geminio.CodeClosed, Text: cutText}
		d.endRead(err)
		m.h.Closed(d, err)
	}
	m.c.Push(nil, false)
}

// cutText says why a stream, or the default one with its connection, has no proper end.
const cutText = "closed during a Write"

// cutNotice tells the peer that the bytes which it has got are not all that was to come.
func (m *Mux) cutNotice() packet.Reason {
	code := geminio.CodeClosed
	if m.cause != nil {
		code = geminio.CodeGoingAway // the End was closed, not the stream
	}
	return packet.Reason{Code: uint32(code), Text: cutText}
}

// sayCut has the Close frame say that raw bytes of the default dialogue, which cannot be
// reset, were cut off. m.mu is held.
func (m *Mux) sayCut() {
	if m.main.cut && m.cause != nil {
		m.c.Amend(m.cutNotice())
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

// writable returns why nothing can be written. m.mu is held.
func (d *Dialogue) writable() error {
	switch {
	case d.werr != nil:
		return d.werr
	case d.state < dialogueOpen:
		return net.ErrClosed
	}
	return d.out.late()
}

// writeCopy queues a copy of as much of p as there is credit and room for; if
// there is no room it makes some, or waits for it. m.mu is held.
func (d *Dialogue) writeCopy(p []byte) int {
	m := d.m
	room := m.limits.SendQueue - d.raw.Len()
	if room <= 0 {
		m.mu.Unlock()
		m.c.Push(nil, false)
		m.mu.Lock()
		if d.raw.Len() >= m.limits.SendQueue && d.writable() == nil {
			d.waitWrite()
		}
		return 0
	}
	n := d.credit.tx[packet.ClassRaw].takeUpTo(min(len(p), room))
	d.raw.Append(p[:n])
	m.sched.push(d, laneRaw)
	return n
}

// writeLent lends as much of p as there is credit for, and returns when it is
// written, or as much of it as must be and a copy of the rest of the last frame
// is on its way. m.mu is held, but not throughout.
func (d *Dialogue) writeLent(p []byte) (n int, err error) {
	m := d.m
	n = d.credit.tx[packet.ClassRaw].takeUpTo(len(p))
	out := d.sender()
	out.lent = p[:n]
	m.sched.push(d, laneRaw)
	m.mu.Unlock()
	m.c.Push((*pusher)(d), false)
	m.mu.Lock()
	for len(out.lent) > 0 || out.loans > 0 {
		if err = d.writable(); err == nil {
			d.waitWrite()
			continue
		}
		unsent := len(out.lent)
		out.lent = nil
		n -= unsent
		d.credit.tx[packet.ClassRaw].restore(uint32(unsent))
		if out.loans == 0 {
			break
		}
		m.mu.Unlock()
		ended := m.c.Reclaim((*lender)(d))
		m.mu.Lock()
		out.loans -= ended
		if out.loans > 0 { // the others are being returned
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
	return len(d.out.lent) == 0
}

// lender is a dialogue as conn.BufferOwner.
type lender Dialogue

// Written implements conn.BufferOwner.
func (l *lender) Written() {
	d := (*Dialogue)(l)
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.out.loans--
	if d.out.loans == 0 {
		d.wakeWrite()
	}
}
