package multiplexer

// This file makes the frames of this side. The goroutine that holds the write token of the
// connection runs all of it, with Mux.mu held. Small and large packets become frames in
// queue.go.

import (
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/packet"
)

// AppendFrames implements conn.FrameHandler. It adds the frames of the connection first, and
// then gives turns to dialogues in the order of the scheduler.
func (u *frameHandler) AppendFrames(b *conn.Batch) (more bool) {
	m := (*Mux)(u)
	m.mu.Lock()
	defer m.unlockAfterAppend(b)
	if value, ok := b.Ping(); ok {
		m.path.ping(m.c.Now(), value)
	}
	start := b.Size()
	m.appendConnection(b)
	bulk := false
	for b.Room() > 0 {
		d, l := m.sched.pop(m.holdsRaw(b.Size() - start))
		if d == nil {
			break
		}
		before := b.Size()
		if d.appendTurn(b, l) {
			m.sched.push(d, l)
		}
		m.sched.sent(l, b.Size()-before)
		if l == laneRaw {
			bulk = true
			m.path.sendRaw(b.Size() - before)
		}
		if d.slot == slotLeaving && d.queued == 0 {
			d.freeSlot()
			m.notifyIdle = true
		}
	}
	m.afterAppend()
	m.path.send(b.Size() - start)
	more = m.delayingClose > 0 || m.sched.ready(m.holdsRaw(0))
	// Raw bytes that wait need a Pong, also if packets alone have filled the path.
	if (m.rawWaits() || bulk && m.path.sent >= probeFrom) && m.path.wantsPing(m.c.Now()) {
		m.c.Probe()
		more = true
	}
	return more
}

// holdsRaw reports whether raw bytes wait, because enough is under way when n more bytes are
// sent. When the connection is about to end, nothing waits for Pongs: a peer that has received
// GoAway may delay them. m.mu is held.
func (m *Mux) holdsRaw(n int) bool {
	return m.path.holds(n) && m.cause == nil && m.goAway.sides == 0
}

// rawWaits reports whether there are raw bytes to send that wait for a Pong. m.mu is held.
func (m *Mux) rawWaits() bool { return m.holdsRaw(0) && !m.sched.laneEmpty(laneRaw) }

// unlockAfterAppend releases m.mu. If Idle may have become true, it has Handler.OnIdle called
// after the lock of b is released too.
func (m *Mux) unlockAfterAppend(b *conn.Batch) {
	if m.notifyIdle {
		m.notifyIdle = false
		b.After(m.h.OnIdle)
	}
	m.mu.Unlock()
}

// appendConnection adds Credit frames of the connection, and refusals.
func (m *Mux) appendConnection(b *conn.Batch) {
	if m.ledger.due && m.cause == nil {
		m.ledger.due = false
		for class := packet.ClassHandlers; class < packet.Classes; class++ {
			if n := m.ledger.grant(class); n > 0 {
				b.Buf = packet.AppendCredit(b.Buf, 0, packet.Credit{Class: class, Amount: n})
			}
		}
	}
	for _, r := range m.refusals {
		b.Buf = packet.AppendReason(b.Buf, packet.TypeRefuse, r.id, r.reason)
	}
	m.refusals = nil
}

// appendTurn adds the frames of one turn of d in lane l to b. It reports whether d has more
// frames for the lane.
func (d *Dialogue) appendTurn(b *conn.Batch, l lane) (again bool) {
	switch l {
	case laneControl:
		d.appendControl(b)
		return false
	case lanePackets:
		return d.appendPackets(b)
	default:
		return d.appendRaw(b)
	}
}

// appendControl adds the frames that d.control names, and clears it.
func (d *Dialogue) appendControl(b *conn.Batch) {
	m := d.m
	ctl := d.control
	d.control = 0
	windows := d.firstWindows(ctl&(ctlOpen|ctlAccept) != 0)
	if ctl&ctlOpen != 0 {
		o := d.introduction()
		o.Windows = windows
		b.Buf = packet.AppendOpen(b.Buf, d.id, o)
	}
	if ctl&ctlAccept != 0 {
		b.Buf = packet.AppendAccept(b.Buf, d.id, windows)
	}
	if ctl&ctlReset != 0 {
		b.Buf = packet.AppendReason(b.Buf, packet.TypeReset, d.id, *d.resetReason)
		return
	}
	if d.life == lifeOpen {
		d.appendCredit(b, ctl&ctlRaw != 0, packet.ClassRaw)
		d.appendCredit(b, ctl&ctlMessages != 0, packet.ClassMessages)
		if ctl&ctlStop != 0 {
			b.Buf = packet.AppendReason(b.Buf, packet.TypeStop, d.id, packet.Reason{})
		}
	}
	if ctl&ctlLarge != 0 {
		if n := m.ledger.grantStream(&d.credit); n > 0 {
			b.Buf = packet.AppendCredit(b.Buf, d.id, packet.Credit{Class: packet.ClassLargeMessages, Amount: n})
		}
	}
}

