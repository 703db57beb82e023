package multiplexer

import (
	"io"
	"math"
	"net"
	"sync"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/packet"
)

// Handler is the layer above a Mux. Its methods are called without locks, by the
// reading goroutine unless they say otherwise, and must not block.
type Handler interface {
	// Opened is told of a dialogue that the peer wants to open. It sets the
	// dialogue's Owner and sees to it that Accept or Refuse is called, then or
	// later.
	Opened(*Dialogue)
	// Accepted is told that the peer has accepted a dialogue of this side. Open may
	// have returned by then, and Closed may have been told.
	Accepted(*Dialogue)
	// Packet takes a packet of type typ with the number seq. The body is the
	// handler's to keep if owned is set, else it is valid during the call. An
	// error closes the connection. For requests and messages the handler calls
	// Dialogue.Release when it no longer holds the body.
	Packet(d *Dialogue, typ packet.Type, seq uint64, body []byte, owned bool) error
	// Closed is told that a dialogue, other than the default one, has ended: closed
	// by this side, by the other, reset, or with the connection. It is told once of
	// each that was Opened and not refused, or Accepted. The goroutine that ended
	// it calls.
	Closed(d *Dialogue, cause error)
	// OnRemoved is told that nothing is left of a dialogue, so that it does not count for Idle
	// any more. Any goroutine may call.
	OnRemoved()
	// OnPing is told of a heartbeat of the peer.
	OnPing()
	// GoAway is told that the peer wants no new work.
	GoAway(packet.Reason)
	// OnGoAwayAcked is told that the peer knows of this side's GoAway, and that all it had begun
	// before has arrived.
	OnGoAwayAcked()
	// End is told, once, that the connection has ended, and why, after Closed was
	// told of all dialogues but one that is just being Opened: of that it is told
	// when Opened has returned. Any goroutine may call.
	End(cause error)
}

// Limits are a Mux's. All numbers must be set.
type Limits struct {
	Backlog   int    // dialogues that the peer opened and nobody has accepted
	MaxWindow uint64 // the largest window that a dialogue may grow to, bytes
	Windows   uint64 // the sum of all windows, bytes
	SendQueue int    // raw bytes of a dialogue that wait to be written
}

// DefaultID is the id of the dialogue that exists from the start.
const DefaultID = 1

// Mux carries dialogues over one connection. Its methods are safe for concurrent
// use.
type Mux struct {
	// Read-only.
	c       *conn.Conn
	h       Handler
	limits  Limits
	main    *Dialogue // the one with DefaultID
	peer    packet.Settings
	local   packet.Settings
	smallTx int // the largest packet body that the peer takes as small
	smallRx int // and the one that this side takes as small

	// The reading goroutine's.
	sink          dataSink
	pendingReader *Dialogue // has bytes for a reader that was not yet woken
	lastPeerID    uint64    // the highest id that the peer has opened
	discardBuf    []byte    // what nobody wants is read into this

	mu            checkedMutex
	sched         scheduler
	table         map[uint64]*Dialogue // all that frames may come for
	cause         error                // why it ended, once it has
	goingAway     bool                 // nothing new is to begin: one side said GoAway
	nextID        uint64               // for the next dialogue that this side opens
	delayingClose int                  // dialogues for whose Writes the Close frame waits
	localStreams  int                  // dialogues in the table that this side opened
	notifyRemoved bool                 // one of them was taken out: unlock tells the Handler
	peerStreams   int                  // and those that the peer did, until their end is told
	unaccepted    int                  // of incoming: not yet taken by the user, or refused
	refusals      []refusal            // to be sent
	largeQueued   index[outgoing]      // large packets that wait to be sent, or are being sent
	assemblies    index[assembly]      // packets of which a part has come
	ledger        ledger
	windows       windowBudget
	waits         waitTable   // packets that wait for credit
	backlog       []*Dialogue // accepted, waiting for AcceptDialogue
	accepting     *sync.Cond  // on mu: waiting for the backlog
}

type refusal struct {
	id     uint64
	notice packet.Reason
}

// maxRefusals bounds the refusals that wait to be sent: so many that the opens of
// an honest peer, which come in one burst before the writer has had its turn, do
// not reach it.
const maxRefusals = 8 << 10

// New makes a Mux over c. Start lets it work.
func New(c *conn.Conn, h Handler, lim Limits) *Mux {
	m := &Mux{
		c: c, h: h, limits: lim, peer: c.Peer(), local: c.Local(),
		table: make(map[uint64]*Dialogue, 1),
	}
	m.accepting = sync.NewCond(&m.mu)
	// A longer frame would be a turn that nobody else could interrupt.
	m.peer.MaxFrame = min(m.peer.MaxFrame, packet.DefaultMaxFrame)
	m.lastPeerID = DefaultID
	m.smallTx, m.smallRx = smallBody(m.peer), smallBody(m.local)
	m.nextID = 2
	if c.Side() == geminio.InitiatorSide {
		m.nextID = 3
	}
	m.ledger = newLedger(m.local, m.peer)
	m.windows = newWindowBudget(lim.Windows, lim.MaxWindow, m.local)
	d := m.newDialogue(DefaultID, "", c.Meta())
	d.state = dialogueOpen
	d.grant(packet.Windows{Raw: m.peer.Raw, Messages: m.peer.Messages})
	m.table[DefaultID] = d
	m.main = d
	m.windows.used, m.windows.streams = m.windows.initial, 1
	if debugging {
		m.mu.onUnlock(m.verify)
	}
	return m
}

