package multiplexer

import (
	"bytes"
	"cmp"
	"fmt"
	"io"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// Frame implements conn.FrameHandler.
func (u *frameHandler) Frame(h packet.Header) error {
	m := (*Mux)(u)
	if m.pendingReader != nil && (h.Type != packet.TypeData || h.Stream != m.pendingReader.id) {
		m.wakePending()
	}
	err := m.frame(h)
	if err != nil {
		m.wakePending()
	}
	return err
}

// frame handles one frame.
func (m *Mux) frame(h packet.Header) error {
	switch {
	case h.Type == packet.TypeData:
		return m.data(h)
	case h.Type.IsPacket():
		return m.packet(h)
	}
	p, err := m.c.Payload()
	if err != nil {
		return err
	}
	if h.Type == packet.TypeOpen {
		o, err := packet.ParseOpen(p)
		if err != nil {
			return err
		}
		return m.peerOpens(h.Stream, o)
	}
	if h.Type == packet.TypeCredit {
		c, err := packet.ParseCredit(p, h.Stream)
		if err != nil {
			return err
		}
		return m.peerCredits(h.Stream, c)
	}
	if h.Type == packet.TypeAccept {
		w, err := packet.ParseAccept(p)
		if err != nil {
			return err
		}
		return m.peerAccepts(h, w)
	}
	n, err := packet.ParseReason(h.Type, p)
	if err != nil {
		return err
	}
	switch h.Type {
	case packet.TypeRefuse:
		return m.peerRefuses(h, n)
	case packet.TypeStop:
		return m.peerStops(h, n)
	case packet.TypeReset:
		return m.peerResets(h, n)
	}
	return nil
}

// defaultStreamError is the error of a peer that would end the default stream, which ends
// with the connection.
func defaultStreamError(h packet.Header) error {
	return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("stream %d ends with the connection only", DefaultID)}
}

// lookup is find for a frame that is handled under the dialogue's own lock, or in
// several steps. The dialogue may end, and leave the table, before the first of them.
func (m *Mux) lookup(h packet.Header) (*Dialogue, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.find(h)
}

// find returns the dialogue that a frame is for, nil if that was closed already. It
// returns an error if the dialogue never was open, or is not open yet; the latter
// together with the dialogue. m.mu is held, and stays so until the frame has been acted
// on: this side may end any dialogue at any time.
func (m *Mux) find(h packet.Header) (*Dialogue, error) {
	if d := m.table[h.Stream]; d != nil {
		return d, d.checkEarly(h.Type)
	}
	if m.cause == nil && !m.wasOpen(h.Stream) {
		return nil, &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("stream %d was never opened", h.Stream)}
	}
	return nil, nil
}

// checkEarly returns the error of a peer that sends a frame of the type before the dialogue is
// open, or nil. The opener may take its Open back; the other side may only answer. Of
// accept and refuse, those who handle them know whether they may come. m.mu is held.
func (d *Dialogue) checkEarly(typ packet.Type) error {
	switch {
	case d.state == dialogueNew && typ == packet.TypeReset:
	case d.state > dialogueOpening, typ == packet.TypeAccept, typ == packet.TypeRefuse:
	default:
		return &packet.Error{What: typ.String(), Reason: fmt.Sprintf("stream %d is not open yet", d.id)}
	}
	return nil
}

// wasOpen tells whether the id is one that its side has opened, or has left out.
func (m *Mux) wasOpen(id uint64) bool {
	if m.isLocalID(id) {
		return id < m.nextID
	}
	return id <= m.lastPeerID
}

// isLocalID tells whether the id is one that this side gives: clients give odd ones.
func (m *Mux) isLocalID(id uint64) bool {
	return (id%2 == 1) == (m.c.Side() == geminio.InitiatorSide)
}

