package multiplexer

import (
	"io"
	"net"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// lifeState is the state of a dialogue as a whole: what the two sides have said of its
// opening and of its end. See lifeTable for what leads from one state to another.
type lifeState uint8

const (
	// lifeNew: the user has made the dialogue, and has not opened it.
	lifeNew lifeState = iota
	// lifeOffered: the peer's Open has come. The Handler has not answered it.
	lifeOffered
	// lifeOpening: this side's Open is sent or ready to be sent. The peer has not answered
	// it.
	lifeOpening
	// lifeOpen: both sides may send.
	lifeOpen
	// lifeClosing: this side has closed the dialogue. What is ready is still to be sent, and
	// behind that the close flag, or a Reset if a Write was cut off.
	lifeClosing
	// lifeFinishing: the peer sends nothing more, because it has sent its close flag or the
	// connection is closed. This side's close flag, or the Reset in its place, is still to
	// be sent.
	lifeFinishing
	// lifeCloseSent: this side has sent its close flag. The peer has not sent its own.
	lifeCloseSent
	// lifeOverdue: as lifeCloseSent, and a heartbeat has passed. The next one takes the
	// dialogue out of the table.
	lifeOverdue
	// lifeGone: the dialogue was open, and is no longer in the table. If this side has
	// closed the connection, what is ready is still sent.
	lifeGone
	// lifeNotOpened: the dialogue was never open, will not be, and is not in the table.
	lifeNotOpened

	lifeStates
)

var lifeNames = [lifeStates]string{
	lifeNew:       "New",
	lifeOffered:   "Offered",
	lifeOpening:   "Opening",
	lifeOpen:      "Open",
	lifeClosing:   "Closing",
	lifeFinishing: "Finishing",
	lifeCloseSent: "CloseSent",
	lifeOverdue:   "Overdue",
	lifeGone:      "Gone",
	lifeNotOpened: "NotOpened",
}

func (s lifeState) String() string { return lifeNames[s] }

// lifeTable has the state that follows each state and event. The zero value, lifeNew,
// follows none: it says that the event is ignored, also by the sending half. An entry that
// is the state itself is for an event that concerns the sending half only.
var lifeTable = [lifeStates][events]lifeState{
	lifeNew: {
		evOpen: lifeOpening,
	},
	lifeOffered: {
		evAccept:    lifeOpen,
		evRefuse:    lifeNotOpened,
		evPeerReset: lifeNotOpened,
		evConnClose: lifeNotOpened,
		evConnEnd:   lifeNotOpened,
	},
	lifeOpening: {
		evPeerAccept: lifeOpen,
		evPeerRefuse: lifeNotOpened,
		evGiveUp:     lifeNotOpened,
		evConnClose:  lifeNotOpened,
		evConnEnd:    lifeNotOpened,
	},
	lifeOpen: {
		evClose:     lifeClosing,
		evPeerClose: lifeFinishing,
		evReset:     lifeGone,
		evPeerReset: lifeGone,
		evConnClose: lifeGone,
		evConnEnd:   lifeGone,
	},
	lifeClosing: {
		evCloseSent: lifeCloseSent,
		evPeerClose: lifeFinishing,
		evConnClose: lifeFinishing,
		evResetSent: lifeGone,
		evPeerReset: lifeGone,
		evConnEnd:   lifeGone,
	},
	lifeFinishing: {
		evPeerClose: lifeFinishing,
		evCloseSent: lifeGone,
		evResetSent: lifeGone,
		evPeerReset: lifeGone,
		evConnEnd:   lifeGone,
	},
	lifeCloseSent: {
		evHeartbeat: lifeOverdue,
		evPeerClose: lifeGone,
		evPeerReset: lifeGone,
		evConnClose: lifeGone,
		evConnEnd:   lifeGone,
	},
	lifeOverdue: {
		evHeartbeat: lifeGone,
		evPeerClose: lifeGone,
		evPeerReset: lifeGone,
		evConnClose: lifeGone,
		evConnEnd:   lifeGone,
	},
	lifeGone: {
		evResetSent: lifeGone, // after evConnClose
	},
}

// lifeEvents are the events for which lifeTable has entries.
var lifeEvents = func() (have [events]bool) {
	for _, row := range lifeTable {
		for ev, next := range row {
			have[ev] = have[ev] || next != lifeNew
		}
	}
	return have
}()

// established tells whether the dialogue is open or was.
func (s lifeState) established() bool { return s >= lifeOpen && s != lifeNotOpened }

// closes tells whether this side's close flag, or the Reset in its place, is to be sent.
func (s lifeState) closes() bool { return s == lifeClosing || s == lifeFinishing }

// ended tells whether the dialogue is not in the table any more.
func (s lifeState) ended() bool { return s == lifeGone || s == lifeNotOpened }

// on has the dialogue and its sending half enter the states that follow an event. m.mu is
// held. The caller calls m.remove if the dialogue has ended.
func (d *Dialogue) on(ev event) {
	life, send := d.life, d.send.state
	switch next := lifeTable[life][ev]; {
	case next != lifeNew:
		d.life = next
		d.send.on(ev)
	case !lifeEvents[ev]:
		d.send.on(ev)
	}
	if debugging {
		d.verifyEvent(ev, life, send)
	}
}

// openedCall is the state of the call that tells the Handler that the peer has opened a
// dialogue.
type openedCall uint8

const (
	// openedReturned: Handler.Opened has returned, or this side has opened the dialogue.
	openedReturned openedCall = iota
	// openedRunning: Handler.Opened is being called.
	openedRunning
	// endedWhileOpening: Handler.Opened is being called, and the connection has ended. The
	// Handler is told of the end when Opened has returned.
	endedWhileOpening
)

// slotState tells whether a dialogue counts in Mux.peerStreams.
type slotState uint8

const (
	// slotNone: it does not count, or no longer.
	slotNone slotState = iota
	// slotHeld: it counts. Left by Forget.
	slotHeld
	// slotLeaving: it counts until it waits in no lane. Forget was called before.
	slotLeaving
)

// Accept answers the peer's wish to open the dialogue with yes. With queue set
// it waits for Mux.Accept then.
func (d *Dialogue) Accept(queue bool) {
	m := d.m
	m.mu.Lock()
	if d.life == lifeOffered {
		d.on(evAccept)
		m.signal(d, ctlAccept)
		if queue {
			m.backlog = append(m.backlog, d)
			m.accepting.Signal()
		}
	} else {
		queue = false // the peer has taken it back, or the connection has ended
	}
	if !queue {
		m.unaccepted--
	}
	m.mu.Unlock()
	m.c.Kick()
}

// Refuse answers the peer's wish to open the dialogue with no.
func (d *Dialogue) Refuse(n packet.Reason) {
	m := d.m
	m.mu.Lock()
	m.unaccepted--
	if d.life == lifeOffered {
		d.on(evRefuse)
		d.failSend(io.ErrClosedPipe)
		m.remove(d)
		m.refusals = append(m.refusals, refusal{d.id, n})
	}
	m.unlockAndNotify()
	d.endRecv(io.EOF)
	d.Forget()
	m.c.Kick()
}

// Forget says that the user is done with a dialogue that the peer has opened and that has
// ended: the peer may open another in its place.
func (d *Dialogue) Forget() {
	m := d.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if d.slot != slotHeld {
		return
	}
	if d.queued != 0 && m.cause == nil { // what waits to be sent takes memory
		d.slot = slotLeaving
		return
	}
	d.freeSlot()
}

// freeSlot ends the dialogue's count in Mux.peerStreams. m.mu is held.
func (d *Dialogue) freeSlot() {
	d.slot = slotNone
	if d.m.cause == nil { // afterwards nothing is counted
		d.m.peerStreams--
	}
}

// CloseWrite ends this side's raw bytes, after those that were written. Packets
// go on. It returns net.ErrClosed after Close. A Write that is under way is cut off, and
// the dialogue is reset then, behind what was written, since its reader must not take
// that for all. The default dialogue cannot be reset: its reader is told at the end of the
// connection.
func (d *Dialogue) CloseWrite() error {
	m := d.m
	m.mu.Lock()
	if d.life != lifeOpen {
		m.mu.Unlock()
		return net.ErrClosed
	}
	if d.send.state == sendOpen {
		d.on(evCloseWrite)
		d.send.fail(net.ErrClosed)
		m.sched.push(d, laneRaw)
	}
	m.mu.Unlock()
	m.c.Push(nil, false)
	return nil
}

// CloseRead throws away what has come and tells the peer to send no more raw
// bytes: its writers are woken. Read returns io.EOF from now on.
func (d *Dialogue) CloseRead() error {
	d.recv.mu.Lock()
	tell := d.recv.closeRead()
	d.recv.mu.Unlock()
	m := d.m
	m.mu.Lock()
	if d.life != lifeOpen {
		m.mu.Unlock()
		return net.ErrClosed
	}
	if tell {
		m.signal(d, ctlStop)
	}
	m.mu.Unlock()
	m.c.Push(nil, false)
	return nil
}

// Close ends the dialogue: what was written is still delivered, then the peer
// reads io.EOF; or, if a Write was under way and is cut off, a *geminio.StreamError with
// geminio.CodeClosed. What the peer sends from now on is thrown away. It does not wait.
func (d *Dialogue) Close() error {
	m := d.m
	m.mu.Lock()
	first := d.life == lifeOpen
	if first {
		d.close()
	} else {
		d.dropMessages()
	}
	m.mu.Unlock()
	d.endRecv(io.EOF)
	if !first {
		m.c.Kick() // for the credit of its messages
		return nil
	}
	m.c.Push(nil, false)
	m.h.Closed(d, io.EOF)
	return nil
}

// close is the part of Close under m.mu, for a dialogue that is open. The caller ends the
// receiving half, has the close flag sent, and tells the Handler.
func (d *Dialogue) close() {
	d.on(evClose)
	d.failSend(net.ErrClosed)
	d.m.sched.push(d, laneRaw)
	d.dropMessages()
}

// dropMessages gives back the credit of the messages that have arrived, whole or in part,
// and that nothing will receive. m.mu is held; Push or Kick must follow.
func (d *Dialogue) dropMessages() {
	d.m.ledger.drop(&d.credit)
	d.m.dropAssemblies(d)
}

// Reset ends the dialogue at once, in both directions, and tells the peer why.
func (d *Dialogue) Reset(n packet.Reason) {
	m := d.m
	m.mu.Lock()
	first := d.life == lifeOpen
	if first {
		d.on(evReset)
		d.failSend(&geminio.StreamError{Code: geminio.Code(n.Code), Text: n.Text})
		d.resetReason = &n
		m.signal(d, ctlReset)
		d.dropQueue()
		d.dropMessages()
		m.remove(d)
	}
	m.unlockAndNotify()
	d.endRecv(io.EOF)
	if first {
		m.c.Push(nil, false)
		m.h.Closed(d, io.EOF)
	}
}

// failSend fails what the users of a dialogue that has ended wait for: Writes, and credit
// for packets. What is ready stays so. m.mu is held.
func (d *Dialogue) failSend(err error) {
	d.send.fail(err)
	d.rejectWaiters()
}

// endRecv ends the receiving half. It takes the half's lock.
func (d *Dialogue) endRecv(err error) {
	d.recv.mu.Lock()
	d.recv.end(err)
	d.recv.mu.Unlock()
}

// remove takes d, which has ended, out of the table: no frame may come for it any more.
// m.mu is held, and m.unlockAndNotify releases it.
func (m *Mux) remove(d *Dialogue) {
	if m.table[d.id] != d {
		return
	}
	delete(m.table, d.id)
	if d.opener() {
		m.localStreams--
		m.notifyIdle = true
	}
	m.ledger.close(&d.credit)
	m.windows.remove(d.windowSizes(), d.introSize())
}
