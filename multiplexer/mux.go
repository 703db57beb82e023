package multiplexer

import (
	"math"
	"sync"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
)

// Handler is the layer above a Mux. A Mux calls its methods without holding a lock.
// The methods must not block. The reading goroutine calls them unless their comments
// say otherwise.
type Handler interface {
	// Opened reports that the peer asks to open a dialogue. The Handler sets the
	// dialogue's Owner before Opened returns, and calls Accept or Refuse once, during
	// Opened or later.
	Opened(*Dialogue)
	// Accepted reports that the peer has accepted a dialogue of this side. Mux.Open
	// may have returned before, and Closed may have been called before.
	Accepted(*Dialogue)
	// Packet handles a packet of type typ with the number seq. If owned is set, the
	// Handler owns body; otherwise body is valid only during the call. An error ends
	// the connection. The Handler calls Dialogue.Release for each request,
	// registration and message when it no longer holds it.
	Packet(d *Dialogue, typ packet.Type, seq uint64, body []byte, owned bool) error
	// Closed reports that a dialogue other than the default one has ended, and why. It
	// is called once for each dialogue that was Accepted, or was Opened and not
	// refused. The goroutine that ends the dialogue calls it.
	Closed(d *Dialogue, cause error)
	// OnIdle reports that Idle may have become true: a dialogue has left the table, or a
	// packet of the default one has been sent or has arrived. Any goroutine may call it.
	OnIdle()
	// OnPing reports a heartbeat of the peer.
	OnPing()
	// GoAway reports that the peer accepts no new work, and why.
	GoAway(packet.Reason)
	// OnGoAwayAcked reports that the peer has received this side's last GoAway and
	// everything that this side had sent before it, and that all work that the peer began
	// before it received the GoAway has arrived.
	OnGoAwayAcked()
	// End reports once that the connection has ended, and why. Closed has been called
	// for all dialogues by then, with one exception: if Opened has not returned for a
	// dialogue, Closed is called after Opened returns. Any goroutine may call End.
	End(cause error)
}

// Limits are the limits of a Mux. All fields must be set.
type Limits struct {
	Backlog   int    // the largest number of dialogues that the peer opened and Accept has not returned
	MaxWindow uint64 // the size to which a window may grow, bytes
	Windows   uint64 // the largest sum of all windows, names and metas, bytes
	Spare     uint64 // the part of Windows for what windows have beyond their least sizes, bytes
	SendQueue int    // the size of a dialogue's queue of raw bytes to be sent, bytes
}

// DefaultID is the id of the dialogue that exists from the start.
const DefaultID = 1

// Mux carries dialogues over one connection. Its methods are safe for concurrent use.
//
// The reading goroutine handles the frames of the peer (receive.go). The goroutine that
// holds the write token of the connection makes the frames of this side (frames.go).
type Mux struct {
	// These fields are read-only after New.

	c        *conn.Conn
	h        Handler
	limits   *Limits
	main     *Dialogue   // the dialogue with DefaultID
	maxFrame int         // the largest payload of a frame to the peer, bytes
	smallTx  int         // the largest body of a small packet to the peer, bytes
	smallRx  int         // the largest body of a small packet from the peer, bytes
	stalled  func(Stall) // is told of waits for credit; nil if nobody is

	// The reading goroutine owns these fields.

	sink       dataSink // receives the payloads of Data frames
	lastPeerID uint64   // the highest id that the peer has opened

	// mu guards all fields below.
	mu checkedMutex

	messagesSentOnce uint64 // messages of this side that have no answer
	messagesBegun    uint64 // messages of the peer that have begun to arrive

	table         dialogueTable // the dialogues for which frames may arrive
	streams       streamCounts
	backlog       []*Dialogue // accepted dialogues of the peer that Accept has not returned
	accepting     *sync.Cond  // signals a change of backlog or cause; nil before Accept has waited
	goAway        goAwayState
	cause         error // why the connection ended; nil while it has not
	delayingClose int32 // dialogues whose Writes delay the Close frame
	notifyIdle    bool  // Handler.OnIdle is to be called when mu is released

	sched       scheduler       // the dialogues that have frames to send
	refusals    []refusal       // Refuse frames to be sent
	largeQueued index[outgoing] // large packets that are not sent completely
	assemblies  index[assembly] // packets of the peer that have not arrived completely

	ledger  ledger       // credit of the classes that all dialogues share
	windows windowBudget // the sizes of all windows
	path    path         // what the path to the peer can carry
	waits   waitTable    // packets that wait for credit
}