// firstWindows returns the windows, none of which has changed yet, if they are to be sent.
func (d *Dialogue) firstWindows(sent bool) (w packet.Windows) {
	if sent {
		d.recv.mu.Lock()
		defer d.recv.mu.Unlock()
		w.Raw, w.Messages = d.recv.rx[packet.ClassRaw].size, d.recv.rx[packet.ClassMessages].size
	}
	return w
}

// appendCredit adds a Credit frame for one of d's own windows if it is due.
func (d *Dialogue) appendCredit(b *conn.Batch, due bool, class packet.Class) {
	if !due {
		return
	}
	d.recv.mu.Lock()
	n := d.recv.rx[class].grant()
	d.recv.mu.Unlock()
	if n > 0 {
		b.Buf = packet.AppendCredit(b.Buf, d.id, packet.Credit{Class: class, Amount: n})
	}
}

// shortRest is the number of bytes below which the rest of a lent Write is queued, so that the
// Write returns, and the next one can add its bytes to the same batch.
const shortRest = 1 << 10

// appendRaw adds one frame of raw bytes, queued ones first, then those that a Write lends.
// The last one has the flags that end the raw bytes or the dialogue.
func (d *Dialogue) appendRaw(b *conn.Batch) (again bool) {
	limit := b.Fit(d.m.maxFrame)
	n := 0
	h := &d.send
	if c := h.buf.Head(); c != nil {
		n = min(c.Len(), limit)
	} else {
		n = min(len(h.lent()), limit)
	}
	again = h.buf.Len()+len(h.lent()) > n
	var flags packet.Flags
	if !again {
		flags = d.endFlags()
		defer d.appendCutReset(b)
	}
	if n == 0 && flags == 0 {
		return false
	}
	b.Buf = packet.AppendHeader(b.Buf, packet.Header{Type: packet.TypeData, Flags: flags, Stream: d.id, Length: uint32(n)})
	h.sent += uint64(n)
	switch c := h.buf.Head(); {
	case n == 0:
	case c == nil:
		if b.Lend(h.writers.lent[:n], (*lender)(d)) {
			h.writers.loans++
		}
		h.writers.lent = h.writers.lent[n:]
		if rest := h.writers.lent; len(rest) < shortRest {
			h.buf.Append(rest)
			h.writers.lent = nil
		}
	case n < c.Len():
		b.Buf = append(b.Buf, c.Bytes()[:n]...)
		h.buf.Took(n)
	default:
		b.AddChunk(h.buf.Pop())
	}
	if d == d.m.main {
		d.m.goAway.owedRaw = max(d.m.goAway.owedRaw-n, 0)
	}
	if h.writing {
		h.wake()
	}
	if flags&packet.FlagClose != 0 && d.life.ended() {
		d.m.remove(d)
	}
	return again
}

// appendCutReset adds a Reset behind the raw bytes of d if a Write of d was cut off. The Reset
// replaces the flags of endFlags, so that the reader does not take the bytes for complete.
func (d *Dialogue) appendCutReset(b *conn.Batch) {
	if d.send.state != sendCut || d.send.underWay() || d == d.m.main || !d.packets.empty() {
		return
	}
	d.on(evResetSent)
	b.Buf = packet.AppendReason(b.Buf, packet.TypeReset, d.id, d.m.cutReason())
	d.m.remove(d)
}

// endFlags returns the flags of a Data frame behind which d has no raw bytes to send.
func (d *Dialogue) endFlags() packet.Flags {
	switch {
	case d.send.underWay(): // writeReturns gives d another turn
	case d.send.state == sendCut: // appendCutReset ends the dialogue
	case d.life.closes():
		if !d.packets.empty() {
			return 0 // appendPackets gives d another turn
		}
		d.on(evCloseSent)
		return packet.FlagFin | packet.FlagClose
	case d.send.state == sendEnding && d.life == lifeOpen:
		d.on(evFinSent)
		return packet.FlagFin
	}
	return 0
}
