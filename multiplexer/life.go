package multiplexer

import (
	"io"
	"net"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// lifeState is the state of a dialogue as a whole: how far the two sides are with opening and
// closing it. lifeTable has the events that lead from one state to another.
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
	// lifeClosing: this side has closed the dialogue. Queued bytes and packets are still to be
	// sent, and behind them the close flag, or a Reset if a Write was cut off.
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
	// lifeGone: the dialogue was open, and is no longer in the table. If this side has closed
	// the connection, queued bytes and packets are still sent.
	lifeGone
	// lifeNotOpened: the dialogue was never open and never will be. It is not in the
	// table.
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

// lifeTable has the state that follows each state and event. An entry of 0, lifeNew, says
// that the dialogue and its sending half ignore the event; no event leads to lifeNew. An
// entry that is equal to the state says that the event concerns the sending half only.
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

// established reports whether the dialogue is open or was.
func (s lifeState) established() bool { return s >= lifeOpen && s != lifeNotOpened }

// closes reports whether this side's close flag, or the Reset in its place, is to be sent.
func (s lifeState) closes() bool { return s == lifeClosing || s == lifeFinishing }

// ended reports whether the dialogue has left the table, or has to leave it.
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

// openedCall is the state of the call of Handler.Opened for a dialogue.
type openedCall uint8

const (
	// openedReturned: the call has returned, or this side has opened the dialogue. When the
	// dialogue ends, Handler.Closed is called at once.
	openedReturned openedCall = iota
	// openedRunning: the call has not returned. When the call returns, openedReturned
	// follows. If the connection ends first, endedWhileOpening follows.
	openedRunning
	// endedWhileOpening: the call has not returned, and the connection has ended. When the
	// call returns, Handler.Closed is called.
	endedWhileOpening
)

// slotState says whether a dialogue counts in Mux.streams.peer.
type slotState uint8

const (
	// slotNone: the dialogue does not count: this side has opened it, or it has left its slot.
	slotNone slotState = iota
	// slotHeld: the dialogue counts. Forget leads to slotNone, or to slotLeaving if the
	// dialogue is in a lane of the scheduler.
	slotHeld
	// slotLeaving: the dialogue counts until it is in no lane.
	slotLeaving
)

// Accept answers the peer's Open with Accept. With queue set, it also puts the dialogue into
// the backlog, for Mux.Accept. If the peer has reset the dialogue or the connection has
// ended, it does nothing.
func (d *Dialogue) Accept(queue bool) {
	m := d.m
	m.mu.Lock()
	if d.life == lifeOffered {
		d.on(evAccept)
		m.signal(d, ctlAccept)
		if queue {
			m.backlog = append(m.backlog, d)
			if m.accepting != nil {
				m.accepting.Signal()
			}
		}
	} else {
		queue = false // the peer has taken it back, or the connection has ended
	}
	if !queue {
		m.streams.unaccepted--
	}
	m.mu.Unlock()
	m.c.Kick()
}

// Refuse answers the peer's Open with Refuse. It calls Forget.
func (d *Dialogue) Refuse(n packet.Reason) {
	m := d.m
	m.mu.Lock()
	m.streams.unaccepted--
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

// Forget says that the upper layer has finished with a dialogue that the peer has opened and
// that has ended. The peer may open another dialogue in its place.
func (d *Dialogue) Forget() {
	m := d.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if d.slot != slotHeld {
		return
	}
	if d.queued != 0 && m.cause == nil { // frames that wait to be sent use memory
		d.slot = slotLeaving
		return
	}
	d.freeSlot()
}

// freeSlot removes the dialogue from the count in Mux.streams.peer. m.mu is held.
func (d *Dialogue) freeSlot() {
	d.slot = slotNone
	if d.m.cause == nil { // the end of the connection sets the count to 0
		d.m.streams.peer--
	}
	d.freeIntro()
}

// freeIntro gives the part of the budget for the name and the meta back, if d is neither in the
// table nor counts among the streams of the peer. m.mu is held.
func (d *Dialogue) freeIntro() {
	if d.slot == slotNone && d.m.table.get(d.id) != d {
		d.m.windows.removeIntro(d.introSize())
	}
}

// CloseWrite ends the raw bytes of this side, behind those that were written. Packets can
// still be sent. It returns net.ErrClosed if the dialogue is not open.
//
// If a Write is under way, CloseWrite cuts it off. The dialogue is then reset behind the
// bytes that were written, so that the peer does not take these bytes for complete. The
// default dialogue cannot be reset, so the Close frame of the connection tells the peer.
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

// CloseRead discards the raw bytes that have arrived and that will arrive. Reads return
// io.EOF. A Stop frame makes the Writes of the peer fail. It returns net.ErrClosed if the
// dialogue is not open.
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

// Close ends the dialogue. It does not wait, and its error is always nil. The bytes that were
// written and the packets that were queued are still delivered. Then the peer reads io.EOF,
// or, if Close has cut off a Write, a *geminio.StreamError with geminio.CodeClosed. Bytes and
// packets that arrive from then on are discarded.
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
		m.c.Kick() // dropMessages may have made credit due
		return nil
	}
	m.c.Push(nil, false)
	m.h.Closed(d, io.EOF)
	return nil
}

// close is the part of Close under m.mu, for a dialogue that is open. The caller then ends
// the receiving half, calls Push, and calls Handler.Closed.
func (d *Dialogue) close() {
	d.on(evClose)
	d.failSend(net.ErrClosed)
	d.m.sched.push(d, laneRaw)
	d.dropMessages()
}

// dropMessages releases the credit of large messages that have arrived and were not released,
// and the credit of packets that have arrived in part. m.mu is held; Push or Kick must
// follow.
func (d *Dialogue) dropMessages() {
	d.m.ledger.drop(&d.credit)
	d.m.dropAssemblies(d)
}

// Reset ends the dialogue at once, in both directions. It drops the bytes and packets that
// are queued, and sends n to the peer.
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

// failSend ends the waiting of Writes, with err, and of packets that wait for credit. It
// leaves the queues as they are. m.mu is held.
func (d *Dialogue) failSend(err error) {
	d.send.fail(err)
	d.rejectWaiters()
}

// endRecv ends the receiving half, and Reads return err when no bytes are left. It takes the
// lock of the half.
func (d *Dialogue) endRecv(err error) {
	d.recv.mu.Lock()
	d.recv.end(err)
	d.recv.mu.Unlock()
}

// remove takes d, which has ended, out of the table. Frames that arrive for it from then on
// are ignored. m.mu is held, and m.unlockAndNotify releases it.
func (m *Mux) remove(d *Dialogue) {
	if m.table.get(d.id) != d {
		return
	}
	m.table.remove(d)
	if d.opener() {
		m.streams.local--
		m.notifyIdle = true
	}
	m.ledger.close(&d.credit)
	m.windows.remove(d.windowSizes())
	d.freeIntro()
}