// streamCounts counts the dialogues other than the default one.
type streamCounts struct {
	nextID     uint64 // the id of the next dialogue that this side opens
	local      int    // dialogues in Mux.table that this side opened
	peer       int    // dialogues that the peer opened and for which Forget was not called
	unaccepted int    // dialogues counted in peer that were neither refused nor returned by Mux.Accept
}

// refusal is a Refuse frame that is to be sent.
type refusal struct {
	id     uint64 // of the dialogue
	reason packet.Reason
}

// maxRefusals bounds Mux.refusals. The refusals for a burst of Opens of a correct peer
// wait until the next batch and stay below the bound.
const maxRefusals = 8 << 10

// New returns a Mux over c, whose ids and settings of both sides are known. Nothing is sent
// before Start, which is called when the handshake is done: until then, operations wait.
func New(c *conn.Conn, h Handler, lim *Limits) *Mux {
	m := &Mux{c: c, h: h, limits: lim}
	local, peer := c.Local(), c.Peer()
	// A frame is a turn of the scheduler: a longer frame would delay all other dialogues.
	m.maxFrame = int(min(peer.MaxFrame, packet.DefaultMaxFrame))
	m.lastPeerID = DefaultID
	m.smallTx, m.smallRx = charge.MaxSmall(*peer), charge.MaxSmall(*local)
	m.streams.nextID = 2
	if c.Side() == geminio.InitiatorSide {
		m.streams.nextID = 3
	}
	m.ledger = newLedger(*local, *peer)
	m.windows = newWindowBudget(*lim, *local)
	m.path.begin(c.Now())
	d := m.newDialogue(DefaultID, packet.Open{Meta: c.Meta()})
	d.life, d.send.state = lifeOpen, sendOpen
	d.grant(packet.Windows{Raw: peer.Raw, Messages: peer.Messages})
	m.table.add(d)
	m.main = d
	d.recv.init(packet.Windows{Raw: local.Raw, Messages: local.Messages}, m.smallRx)
	m.windows.used, m.windows.streams = d.recv.windowSizes(), 1
	if debugging {
		m.mu.onUnlock(m.verify)
	}
	return m
}

// Start starts the reading goroutine, which runs until the connection ends.
func (m *Mux) Start() {
	m.c.Start((*frameHandler)(m))
	go m.read()
}

// read is the reading goroutine.
func (m *Mux) read() {
	if m.c.Run() {
		go m.read()
	}
}

// Abandon ends a Mux for which Start was not called and is not called any more, because the
// handshake has failed.
func (m *Mux) Abandon(cause error) { (*frameHandler)(m).End(cause, false) }

// Main returns the default dialogue, which has DefaultID.
func (m *Mux) Main() *Dialogue { return m.main }

// Conn returns the connection.
func (m *Mux) Conn() *conn.Conn { return m.c }

// MaxBody returns the largest body of a packet that the peer accepts, in bytes, without
// the head of the packet.
func (m *Mux) MaxBody() int { return int(min(m.c.Peer().MaxMessage, math.MaxInt32)) }

// MaxMetadata returns the size of the largest metadata that the peer accepts, in bytes; 0 if it
// takes none.
func (m *Mux) MaxMetadata() uint32 { return m.c.Peer().MaxMetadata }

// Dialogues returns the open dialogues: the default one first, the others in no particular
// order. It returns nil after the end of the connection.
func (m *Mux) Dialogues() []*Dialogue {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cause != nil {
		return nil
	}
	all := []*Dialogue{m.main}
	for d := range m.table.all {
		if d != m.main && d.life == lifeOpen {
			all = append(all, d)
		}
	}
	return all
}

// unlockAndNotify releases m.mu, and then calls Handler.OnIdle if Idle may have become true
// while m.mu was held.
func (m *Mux) unlockAndNotify() {
	notify := m.notifyIdle
	m.notifyIdle = false
	m.mu.Unlock()
	if notify {
		m.h.OnIdle()
	}
}

// Close ends all dialogues and sends reason to the peer. Bytes and packets that were
// accepted before are still delivered, if that takes no longer than the linger time of
// the connection. Close does not wait for the delivery; Conn.Done is closed after it.
func (m *Mux) Close(cause error, reason packet.Reason) { m.c.Close(cause, reason) }

// signal has the control frames ctl sent for d, in addition to those already in
// d.control. The caller holds m.mu, and calls Push or Kick of the connection afterwards.
func (m *Mux) signal(d *Dialogue, ctl control) {
	d.control |= ctl
	m.sched.push(d, laneControl)
}
