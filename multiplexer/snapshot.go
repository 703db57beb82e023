package multiplexer

// This file reports waits for credit, and takes snapshots.

import (
	"context"
	"time"

	"github.com/singchia/geminio/packet"
)

// packetCounts counts the requests and the messages of one direction of a dialogue.
type packetCounts struct{ requests, messages uint64 }

// add counts a packet of type typ, if packets of the type are counted.
func (n *packetCounts) add(typ packet.Type) {
	switch typ {
	case packet.TypeRequest:
		n.requests++
	case packet.TypeMessage:
		n.messages++
	}
}

// Stall is a wait for credit that is over.
type Stall struct {
	Dialogue *Dialogue
	Class    packet.Class
	Begin    time.Duration // by the connection's clock
	Lasted   time.Duration
	Err      error // why it has ended without credit; nil if there is credit
}

// OnStall has f called after each wait for credit, by the goroutine that has waited. It is called
// before Start, at most once.
func (m *Mux) OnStall(f func(Stall)) { m.stalled = f }

// waitObserved is waitCredit that reports the wait.
func (d *Dialogue) waitObserved(ctx context.Context, timeout time.Duration, w *creditWaiter) error {
	m := d.m
	if m.stalled == nil {
		return d.waitCredit(ctx, timeout, w)
	}
	class := packet.ClassMessages
	if kind := kindOf(w.charge); kind < sharedKinds {
		class = classOf[kind]
	}
	begin := m.c.Now()
	err := d.waitCredit(ctx, timeout, w)
	m.stalled(Stall{d, class, begin, m.c.Now() - begin, err})
	return err
}

// Snapshot is the state of a Mux at one moment.
type Snapshot struct {
	Unaccepted       int    // streams of the peer that wait for Accept
	Waiting          int    // packets that wait for credit
	MessagesSentOnce uint64 // messages of this side that have no answer
	MessagesBegun    uint64 // messages of the peer that have begun to arrive
	Used             uint64 // bytes of windows, introductions, and large packets that have arrived
}

// Snapshot returns the present state. Its time does not depend on the number of dialogues.
func (m *Mux) Snapshot() Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Snapshot{
		Unaccepted: m.streams.unaccepted, Waiting: m.waits.count,
		MessagesSentOnce: m.messagesSentOnce, MessagesBegun: m.messagesBegun,
		Used: m.windows.used + m.windows.intros,
	}
	for class := packet.ClassLargeMessages; class < packet.Classes; class++ {
		s.Used += uint64(m.ledger.rx[class].held)
	}
	if m.cause != nil {
		s.Unaccepted, s.Used = len(m.backlog), 0
	}
	return s
}

// HalfPhase is how far one direction of the raw bytes of a dialogue is.
type HalfPhase uint8

const (
	HalfOpen   HalfPhase = iota // bytes can follow
	HalfEnding                  // no bytes follow, and some were not sent or read
	HalfEnded                   // all bytes were sent or read, or are discarded
)

// Inflow is a window that this side gives, in bytes.
type Inflow struct{ Size, Left, Held uint32 }

// DialogueSnapshot is the state of a Dialogue at one moment.
type DialogueSnapshot struct {
	Begin                        time.Duration // when it was opened, by the connection's clock
	Sending, Receiving           HalfPhase
	BytesSent, BytesBegun        uint64 // raw bytes that batches contain, and that have begun to arrive
	RequestsSent, MessagesSent   uint64
	RequestsBegun, MessagesBegun uint64 // of the peer
	RawCredit, MessageCredit     uint32
	RawWindow, MessageWindow     Inflow
	Queued                       int           // bytes that wait to be sent
	Waiting                      int           // packets that wait for credit
	BlockedSince                 time.Duration // when the Write that has its turn began to wait for credit; 0: it does not
	Writes                       int           // that have their turn or wait for it
}

// Snapshot returns the present state.
func (d *Dialogue) Snapshot() (s DialogueSnapshot) {
	m := d.m
	m.mu.Lock()
	defer m.mu.Unlock()
	h := &d.send
	s.Begin = d.begun
	s.BytesSent = h.sent
	s.RequestsSent, s.MessagesSent = d.packetsSent.requests, d.packetsSent.messages
	s.RequestsBegun, s.MessagesBegun = d.packetsBegun.requests, d.packetsBegun.messages
	s.RawCredit, s.MessageCredit = d.credit.tx[packet.ClassRaw].avail, d.credit.tx[packet.ClassMessages].avail
	s.Queued = h.buf.Len() + len(h.lent()) + d.packets.bytes()
	if d.waits != nil {
		for kind := range waitKinds {
			s.Waiting += d.waits[kind].waiters.Len()
		}
	}
	if h.writing {
		s.Writes++
	}
	if w := h.writers; w != nil {
		s.Writes += w.waiting
		s.BlockedSince = w.blocked
	}
	switch h.state {
	case sendReady, sendOpen:
	case sendEnded:
		s.Sending = HalfEnded
	default:
		s.Sending = HalfEnding
	}
	d.recv.mu.Lock()
	defer d.recv.mu.Unlock()
	r := &d.recv
	s.BytesBegun = r.begun
	for class, w := range []*Inflow{packet.ClassRaw: &s.RawWindow, packet.ClassMessages: &s.MessageWindow} {
		*w = Inflow{r.rx[class].size, r.rx[class].left, r.rx[class].held}
	}
	switch {
	case r.state == recvOpen:
	case r.state == recvFin && r.buf.Len() > 0 || r.state == recvDiscard && r.buf.Len() > 0:
		s.Receiving = HalfEnding
	default:
		s.Receiving = HalfEnded
	}
	return s
}
