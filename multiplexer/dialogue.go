package multiplexer

import (
	"net"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/list"
	"github.com/singchia/geminio/packet"
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
	// Owner belongs to the upper layer, which sets it before the dialogue is opened or
	// accepted.
	Owner any

	// Read-only; the id from the time the dialogue is open.
	m     *Mux
	id    uint64
	intro *packet.Open // the peer and meta that the opener attached; nil if none

	// The state of the dialogue. Mux.mu guards it, and all fields below except recv.
	life   lifeState
	opened openedCall
	slot   slotState

	// What waits to be sent, beside packets and raw bytes.
	queued      uint8            // bits of the lanes in which the dialogue waits
	control     control          // frames that are to be sent
	next        [lanes]*Dialogue // the dialogue behind this one in each lane
	resetReason *packet.Reason   // of the Reset in control; nil if there is none

	// Packets.
	credit     streamLedger
	waits      *waitQueues           // packets that wait for credit; nil if none
	packets    packetQueue           // packets that have their credit and wait to be sent
	assemblies list.List[assembly]   // packets of which a part has arrived
	dropped    map[packetID]struct{} // packets that waited in the queue when the dialogue ended, and will not be sent

	// Raw bytes.
	send sendHalf
	recv recvHalf // has a lock of its own
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
