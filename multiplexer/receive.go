package multiplexer

// This file handles the frames that arrive. The reading goroutine runs all of it. The frames
// that open dialogues are in open.go, packets in assembly.go, raw bytes in read.go.

import (
	"cmp"
	"fmt"
	"io"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// Frame implements conn.FrameHandler. A frame that brings no bytes for the pending reader
// wakes that reader.
func (u *frameHandler) Frame(h packet.Header) error {
	m := (*Mux)(u)
	if m.sink.pending != nil && (h.Type != packet.TypeData || h.Stream != m.sink.pending.id) {
		m.sink.wakePending()
	}
	err := m.frame(h)
	if err != nil {
		m.sink.wakePending()
	}
	return err
}

// frame parses the frame with header h and passes it to the function for its type.
func (m *Mux) frame(h packet.Header) error {
	switch {
	case h.Type == packet.TypeData:
		return m.data(h)
	case h.Type.IsPacket():
		return m.receivePacket(h)
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

// defaultStreamError returns the error for a frame that would end the default stream, which
// ends only with the connection.
func defaultStreamError(h packet.Header) error {
	return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("stream %d ends with the connection only", DefaultID)}
}

// lookupData is find for a Data frame, which it counts. m.mu is not held: the dialogue may
// end, and leave the table, before the caller uses it.
func (m *Mux) lookupData(h packet.Header) (*Dialogue, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.path.receive(h.Length)
	return m.find(h)
}

// find returns the dialogue of the frame with header h, or nil if the dialogue was open and
// has left the table. It returns an error if the dialogue was never opened. If the frame
// comes before the dialogue is open, find returns the dialogue and an error. The caller
// holds m.mu until it has handled the frame, because this side may end any dialogue at any
// time.
func (m *Mux) find(h packet.Header) (*Dialogue, error) {
	if d := m.table.get(h.Stream); d != nil {
		return d, d.checkEarly(h.Type)
	}
	if m.cause == nil && !m.wasOpen(h.Stream) {
		return nil, &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("stream %d was never opened", h.Stream)}
	}
	return nil, nil
}

// checkEarly returns an error if a frame of type typ may not arrive yet, because d is not
// open. Before the answer to an Open, the opener may only reset the dialogue, and the other
// side may only accept or refuse it; checkOpening checks the latter two. m.mu is held.
func (d *Dialogue) checkEarly(typ packet.Type) error {
	switch {
	case d.life == lifeOffered && typ == packet.TypeReset:
	case d.life.established(), typ == packet.TypeAccept, typ == packet.TypeRefuse:
	default:
		return &packet.Error{What: typ.String(), Reason: fmt.Sprintf("stream %d is not open yet", d.id)}
	}
	return nil
}

// wasOpen reports whether the side that gives the id has opened a dialogue with it, or has
// skipped it. m.mu is held.
func (m *Mux) wasOpen(id uint64) bool {
	if m.isLocalID(id) {
		return id < m.streams.nextID
	}
	return id <= m.lastPeerID
}

// isLocalID reports whether this side gives the id: clients give odd ids, servers even ones.
func (m *Mux) isLocalID(id uint64) bool {
	return (id%2 == 1) == (m.c.Side() == geminio.InitiatorSide)
}

// data handles a Data frame.
func (m *Mux) data(h packet.Header) error {
	d, early := m.lookupData(h)
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
		m.sink.d = d
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

// peerCloses handles the close flag, which is in the peer's last frame for d. It ends d if
// this side has not ended it, and sends the close flag back.
func (m *Mux) peerCloses(d *Dialogue) {
	m.mu.Lock()
	first := d.life == lifeOpen
	d.on(evPeerClose)
	if first {
		d.failSend(io.ErrClosedPipe)
		d.dropQueue()
		m.dropAssemblies(d)
		m.sched.push(d, laneRaw)
	}
	if d.life.ended() {
		m.remove(d)
	}
	m.unlockAndNotify()
	m.finishPeerEnd(d, first, io.EOF)
	m.c.Kick()
}

// finishPeerEnd ends the receiving side of d, which the peer has closed or reset. If first is
// set, the peer has ended d before this side, and finishPeerEnd calls Handler.Closed. m.mu
// is not held.
func (m *Mux) finishPeerEnd(d *Dialogue, first bool, cause error) {
	d.endRecv(cause)
	if first {
		m.h.Closed(d, cause)
	}
}

// peerStops handles a Stop: the peer discards raw bytes from now on, so Write fails.
func (m *Mux) peerStops(h packet.Header, n packet.Reason) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.find(h)
	if d == nil || err != nil {
		return err
	}
	d.on(evPeerStop)
	d.send.fail(&geminio.StreamError{Code: geminio.Code(n.Code), Text: n.Text, Remote: true})
	d.dropRaw()
	return nil
}

// peerResets handles a Reset: it ends the dialogue in both directions.
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
	first := d.life == lifeOpen || d.life == lifeOffered
	d.on(evPeerReset)
	d.failSend(cause)
	d.dropQueue()
	m.dropAssemblies(d)
	m.remove(d)
	m.unlockAndNotify()
	m.finishPeerEnd(d, first, cause)
	m.c.Kick()
	return nil
}

// peerCredits handles a Credit frame of the dialogue with this id, or of the connection if id
// is 0.
func (m *Mux) peerCredits(id uint64, c packet.Credit) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.table.get(id)
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
