package multiplexer

import (
	"io"

	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/packet"
)

// frameHandler is a Mux as the conn.FrameHandler of its connection. Frame is in receive.go,
// AppendFrames in frames.go, GoAway in goaway.go.
type frameHandler Mux

var _ conn.FrameHandler = (*frameHandler)(nil)

// Idle implements conn.FrameHandler. It wakes the pending reader, because no further bytes
// are at hand.
func (u *frameHandler) Idle() { u.sink.wakePending() }

// OnPing implements conn.FrameHandler.
func (u *frameHandler) OnPing() { u.h.OnPing() }

// OnPong implements conn.FrameHandler. It has the raw bytes sent that waited for the Pong.
func (u *frameHandler) OnPong(value uint64) {
	m := (*Mux)(u)
	m.mu.Lock()
	now := m.c.Now()
	m.path.pong(now, value)
	// Raw bytes that still wait need another Pong.
	probe := (m.path.mode != pathFull || m.rawWaits() && len(m.path.pings) == 0) && m.path.wantsPing(now)
	kick := !m.holdsRaw(0) && !m.sched.laneEmpty(laneRaw)
	m.mu.Unlock()
	switch {
	case probe:
		m.c.Probe() // kicks as well
	case kick:
		m.c.Kick()
	}
}

// OnLink implements conn.FrameHandler.
func (u *frameHandler) OnLink() {
	m := (*Mux)(u)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.path.begin(m.c.Now())
}

// OnGoAwayAcked implements conn.FrameHandler.
func (u *frameHandler) OnGoAwayAcked() { u.h.OnGoAwayAcked() }

// OnHeartbeat implements conn.FrameHandler. It removes the dialogues whose close flag the
// peer has not answered for a whole heartbeat. Frames that still arrive for them are
// ignored, as for all dialogues that were open once.
func (u *frameHandler) OnHeartbeat() {
	m := (*Mux)(u)
	m.mu.Lock()
	defer m.unlockAndNotify()
	for d := range m.table.all {
		d.on(evHeartbeat)
		if d.life.ended() {
			m.remove(d)
		}
	}
}

// NotReceived implements conn.FrameHandler.
func (u *frameHandler) NotReceived(h packet.Header, number uint64) {
	m := (*Mux)(u)
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.table.get(h.Stream)
	if d == nil {
		return
	}
	if d.dropped == nil {
		d.dropped = make(map[packetID]struct{})
	}
	d.dropped[packetID{h.Type, number}] = struct{}{}
}

// End implements conn.FrameHandler. It ends all dialogues and wakes all goroutines that wait
// on them. With deliver set, the frames that are ready are still written, and the Close
// frame waits for the Writes under way.
func (u *frameHandler) End(cause error, deliver bool) {
	m := (*Mux)(u)
	ev := evConnEnd
	if deliver {
		ev = evConnClose
	}
	rerr, werr := error(io.EOF), io.ErrClosedPipe
	if cause != io.EOF {
		lost := &lostError{cause}
		rerr, werr = lost, lost
	}
	m.mu.Lock()
	m.cause = cause
	all := make([]*Dialogue, 0, m.table.len())
	var closed []*Dialogue
	for d := range m.table.all {
		if d != m.main && (d.life == lifeOffered || d.life == lifeOpen) {
			if d.opened == openedRunning {
				d.opened = endedWhileOpening
			} else {
				closed = append(closed, d)
			}
		}
		d.on(ev)
		d.failSend(werr)
		all = append(all, d)
		if deliver && d.send.underWay() {
			d.send.delaysClose = true
			m.delayingClose++
		}
	}
	m.amendClose()
	m.table = dialogueTable{}
	m.streams.local, m.streams.peer, m.windows.used = 0, 0, 0
	m.assemblies = index[assembly]{}
	if deliver { // this side has closed, so Accept returns no more dialogues
		m.backlog = nil
	}
	if m.accepting != nil {
		m.accepting.Broadcast()
	}
	if !deliver {
		m.sched, m.refusals, m.ledger.due = scheduler{}, nil, false
	}
	m.mu.Unlock()
	if deliver && len(closed) > 0 {
		m.c.HoldClose() // the Close frame tells the peer that the bytes of the dialogues are complete
	}
	for _, d := range all {
		d.endRecv(rerr)
	}
	for _, d := range closed {
		m.h.Closed(d, cause)
	}
	m.h.End(cause)
}
