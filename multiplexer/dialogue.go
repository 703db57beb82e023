package multiplexer

import (
	"io"
	"net"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/chunk"
	"github.com/singchia/geminio/internal/list"
	"github.com/singchia/geminio/packet"
)

// dialogueState is where a dialogue is in its life. It only ever grows.
type dialogueState uint8

const (
	// dialogueNew: not yet known to the peer, or not yet answered: the peer's
	// Open has come and the Handler has not decided. Left by Open, Accept, Refuse.
	dialogueNew dialogueState = iota
	// dialogueOpening: Open was sent. Left with the peer's Accept or Refuse.
	dialogueOpening
	// dialogueOpen: both sides may send. Left by Close, Reset, the peer's, or the
	// end of the connection.
	dialogueOpen
	// dialogueClosed: nothing more begins. What is ready is still sent, unless it
	// was reset or the connection ended.
	dialogueClosed
)

// opening is how far the Handler is with being told of a dialogue that the peer opens.
type opening uint8

const (
	// openingTold: it knows of the dialogue, or need not.
	openingTold opening = iota
	// openingBegun: it is being told.
	openingBegun
	// openingMissed: it is being told, and the dialogue has ended meanwhile, of which it
	// is told next.
	openingMissed
)

// control is a set of control frames that are to be sent for a dialogue.
type control uint8

const (
	ctlOpen control = 1 << iota
	ctlAccept
	ctlStop
	ctlReset
	ctlRaw      // credit for raw bytes
	ctlMessages // credit for small messages
	ctlLarge    // credit for large messages
)

// Dialogue is one stream of a connection: raw bytes both ways, and packets. All
// its methods are safe for concurrent use; concurrent Reads, and concurrent
// Writes, take turns.
type Dialogue struct {
	// Owner is the upper layer's; it is set before the dialogue is opened or
	// accepted, and read-only from then on.
	Owner any

	// Read-only, the id once it is open.
	m     *Mux
	id    uint64
	intro *packet.Open // the peer and meta that the opener attached; nil if none

	// Sending, life and scheduling; guarded by m.mu.
	next       [lanes]*Dialogue
	queued     uint8 // bits of the lanes it waits in
	state      dialogueState
	control    control
	accepted   bool // the peer said yes
	fin        bool // no raw bytes will be added
	finSent    bool // and the peer knows
	closing    bool // Close: FlagClose is to be sent when all else is
	closeSent  bool // and was
	peerGone   bool // the peer sends nothing more
	overdue    bool // closeSent already at the last heartbeat
	writing    bool // a Write has its turn; others may wait for theirs
	held       bool // in Mux.delayingClose
	cut        bool // this side has ended the raw bytes while a Write was under way
	counted    bool // in Mux.peerStreams
	leaving    bool // and is to be uncounted when it waits in no lane
	opening    opening
	credit     streamLedger
	waits      *waitQueues           // packets that wait for credit; nil if none
	raw        chunk.Queue           // raw bytes that wait
	packets    packetQueue           // packets that wait, all of which have their credit
	assemblies list.List[assembly]   // packets of which a part has come
	dropped    map[packetID]struct{} // packets that waited when the dialogue ended, and will never be sent
	werr       error                 // why writing failed; set once
	notice     *packet.Reason
	out        *sender // made on first use, by sender

	// Receiving raw bytes. It has a lock of its own.
	recv recvHalf
}

// NewDialogue makes a dialogue that Open can open.
func (m *Mux) NewDialogue(peer string, meta []byte) *Dialogue {
	return m.newDialogue(0, peer, meta)
}

func (m *Mux) newDialogue(id uint64, peer string, meta []byte) *Dialogue {
	d := &Dialogue{m: m, id: id}
	d.recv.init(m.local)
	if peer != "" || len(meta) > 0 {
		d.intro = &packet.Open{Peer: peer, Meta: meta}
	}
	if debugging {
		d.recv.mu.onUnlock(d.verify)
	}
	return d
}

// grant sets the first credit that the peer gives.
func (d *Dialogue) grant(w packet.Windows) {
	d.credit = newStreamLedger(w)
}

// DialogueID returns the id, the same on both sides.
func (d *Dialogue) DialogueID() uint64 { return d.id }

// NegotiatingID returns the id under which the dialogue was opened, which is the
// dialogue's own.
func (d *Dialogue) NegotiatingID() uint64 { return d.id }

// ClientID returns the client's id.
func (d *Dialogue) ClientID() uint64 { return d.m.c.ClientID() }

// Meta returns what the opener attached.
func (d *Dialogue) Meta() []byte { return d.introduction().Meta }

// Peer returns the name that the opener attached.
func (d *Dialogue) Peer() string { return d.introduction().Peer }

// introduction returns what the opener attached.
func (d *Dialogue) introduction() (o packet.Open) {
	if d.intro != nil {
		o = *d.intro
	}
	return o
}

// Side tells whether this side opened it.
func (d *Dialogue) Side() geminio.Side {
	switch {
	case d.id == DefaultID:
		return d.m.c.Side()
	case d.id == 0 || d.m.isLocalID(d.id): // 0: not yet opened
		return geminio.InitiatorSide
	}
	return geminio.RecipientSide
}

