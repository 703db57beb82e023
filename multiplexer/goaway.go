package multiplexer

// This file ends the admission of new work before the end of a connection. Work that has begun
// goes on.

import "github.com/singchia/geminio/packet"

// goAwayState is the part of a Mux that concerns GoAway. Mux.mu guards it.
type goAwayState struct {
	sides   awaySides // if it is not empty, no new work begins
	owedRaw int       // raw bytes queued in the default dialogue when sides changed, and not sent since
}

// awaySides is the set of the sides that have sent GoAway.
type awaySides uint8

const (
	awayLocal awaySides = 1 << iota
	awayPeer
)

// GoAway sends the reason to the peer and ends the admission of new work: from then on
// neither side may open dialogues, and this side sends no requests, registrations and
// messages on the default one. Work that has begun goes on. GoAway may be called again for
// another call of Handler.OnGoAwayAcked.
func (m *Mux) GoAway(n packet.Reason) {
	m.addAway(awayLocal)
	m.c.GoAway(n)
}

// GoAway implements conn.FrameHandler. It ends the admission of new work, as Mux.GoAway does.
func (u *frameHandler) GoAway(n packet.Reason) {
	m := (*Mux)(u)
	m.addAway(awayPeer)
	m.c.Kick() // AppendFrames acknowledges the GoAway
	m.h.GoAway(n)
}

// addAway records that a side has sent GoAway. Only the raw bytes that are queued at the first
// GoAway of a side count as begun, so that an endless Write does not delay the end of the
// connection for ever.
func (m *Mux) addAway(side awaySides) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.goAway.sides&side != 0 {
		return
	}
	m.goAway.sides |= side
	m.goAway.owedRaw = m.main.send.buf.Len()
	m.main.rejectWaiters()
}

// begunWorkIsSent reports, after addAway, whether batches contain everything that this side had
// begun on the default dialogue, and all Open frames. All of this has its credit, so no
// user of the peer can delay it. m.mu is held.
func (m *Mux) begunWorkIsSent() bool {
	return m.goAway.owedRaw == 0 && m.main.packets.empty() && m.sched.laneEmpty(laneControl)
}

// afterAppend acknowledges the GoAway of the peer if begunWorkIsSent. m.mu is held.
func (m *Mux) afterAppend() {
	if m.goAway.sides != 0 && m.begunWorkIsSent() {
		m.c.AckGoAway()
		m.notifyIdle = true
	}
}

// Idle reports, after GoAway, whether no work is under way: the default dialogue is the only
// one, no other is being opened or has ended without Forget, no packet of the default one
// has arrived in part, and everything that this side had begun on it is sent. Raw bytes that
// were written after GoAway do not count.
func (m *Mux) Idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.streams.local+m.streams.peer == 0 && m.main.assemblies.Empty() && m.begunWorkIsSent()
}