// smallBody is the largest body of a packet that goes without credit of the
// connection: half of the first window for messages, so that it always fits what
// is granted at the latest, and not more than a frame.
func smallBody(w packet.Settings) int {
	return int(min(w.Messages/2-messageOverhead, w.MaxFrame-packet.FragmentLen, 8<<10))
}

// Start reads frames until the connection ends.
func (m *Mux) Start() {
	m.c.Start((*frameHandler)(m))
	go m.c.Run()
}

// Main returns the dialogue that exists from the start.
func (m *Mux) Main() *Dialogue { return m.main }

// Conn returns the connection.
func (m *Mux) Conn() *conn.Conn { return m.c }

// MaxBody is the largest body of a packet that the peer accepts, without the
// fixed part of its head.
func (m *Mux) MaxBody() int { return int(min(m.peer.MaxMessage, math.MaxInt32)) }

// Dialogues returns all that are open, the default one first, in no other order.
func (m *Mux) Dialogues() []*Dialogue {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := []*Dialogue{m.main}
	if m.cause != nil {
		return nil
	}
	for _, d := range m.table {
		if d != m.main && d.state == dialogueOpen {
			all = append(all, d)
		}
	}
	return all
}

// GoAway lets nothing new begin, at either side.
func (m *Mux) GoAway(n packet.Reason) {
	m.mu.Lock()
	m.goingAway = true
	m.main.rejectWaiters()
	m.mu.Unlock()
	m.c.GoAway(n)
}

// unlockAndNotify releases m.mu, and tells the Handler what that could not be told under it.
func (m *Mux) unlockAndNotify() {
	gone := m.notifyRemoved
	m.notifyRemoved = false
	m.mu.Unlock()
	if gone {
		m.h.OnRemoved()
	}
}

// Idle tells whether no dialogue but the default one is open, nor being opened.
func (m *Mux) Idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.localStreams+m.peerStreams == 0
}

// Close ends all dialogues at once, but still delivers what was written to them,
// as far as that is possible within the connection's time for lingering. It does
// not wait for that; the connection's Done tells when it is over.
func (m *Mux) Close(cause error, bye packet.Reason) { m.c.Close(cause, bye) }

// Accept returns the next dialogue that the peer has opened and that was
// accepted with queue set. It returns io.EOF after the end: of this side at once,
// of the peer when none is left.
func (m *Mux) Accept() (*Dialogue, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.backlog) == 0 && m.cause == nil {
		m.accepting.Wait()
	}
	if len(m.backlog) == 0 {
		return nil, io.EOF
	}
	d := m.backlog[0]
	m.backlog[0] = nil
	m.backlog = m.backlog[1:]
	m.unaccepted--
	return d, nil
}

// Open opens d, which NewDialogue has made, and waits for the peer's answer, at
// most until d's write deadline; then it returns os.ErrDeadlineExceeded. A refusal
// is a *geminio.RefusedError.
func (m *Mux) Open(d *Dialogue) error {
	m.mu.Lock()
	if err := m.reserveOpen(d); err != nil {
		m.mu.Unlock()
		return err
	}
	d.id = m.nextID
	m.nextID += 2
	m.localStreams++
	m.table[d.id] = d
	d.state = dialogueOpening
	m.signal(d, ctlOpen)
	m.mu.Unlock()
	m.c.Push(nil, false)

	m.mu.Lock()
	defer m.unlockAndNotify()
	for d.state == dialogueOpening && d.out.late() == nil {
		d.waitWrite()
	}
	switch {
	case d.state == dialogueOpening:
		d.cancelOpen()
		return d.out.late()
	case d.accepted:
		if d.out != nil && d.out.deadline == nil && !d.writing {
			d.out = nil // nobody else waits
		}
		return nil
	case m.cause != nil:
		return io.EOF
	default:
		return d.werr
	}
}

// reserveOpen returns why d cannot be opened, or takes its first windows from the budget. m.mu
// is held.
func (m *Mux) reserveOpen(d *Dialogue) error {
	intro := d.introduction()
	switch size := intro.Size(); {
	case m.cause != nil:
		return io.EOF
	case m.goingAway:
		return geminio.ErrGoingAway
	case len(intro.Peer) > packet.MaxName:
		return &geminio.LimitError{What: "peer", Value: uint64(len(intro.Peer)), Limit: packet.MaxName, Err: geminio.ErrTooLarge}
	case size > int(m.peer.MaxFrame):
		return &geminio.LimitError{What: "meta and peer", Value: uint64(size), Limit: uint64(m.peer.MaxFrame), Err: geminio.ErrTooLarge}
	case !m.windows.add(0):
		return &geminio.LimitError{What: "streams within the memory budget (SetMemoryBudget)", Value: uint64(len(m.table)), Limit: uint64(len(m.table)) - 1, Err: geminio.ErrTooMany}
	}
	return nil
}

// cancelOpen ends a dialogue that the peer has not answered. m.mu is held.
func (d *Dialogue) cancelOpen() {
	d.notice, d.finSent = &packet.Reason{Code: uint32(geminio.CodeCanceled)}, true
	d.end(net.ErrClosed)
	d.m.signal(d, ctlReset)
	d.m.remove(d)
	d.m.c.Kick()
}

// signal has d's control frame sent. m.mu is held; Push or Kick must follow.
func (m *Mux) signal(d *Dialogue, ctl control) {
	d.control |= ctl
	m.sched.push(d, laneControl)
}
