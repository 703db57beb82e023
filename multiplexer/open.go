package multiplexer

// This file opens dialogues of both sides. A dialogue is in the table from its Open frame
// on. The Open frame has the first windows that the opener gives, and the Accept frame has
// those that the other side gives.

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// Accept returns the next dialogue of the peer that Dialogue.Accept has put into the
// backlog, and waits if there is none. After the end of the connection it returns io.EOF:
// at once if this side has closed the connection, otherwise when the backlog is empty.
func (m *Mux) Accept() (*Dialogue, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.backlog) == 0 && m.cause == nil {
		if m.accepting == nil {
			m.accepting = sync.NewCond(&m.mu)
		}
		m.accepting.Wait()
	}
	if len(m.backlog) == 0 {
		return nil, io.EOF
	}
	d := m.backlog[0]
	m.backlog[0] = nil
	m.backlog = m.backlog[1:]
	m.streams.unaccepted--
	return d, nil
}

// Open opens d, which NewDialogue has returned, and waits for the peer's answer. It returns
//
//   - a *geminio.RefusedError if the peer refuses,
//   - os.ErrDeadlineExceeded at d's write deadline; the Open is then taken back,
//   - geminio.ErrGoingAway after GoAway of one side,
//   - a *geminio.LimitError if the name, the metadata or the meta of d is too long, or if the
//     memory budget has no room for d's windows,
//   - io.EOF after the end of the connection.
func (m *Mux) Open(d *Dialogue) error {
	m.mu.Lock()
	if err := m.reserveOpen(d); err != nil {
		m.mu.Unlock()
		return err
	}
	d.id, d.begun = m.streams.nextID, m.c.Now()
	m.streams.nextID += 2
	m.streams.local++
	m.table.add(d)
	d.on(evOpen)
	m.signal(d, ctlOpen)
	m.mu.Unlock()
	m.c.Push(nil, false)

	m.mu.Lock()
	defer m.unlockAndNotify()
	for d.life == lifeOpening && d.send.deadlineErr() == nil {
		d.waitWrite()
	}
	switch {
	case d.life == lifeOpening:
		d.cancelOpen()
		return d.send.deadlineErr()
	case d.life.established():
		if w := d.send.writers; w != nil && w.deadline == nil && !d.send.underWay() {
			d.send.writers = nil // no goroutine waits on it
		}
		return nil
	case m.cause != nil:
		return io.EOF
	default:
		return d.send.err
	}
}

// reserveOpen takes the first windows of d from the budget. It returns an error if d cannot
// be opened. m.mu is held.
func (m *Mux) reserveOpen(d *Dialogue) error {
	intro := d.introduction()
	if err := intro.Metadata.CheckSize(uint64(m.c.Peer().MaxMetadata)); err != nil {
		return err
	}
	switch size := intro.Size(); {
	case m.cause != nil:
		return io.EOF
	case m.goAway.sides != 0:
		return geminio.ErrGoingAway
	case len(intro.Peer) > packet.MaxPeer:
		return &geminio.LimitError{What: "peer of a stream", Value: uint64(len(intro.Peer)), Limit: packet.MaxPeer, Err: geminio.ErrTooLarge}
	case size > m.maxFrame:
		return &geminio.LimitError{
			What: "meta, metadata and peer of a stream", Value: uint64(intro.Content()),
			Limit: uint64(m.maxFrame) - uint64(intro.Overhead()), Err: geminio.ErrTooLarge,
		}
	}
	w, ok := m.windows.add(0)
	if !ok {
		return &geminio.LimitError{What: "streams within the memory budget (SetMemoryBudget)", Value: uint64(m.table.len()), Limit: uint64(m.table.len()) - 1, Err: geminio.ErrTooMany}
	}
	d.initWindows(w)
	return nil
}

// initWindows sets the first windows that this side gives.
func (d *Dialogue) initWindows(w packet.Windows) {
	d.recv.mu.Lock()
	defer d.recv.mu.Unlock()
	d.recv.init(w, d.m.smallRx)
}

// cancelOpen takes back the Open of d, which the peer has not answered: it ends d and sends
// a Reset. m.mu is held.
func (d *Dialogue) cancelOpen() {
	d.on(evGiveUp)
	d.failSend(net.ErrClosed)
	d.resetReason = &packet.Reason{Code: uint32(geminio.CodeCanceled)}
	d.m.signal(d, ctlReset)
	d.m.remove(d)
	d.m.c.Kick()
}