// LocalAddr returns the connection's local address.
func (d *Dialogue) LocalAddr() net.Addr { return d.m.c.LocalAddr() }

// RemoteAddr returns the connection's remote address.
func (d *Dialogue) RemoteAddr() net.Addr { return d.m.c.RemoteAddr() }

// Accept answers the peer's wish to open the dialogue with yes. With queue set
// it waits for Mux.Accept then.
func (d *Dialogue) Accept(queue bool) {
	m := d.m
	m.mu.Lock()
	if d.state == dialogueNew && m.cause == nil {
		d.state = dialogueOpen
		m.signal(d, ctlAccept)
		if queue {
			m.backlog = append(m.backlog, d)
			m.accepting.Signal()
		}
	} else {
		queue = false // the peer has taken it back
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
	if d.state == dialogueNew && m.cause == nil {
		d.end(io.ErrClosedPipe)
		m.remove(d)
		m.refusals = append(m.refusals, refusal{d.id, n})
	}
	m.unlockAndNotify()
	d.endRead(io.EOF)
	d.Forget()
	m.c.Kick()
}

// Forget says that nothing is left to do for a dialogue that the peer opened and
// that has ended: only then may the peer open another in its place.
func (d *Dialogue) Forget() {
	m := d.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if d.counted {
		d.counted = false
		switch {
		case m.cause != nil:
		case d.queued != 0: // what is to be sent of it takes room still
			d.leaving = true
		default:
			m.peerStreams--
		}
	}
}

// CloseWrite ends this side's raw bytes, after those that were written. Packets
// go on. It returns net.ErrClosed after Close. A Write that is under way is cut off, and
// the dialogue is reset then, behind what was written, since its reader must not take
// that for all: the default one cannot be, whose reader is told at the end of the
// connection.
func (d *Dialogue) CloseWrite() error {
	m := d.m
	m.mu.Lock()
	if d.state != dialogueOpen {
		m.mu.Unlock()
		return net.ErrClosed
	}
	if !d.fin {
		d.fin = true
		d.failWrite(net.ErrClosed)
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
	if d.state != dialogueOpen {
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
	first := d.state == dialogueOpen
	if first {
		d.end(net.ErrClosed)
		d.closing = true
		m.sched.push(d, laneRaw)
	}
	m.ledger.drop(&d.credit)
	m.purge(d)
	m.mu.Unlock()
	d.endRead(io.EOF)
	if !first {
		m.c.Kick() // for the credit of its messages
		return nil
	}
	m.c.Push(nil, false)
	m.h.Closed(d, io.EOF)
	return nil
}

// Reset ends the dialogue at once, in both directions, and tells the peer why.
func (d *Dialogue) Reset(n packet.Reason) {
	m := d.m
	m.mu.Lock()
	first := d.state == dialogueOpen
	if first {
		d.notice, d.finSent = &n, true
		err := &geminio.StreamError{Code: geminio.Code(n.Code), Text: n.Text}
		d.end(err)
		m.signal(d, ctlReset)
		d.drop()
		m.ledger.drop(&d.credit)
		m.purge(d)
		m.remove(d)
	}
	m.unlockAndNotify()
	d.endRead(io.EOF)
	if first {
		m.c.Push(nil, false)
		m.h.Closed(d, io.EOF)
	}
}

// end ends the sending side. What is ready stays so; the lender gets its bytes
// back by itself, and who waits for credit is told. m.mu is held.
func (d *Dialogue) end(err error) {
	d.state = dialogueClosed
	d.fin = true
	d.failWrite(err)
	d.rejectWaiters()
}

// failWrite records why writing fails and wakes the writers. m.mu is held.
func (d *Dialogue) failWrite(err error) {
	if d.werr == nil {
		d.werr = err
	}
	d.wakeWrite()
}

// endRead ends the receiving half. It takes the half's lock.
func (d *Dialogue) endRead(err error) {
	d.recv.mu.Lock()
	d.recv.end(err)
	d.recv.mu.Unlock()
}

// remove takes d out of the table: no frame may come for it any more. m.mu is
// held, and m.unlockAndNotify releases it.
func (m *Mux) remove(d *Dialogue) {
	if m.table[d.id] != d {
		return
	}
	delete(m.table, d.id)
	if d.opener() {
		m.localStreams--
		m.notifyRemoved = true
	}
	m.ledger.close(&d.credit)
	m.windows.remove(d.windowSizes(), d.introSize())
}

// introSize returns how much of the budget for windows is used by what the peer has said
// about d, bytes.
func (d *Dialogue) introSize() int {
	if d.id == DefaultID || d.m.isLocalID(d.id) || d.intro == nil {
		return 0
	}
	return len(d.intro.Peer) + len(d.intro.Meta)
}

// opener tells whether this side opened d.
func (d *Dialogue) opener() bool {
	return d.id != DefaultID && d.m.isLocalID(d.id)
}

// windowSizes returns the sum of the windows that this side gives, bytes.
func (d *Dialogue) windowSizes() uint64 {
	d.recv.mu.Lock()
	defer d.recv.mu.Unlock()
	return d.recv.windowSizes()
}