// data handles a frame of raw bytes.
func (m *Mux) data(h packet.Header) error {
	d, early := m.lookup(h)
	if d == nil {
		return early
	}
	if d == m.main && h.Flags&packet.FlagClose != 0 {
		return defaultStreamError(h)
	}
	d.recv.mu.Lock()
	err := d.recv.begin(h.Stream, h.Length, h.Flags&packet.FlagClose != 0)
	d.recv.mu.Unlock()
	if err = cmp.Or(err, early); err != nil {
		return err
	}
	if h.Length > 0 {
		m.sink.m, m.sink.d = m, d
		if err := m.c.ReadPayload(&m.sink); err != nil {
			return err
		}
	}
	if h.Flags&packet.FlagFin != 0 {
		d.recv.mu.Lock()
		d.recv.fin()
		d.recv.mu.Unlock()
	}
	if h.Flags&packet.FlagClose != 0 {
		m.peerCloses(d)
	}
	return nil
}

// peerCloses ends a dialogue after the peer's last frame for it.
func (m *Mux) peerCloses(d *Dialogue) {
	m.mu.Lock()
	first := d.state == dialogueOpen
	d.peerGone = true
	if first {
		d.end(io.ErrClosedPipe)
		d.drop()
		m.purge(d)
		d.closing = true
		m.sched.push(d, laneRaw)
	}
	if d.closeSent {
		m.remove(d)
	}
	m.unlockAndNotify()
	m.finishPeerEnd(d, first, io.EOF)
	m.c.Kick()
}

// finishPeerEnd is the rest of what happens when the peer ends a dialogue.
func (m *Mux) finishPeerEnd(d *Dialogue, first bool, cause error) {
	d.endRead(cause)
	if first {
		m.h.Closed(d, cause)
	}
}

// peerStops handles a Stop: the peer reads no more raw bytes.
func (m *Mux) peerStops(h packet.Header, n packet.Reason) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.find(h)
	if d == nil || err != nil {
		return err
	}
	d.failWrite(&geminio.StreamError{Code: geminio.Code(n.Code), Text: n.Text, Remote: true})
	d.dropRaw()
	d.fin, d.finSent = true, true
	return nil
}

// peerResets handles a Reset: the dialogue ends at once.
func (m *Mux) peerResets(h packet.Header, n packet.Reason) error {
	cause := &geminio.StreamError{Code: geminio.Code(n.Code), Text: n.Text, Remote: true}
	m.mu.Lock()
	d, err := m.find(h)
	if d == m.main {
		err = defaultStreamError(h)
	}
	if d == nil || err != nil {
		m.mu.Unlock()
		return err
	}
	first := d.state == dialogueOpen || d.state == dialogueNew
	d.peerGone = true
	d.end(cause)
	d.drop()
	m.purge(d)
	m.remove(d)
	m.unlockAndNotify()
	m.finishPeerEnd(d, first, cause)
	m.c.Kick()
	return nil
}

// peerAccepts handles an Accept. The answer to an Open that was given up meanwhile is
// ignored: the Reset that took the Open back is under way.
func (m *Mux) peerAccepts(h packet.Header, w packet.Windows) error {
	m.mu.Lock()
	d, err := m.find(h)
	if err == nil && d != nil {
		if err = m.checkWindows("accept", d.id, w); err == nil {
			err = d.checkOpening(h)
		}
	}
	if d == nil || err != nil {
		m.mu.Unlock()
		return err
	}
	d.state, d.accepted = dialogueOpen, true
	d.grant(w)
	d.wakeWrite()
	m.mu.Unlock()
	m.h.Accepted(d)
	return nil
}

// checkOpening returns an error unless d waits for the peer's answer to its Open. m.mu
// is held.
func (d *Dialogue) checkOpening(h packet.Header) error {
	if d.state == dialogueOpening {
		return nil
	}
	return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("stream %d is not being opened", d.id)}
}

