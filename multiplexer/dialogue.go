package multiplexer

import (
	"net"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/list"
	"github.com/singchia/geminio/internal/pairs"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/packet"
)

// control is a set of control frames that are to be sent for a dialogue. Their content is
// computed when they are sent.
type control uint8

const (
	ctlOpen     control = 1 << iota
	ctlAccept           // an Accept frame
	ctlStop             // a Stop frame
	ctlReset            // a Reset frame with Dialogue.resetReason
	ctlRaw              // a Credit frame for raw bytes
	ctlMessages         // a Credit frame for small messages
	ctlLarge            // a Credit frame for large messages
)

// Dialogue is the multiplexer's part of a stream: raw bytes in both directions, and packets.
// life.go describes the states of its life, send_half.go and recv_half.go the states of its
// raw bytes in each direction.
//
// All methods are safe for concurrent use. Concurrent Reads take turns, and so do concurrent
// Writes.
type Dialogue struct {
	// Owner belongs to the upper layer, which sets it before the dialogue is opened or
	// accepted.
	Owner any

	// These fields are read-only from the time the dialogue is in the table.
	m     *Mux
	id    uint64       // 0 before Mux.Open
	intro *packet.Open // the name, the metadata and the meta from the opener; nil if there are none

	// Mux.mu guards the fields below, except recv.

	life   lifeState
	opened openedCall // the call of Handler.Opened
	slot   slotState  // the place among the streams of the peer

	queued      uint8            // bit set of the lanes in which the dialogue waits
	control     control          // control frames to be sent
	next        [lanes]*Dialogue // the next dialogue in each lane
	resetReason *packet.Reason   // the reason in the Reset frame; nil if there is none to be sent

	credit     streamLedger
	waits      *waitQueues           // packets that wait for credit; nil if there are none
	packets    packetQueue           // packets that have their credit and wait to be sent
	assemblies list.List[assembly]   // packets that have arrived in part
	dropped    map[packetID]struct{} // packets that the end of the dialogue has removed from the queue; nil if there are none

	begun        time.Duration // when it was opened, by the connection's clock
	packetsSent  packetCounts
	packetsBegun packetCounts // of the peer

	send sendHalf // raw bytes of this side
	recv recvHalf // raw bytes of the peer; has its own lock
}

// NewDialogue returns a new dialogue for Mux.Open. Its name, its metadata and its meta are sent
// to the peer with the Open frame. Metadata is left out if the peer takes none.
func (m *Mux) NewDialogue(peer string, md pairs.List, meta []byte) *Dialogue {
	if m.c.Peer().MaxMetadata == 0 {
		md = nil
	}
	return m.newDialogue(0, packet.Open{Peer: peer, Metadata: md, Meta: meta})
}

// newDialogue returns a new dialogue in the state lifeNew, with the introduction o.
func (m *Mux) newDialogue(id uint64, o packet.Open) *Dialogue {
	d := &Dialogue{m: m, id: id}
	if o.Content() > 0 {
		d.intro = &o
	}
	if debugging {
		d.recv.mu.onUnlock(d.verify)
	}
	return d
}

// grant sets the first credit of the dialogue's own classes, which the peer gives with its
// Open or Accept. m.mu is held.
func (d *Dialogue) grant(w packet.Windows) {
	d.credit = newStreamLedger(w, d.m.smallTx)
}

// DialogueID returns the id, the same on both sides.
func (d *Dialogue) DialogueID() uint64 { return d.id }

// Began returns when the dialogue was opened, by the connection's clock. The peer's Open has arrived
// then, or that of this side was made.
func (d *Dialogue) Began() time.Duration {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	return d.begun
}

// ResetError returns the error with which this side has reset the dialogue, nil if it has not.
func (d *Dialogue) ResetError() error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if n := d.resetReason; n != nil {
		return &geminio.StreamError{Code: geminio.Code(n.Code), Text: n.Text}
	}
	return nil
}

// NegotiatingID returns the id under which the dialogue was opened. It is the DialogueID.
func (d *Dialogue) NegotiatingID() uint64 { return d.id }

// ClientID returns the id of the client at one end of the connection.
func (d *Dialogue) ClientID() uint64 { return d.m.c.ClientID() }

// Meta returns the meta that the opener has attached. The caller must not change it.
func (d *Dialogue) Meta() []byte { return d.introduction().Meta }

// Metadata returns a copy of the metadata that the opener has attached; nil if there is none.
// That of the default dialogue is the metadata of the peer's handshake.
func (d *Dialogue) Metadata() metadata.MD {
	if d.id == DefaultID {
		return d.m.c.Metadata()
	}
	return d.introduction().Metadata.Decode()
}

// Peer returns the name that the opener has attached.
func (d *Dialogue) Peer() string { return d.introduction().Peer }

// introduction returns the name, the metadata and the meta from the opener.
func (d *Dialogue) introduction() (o packet.Open) {
	if d.intro != nil {
		o = *d.intro
	}
	return o
}

// Side returns geminio.InitiatorSide if this side has opened the dialogue, or will, and
// geminio.RecipientSide if the peer has. For the default dialogue, it returns the side of
// the connection.
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

// introSize returns how many bytes the introduction takes of the budget for windows. It returns
// 0 unless the peer has opened the dialogue.
func (d *Dialogue) introSize() int {
	if d.id == DefaultID || d.m.isLocalID(d.id) || d.intro == nil {
		return 0
	}
	return d.intro.Content()
}

// opener reports whether this side has opened the dialogue.
func (d *Dialogue) opener() bool {
	return d.id != DefaultID && d.m.isLocalID(d.id)
}

// windowSizes returns the sum of the windows that this side gives, in bytes. It takes the
// lock of the receiving half.
func (d *Dialogue) windowSizes() uint64 {
	d.recv.mu.Lock()
	defer d.recv.mu.Unlock()
	return d.recv.windowSizes()
}
