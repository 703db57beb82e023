package multiplexer

import (
	"io"

	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/packet"
)

// frameHandler is a Mux as its connection sees it.
type frameHandler Mux

// AppendFrames implements conn.FrameHandler: the connection's own credit and refusals, then
// what the scheduler gives.
func (u *frameHandler) AppendFrames(b *conn.Batch) (more bool) {
	m := (*Mux)(u)
	m.mu.Lock()
	defer m.unlockAfterAppend(b)
	m.appendConnection(b)
	for b.Room() > 0 {
		d, l := m.sched.pop()
		if d == nil {
			return m.delayingClose > 0
		}
		before := b.Size()
		if d.appendTurn(b, l) {
			m.sched.push(d, l)
		}
		m.sched.sent(l, b.Size()-before)
		if d.leaving && d.queued == 0 {
			d.leaving = false
			m.peerStreams--
			m.notifyRemoved = true
		}
	}
	return m.delayingClose > 0 || !m.sched.empty()
}

// unlockAfterAppend releases m.mu after AppendFrames. The Handler is told what could not be told under it when
// the lock of b is released too.
func (m *Mux) unlockAfterAppend(b *conn.Batch) {
	if m.notifyRemoved {
		m.notifyRemoved = false
		b.After(m.h.OnRemoved)
	}
	m.mu.Unlock()
}

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
		b.Buf = packet.AppendReason(b.Buf, packet.TypeRefuse, r.id, r.notice)
	}
	m.refusals = nil
}

// Idle implements conn.FrameHandler.
func (u *frameHandler) Idle() { (*Mux)(u).wakePending() }

// OnPing implements conn.FrameHandler.
func (u *frameHandler) OnPing() { u.h.OnPing() }

// OnGoAwayAcked implements conn.FrameHandler.
func (u *frameHandler) OnGoAwayAcked() { u.h.OnGoAwayAcked() }

// OnHeartbeat implements conn.FrameHandler: dialogues whose peer has left our Close unanswered
// for a whole heartbeat are taken out. What it may still send for them is ignored,
// as it is for all that were open once.
func (u *frameHandler) OnHeartbeat() {
	m := (*Mux)(u)
	m.mu.Lock()
	defer m.unlockAndNotify()
	for _, d := range m.table {
		if d.closeSent && d.overdue {
			m.remove(d)
		}
		d.overdue = d.closeSent
	}
}

// GoAway implements conn.FrameHandler.
func (u *frameHandler) GoAway(n packet.Reason) {
	m := (*Mux)(u)
	m.mu.Lock()
	m.goingAway = true
	m.main.rejectWaiters()
	m.mu.Unlock()
	m.h.GoAway(n)
}

// End implements conn.FrameHandler: all dialogues end, and everybody who waits is
// woken. What was made ready before is still written if the connection lingers.
func (u *frameHandler) End(cause error, deliver bool) {
	m := (*Mux)(u)
	rerr, werr := error(io.EOF), io.ErrClosedPipe
	if cause != io.EOF {
		lost := &lostError{cause}
		rerr, werr = lost, lost
	}
	m.mu.Lock()
	m.cause = cause
	all := make([]*Dialogue, 0, len(m.table))
	var closed []*Dialogue
	for _, d := range m.table {
		if d != m.main && d.accepted && d.state != dialogueClosed {
			if d.opening == openingBegun {
				d.opening = openingMissed
			} else {
				closed = append(closed, d)
			}
		}
		d.end(werr)
		all = append(all, d)
		if deliver && d.writes() {
			d.held = true
			m.delayingClose++
		}
	}
	m.sayCut()
	clear(m.table)
	m.localStreams, m.peerStreams, m.windows.used = 0, 0, 0
	m.assemblies = index[assembly]{}
	if deliver { // this side has closed: nobody is to take what waits
		m.backlog = nil
	}
	m.accepting.Broadcast()
	if !deliver {
		m.sched, m.refusals, m.ledger.due = scheduler{}, nil, false
	}
	m.mu.Unlock()
	for _, d := range all {
		d.endRead(rerr)
	}
	for _, d := range closed {
		m.h.Closed(d, cause)
	}
	m.h.End(cause)
}