// checkWindows tells whether a small message, of the size agreed in the
// handshake, would always find credit.
func (m *Mux) checkWindows(what string, id uint64, w packet.Windows) error {
	if w.Raw == 0 || w.Messages < m.peer.Messages {
		return &packet.Error{What: what, Reason: fmt.Sprintf("stream %d: windows of %d and %d bytes, need 1 and %d", id, w.Raw, w.Messages, m.peer.Messages)}
	}
	return nil
}

// peerRefuses handles a Refuse. Like an Accept it is ignored if the Open was given up.
func (m *Mux) peerRefuses(h packet.Header, n packet.Reason) error {
	m.mu.Lock()
	defer m.unlockAndNotify()
	d, err := m.find(h)
	if d == nil || err != nil {
		return err
	}
	if err := d.checkOpening(h); err != nil {
		return err
	}
	d.end(&geminio.RefusedError{Code: geminio.Code(n.Code), Text: n.Text, RetryAfter: n.Retry})
	m.remove(d)
	return nil
}

// peerCredits adds what the peer allows.
func (m *Mux) peerCredits(id uint64, c packet.Credit) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.table[id]
	if id != 0 && d == nil && m.cause == nil && !m.wasOpen(id) {
		return &packet.Error{What: "credit", Reason: fmt.Sprintf("stream %d was never opened", id)}
	}
	if d != nil {
		if err := d.checkEarly(packet.TypeCredit); err != nil {
			return err
		}
	}
	return m.addCredit(d, c)
}

// peerOpens makes a dialogue that the peer opens, or refuses it.
func (m *Mux) peerOpens(id uint64, o packet.Open) error {
	m.mu.Lock()
	if m.isLocalID(id) || id <= m.lastPeerID || id == DefaultID {
		m.mu.Unlock()
		return &packet.Error{What: "open", Reason: fmt.Sprintf("stream %d cannot be opened by the peer, or was already", id)}
	}
	if err := m.checkWindows("open", id, o.Windows); err != nil {
		m.mu.Unlock()
		return err
	}
	if len(m.refusals) >= maxRefusals {
		m.mu.Unlock()
		return &packet.Error{What: "open", Reason: fmt.Sprintf("%d refusals wait to be read", maxRefusals)}
	}
	m.lastPeerID = id
	if why := m.reservePeerOpen(len(o.Peer) + len(o.Meta)); why.Code != 0 {
		m.refusals = append(m.refusals, refusal{id, why})
		m.mu.Unlock()
		m.c.Kick()
		return nil
	}
	d := m.newDialogue(id, o.Peer, bytes.Clone(o.Meta))
	d.counted, d.accepted, d.opening = true, true, openingBegun
	d.grant(o.Windows)
	m.peerStreams++
	m.unaccepted++
	m.table[id] = d
	m.mu.Unlock()
	m.h.Opened(d)
	m.mu.Lock()
	missed, cause := d.opening == openingMissed, m.cause
	d.opening = openingTold
	m.mu.Unlock()
	if missed {
		m.h.Closed(d, cause)
	}
	return nil
}

// reservePeerOpen returns why no dialogue may be opened by the peer, or a zero Reason,
// in which case its first windows and what is kept of its Open, intro bytes, are taken from
// the budget.
func (m *Mux) reservePeerOpen(intro int) packet.Reason {
	limit := func(what string, n int) packet.Reason {
		return packet.Reason{Code: uint32(geminio.CodeLimit), Text: fmt.Sprintf("too many streams: %d %s", n, what)}
	}
	switch {
	case m.goingAway || m.cause != nil:
		return packet.Reason{Code: uint32(geminio.CodeGoingAway), Text: geminio.ErrGoingAway.Error()}
	case m.peerStreams >= int(m.local.MaxStreams):
		return limit("are open", m.peerStreams)
	case m.unaccepted >= m.limits.Backlog:
		return limit("wait to be accepted", m.unaccepted)
	case !m.windows.add(intro):
		return limit("use the memory budget up", len(m.table))
	}
	return packet.Reason{}
}