// peerOpens handles an Open: it makes the dialogue, or refuses it.
func (m *Mux) peerOpens(id uint64, o packet.Open) error {
	m.mu.Lock()
	if m.isLocalID(id) || id <= m.lastPeerID || id == DefaultID {
		m.mu.Unlock()
		return &packet.Error{What: "open", Reason: fmt.Sprintf("stream %d cannot be opened by the peer, or was already", id)}
	}
	if err := checkWindows("open", id, o.Windows); err != nil {
		m.mu.Unlock()
		return err
	}
	if len(m.refusals) >= maxRefusals {
		m.mu.Unlock()
		return &packet.Error{What: "open", Reason: fmt.Sprintf("%d refusals wait to be read", maxRefusals)}
	}
	m.lastPeerID = id
	var windows packet.Windows
	why := packet.Reason{}
	if err := packet.CheckMetadata("open", o.Metadata, m.c.Local().MaxMetadata); err != nil {
		why = packet.Reason{Code: uint32(geminio.CodeProtocol), Text: err.Error()}
	} else {
		windows, why = m.reservePeerOpen(o.Content())
	}
	if why.Code != 0 {
		m.refusals = append(m.refusals, refusal{id, why})
		m.mu.Unlock()
		m.c.Kick()
		return nil
	}
	o.Meta, o.Metadata = bytes.Clone(o.Meta), slices.Clone(o.Metadata)
	d := m.newDialogue(id, o)
	d.initWindows(windows)
	d.begun = m.c.Now()
	d.life, d.opened, d.slot = lifeOffered, openedRunning, slotHeld
	d.grant(o.Windows)
	m.streams.peer++
	m.streams.unaccepted++
	m.table.add(d)
	m.mu.Unlock()
	m.h.Opened(d)
	m.mu.Lock()
	missed, cause := d.opened == endedWhileOpening, m.cause
	d.opened = openedReturned
	m.mu.Unlock()
	if missed {
		m.h.Closed(d, cause)
	}
	return nil
}

// reservePeerOpen takes the first windows of a dialogue that the peer opens, and intro bytes
// for its name, metadata and meta, from the budget. It returns the windows, and the reason of the
// refusal if there is one, else the zero Reason. m.mu is held.
func (m *Mux) reservePeerOpen(intro int) (w packet.Windows, why packet.Reason) {
	limit := func(what string, n int) (packet.Windows, packet.Reason) {
		return w, packet.Reason{Code: uint32(geminio.CodeLimit), Text: fmt.Sprintf("too many streams: %d %s", n, what)}
	}
	switch {
	case m.goAway.sides != 0 || m.cause != nil:
		return w, packet.Reason{Code: uint32(geminio.CodeGoingAway), Text: geminio.ErrGoingAway.Error()}
	case m.streams.peer >= int(m.c.Local().MaxStreams):
		return limit("are open", m.streams.peer)
	case m.streams.unaccepted >= m.limits.Backlog:
		return limit("wait to be accepted", m.streams.unaccepted)
	}
	w, ok := m.windows.add(intro)
	if !ok {
		return limit("use the memory budget up", m.table.len())
	}
	return w, packet.Reason{}
}

// peerAccepts handles an Accept. It ignores the answer to an Open that this side has taken
// back: the Reset is on its way.
func (m *Mux) peerAccepts(h packet.Header, w packet.Windows) error {
	m.mu.Lock()
	d, err := m.find(h)
	if err == nil && d != nil {
		if err = checkWindows("accept", d.id, w); err == nil {
			err = d.checkOpening(h)
		}
	}
	if d == nil || err != nil {
		m.mu.Unlock()
		return err
	}
	d.on(evPeerAccept)
	d.grant(w)
	d.send.wake()
	m.mu.Unlock()
	m.h.Accepted(d)
	return nil
}

// checkOpening returns an error if d does not wait for the answer to its Open. m.mu is held.
func (d *Dialogue) checkOpening(h packet.Header) error {
	if d.life == lifeOpening {
		return nil
	}
	return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("stream %d is not being opened", d.id)}
}

// checkWindows returns an error if the peer gives no first credit for raw bytes: no Credit frame
// would be due then. It may give none for messages, which are paid by the connection then.
func checkWindows(what string, id uint64, w packet.Windows) error {
	if w.Raw == 0 {
		return &packet.Error{What: what, Reason: fmt.Sprintf("stream %d has no credit for raw bytes", id)}
	}
	return nil
}

// peerRefuses handles a Refuse. It ignores the answer to an Open that this side has taken
// back.
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
	d.on(evPeerRefuse)
	d.failSend(&geminio.RefusedError{Code: geminio.Code(n.Code), Text: n.Text, RetryAfter: n.Retry})
	m.remove(d)
	return nil
}
