package multiplexer

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
)

func TestWithinShare(t *testing.T) {
	for _, test := range []struct {
		name                  string
		n, avail, outstanding uint32
		want                  bool
	}{
		{"all of the credit, with nothing outstanding", 100, 100, 0, true},
		{"more than is available", 101, 100, 0, false},
		{"three times as much outstanding as is left", 1, 26, 75, true},
		{"more than three times as much outstanding", 1, 26, 78, false},
		{"the last unit, with nothing outstanding", 1, 1, 0, true},
		{"the second of two units", 1, 1, 1, true},
		{"the fourth of four units", 1, 1, 3, false},
		{"one of two units, with nothing outstanding", 1, 2, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, withinShare(test.n, test.avail, test.outstanding))
		})
	}
}

// One stream leaves about a quarter of a class, in whatever amounts it takes.
func TestSharesLeaveAQuarter(t *testing.T) {
	r := newRand(t)
	for range 1000 {
		total := 100 + r.Uint32N(1000)
		avail, held := total, uint32(0)
		for range 1000 {
			n := 1 + r.Uint32N(20)
			if withinShare(n, avail, held) {
				avail, held = avail-n, held+n
			}
		}
		require.GreaterOrEqual(t, avail, total/4-6, "left of %d", total)
	}
}

// ledgerPair is a model of two Muxes: the ledgers of both sides of a connection, and the
// packets that are under way from one to the other.
type ledgerPair struct {
	t        *testing.T
	r        *rand.Rand
	sender   ledger
	receiver ledger
	streams  []*ledgerStream
	packets  []*pairPacket
	seq      uint64 // the number of the last packet
}

// ledgerStream is a stream of a ledgerPair.
type ledgerStream struct {
	sender   streamLedger
	receiver *streamLedger
	messages *inflow // the window for messages at the receiver
	open     bool    // the receiver has not closed the stream
}

// pairPacket is a packet of a ledgerPair.
type pairPacket struct {
	s        *ledgerStream
	seq      uint64
	c        charge.Charge
	begun    bool // a fragment was sent
	held     bool // a fragment has arrived
	whole    bool // all fragments were sent
	released bool // the receiver has released the packet
}

// pairSmall is the largest body of a small packet in a ledgerPair.
const pairSmall = 100

// newLedgerPair returns a pair with three streams and random settings.
func newLedgerPair(t *testing.T, r *rand.Rand) *ledgerPair {
	w := packet.Settings{Handlers: 1 + r.Uint32N(10), Large: 1000 + r.Uint32N(2000)}
	k := &ledgerPair{t: t, r: r, sender: newLedger(w, w), receiver: newLedger(w, w)}
	for range 3 {
		// The window pays all small messages, some, or none.
		w.Messages = []uint32{2 * (pairSmall + charge.MessageOverhead), 300, 0}[r.IntN(3)]
		s := &ledgerStream{sender: newStreamLedger(packet.Windows{Raw: 1, Messages: w.Messages}, pairSmall), receiver: &streamLedger{}, open: true}
		window := newInflow(w.Messages)
		s.messages = &window
		k.streams = append(k.streams, s)
	}
	return k
}

// admit takes the credit for a new packet if there is enough.
func (k *ledgerPair) admit() {
	s := k.streams[k.r.IntN(len(k.streams))]
	typ := []packet.Type{packet.TypeRequest, packet.TypeResponse, packet.TypeMessage, packet.TypeRegister}[k.r.IntN(4)]
	size := k.r.IntN(pairSmall)
	if k.r.IntN(2) == 0 {
		size = pairSmall + 1 + k.r.IntN(900)
	}
	c := charge.For(typ, size, pairSmall, s.sender.own)
	if c == (charge.Charge{}) || !k.sender.affords(&s.sender, c) {
		return
	}
	k.seq++
	k.sender.take(&s.sender, k.seq, c)
	k.packets = append(k.packets, &pairPacket{s: s, seq: k.seq, c: c})
}

// receiving returns the receiver's ledger of s if the stream is open, or nil.
func (s *ledgerStream) receiving() *streamLedger {
	if s.open {
		return s.receiver
	}
	return nil
}

// begin sends the first fragment of a packet, which uses the whole charge.
func (k *ledgerPair) begin(p *pairPacket) {
	p.begun = true
	if !p.c.Shared() {
		if p.s.open {
			require.NoError(k.t, p.s.messages.receive(p.c.Class, uint64(p.c.Bytes)))
			p.held = true
		}
		p.whole = true
		return
	}
	s := p.s.receiving()
	require.NoError(k.t, k.receiver.receive(s, p.c))
	if s == nil {
		k.receiver.release(nil, p.c, false)
		p.released = true
	}
	p.held = true
}

// release releases a packet at the receiver.
func (k *ledgerPair) release(p *pairPacket) {
	p.released = true
	if p.c.Shared() {
		k.receiver.release(p.s.receiver, p.c, p.s.open)
	} else if p.held && p.s.open {
		p.s.messages.release(uint64(p.c.Bytes))
	}
}

// grant grants all credit that the receiver owes, as a Mux does.
func (k *ledgerPair) grant() {
	for class := packet.ClassHandlers; class < packet.Classes; class++ {
		if n := k.receiver.grant(class); n > 0 {
			require.NoError(k.t, k.sender.addCredit(nil, class, n))
		}
	}
	for _, s := range k.streams {
		if n := k.receiver.grantStream(s.receiver); n > 0 {
			require.NoError(k.t, k.sender.addCredit(&s.sender, packet.ClassLargeMessages, n))
		}
		if s.open && s.messages.due() {
			require.NoError(k.t, k.sender.addCredit(&s.sender, packet.ClassMessages, s.messages.grant()))
		}
	}
}

// step performs a random operation.
func (k *ledgerPair) step() {
	if len(k.packets) == 0 || k.r.IntN(3) == 0 {
		k.admit()
		return
	}
	i := k.r.IntN(len(k.packets))
	p := k.packets[i]
	switch what := k.r.IntN(10); {
	case what == 0:
		k.grant()
	case !p.begun && what < 3:
		k.sender.refund(&p.s.sender, p.seq, p.c)
		k.drop(i)
	case !p.begun:
		k.begin(p)
	case !p.whole && what < 3:
		if p.c.Handlers > 0 {
			p.s.sender.resolve(p.seq)
		}
		if !p.released {
			k.release(p)
		}
		k.drop(i)
	case !p.whole:
		p.whole = true
	default:
		if !p.released {
			k.release(p)
		}
		if p.c.Handlers > 0 {
			p.s.sender.resolve(p.seq)
		}
		k.drop(i)
	}
}

// drop removes the packet with index i.
func (k *ledgerPair) drop(i int) { k.packets = slices.Delete(k.packets, i, i+1) }

// check compares the ledgers with the packets.
func (k *ledgerPair) check() {
	for class := packet.ClassHandlers; class < packet.Classes; class++ {
		var queued, held uint32
		for _, p := range k.packets {
			if !p.begun {
				queued += p.c.Amount(class)
			} else if !p.released {
				held += p.c.Amount(class)
			}
		}
		f := &k.receiver.rx[class]
		require.Equal(k.t, held, f.held, "%v: held", class)
		require.EqualValues(k.t, f.size, uint64(f.left)+uint64(f.held)+f.owed(), "%v: size", class)
		require.Equal(k.t, k.sender.tx[class].avail+queued, f.left, "%v: available, queued and left", class)
	}
	var owed uint32
	for _, s := range k.streams {
		var handlers, requests uint32
		for _, p := range k.packets {
			if p.s == s {
				handlers += p.c.Handlers
				requests += p.c.Amount(packet.ClassLargeRequests)
			}
		}
		require.Equal(k.t, handlers, s.sender.handlers)
		require.Equal(k.t, requests, s.sender.outstanding(packet.ClassLargeRequests))
		if a := s.receiver.large; a != nil {
			owed += a.owed
		}
	}
	require.EqualValues(k.t, k.receiver.rx[packet.ClassLargeMessages].owed(), owed+k.receiver.closedStreamCredit, "large messages owed")
}

// With random operations, the ledgers of both sides agree with the packets that are under way,
// and no credit is lost when there are none.
func TestLedgersOfBothSidesAgree(t *testing.T) {
	r := newRand(t)
	for range 60 {
		k := newLedgerPair(t, r)
		for i := range 300 {
			k.step()
			if i == 200 { // the receiver closes a stream
				s := k.streams[0]
				s.open = false
				k.receiver.drop(s.receiver)
				k.receiver.drop(s.receiver) // does nothing
				for _, p := range k.packets {
					if p.s == s && p.held && p.c.Class == packet.ClassLargeMessages {
						p.released = true
						k.receiver.release(s.receiver, p.c, false) // of a message that drop has released: does nothing
					}
				}
				k.receiver.close(s.receiver)
			}
			k.check()
		}
		for len(k.packets) > 0 {
			k.step()
			k.check()
		}
		for k.receiver.rx[packet.ClassHandlers].due() || k.receiver.closedStreamCredit > 0 || k.receiver.rx[packet.ClassLargeMessages].owed() > 0 ||
			k.receiver.rx[packet.ClassLargeRequests].owed() > 0 || k.receiver.rx[packet.ClassLargeResponses].owed() > 0 {
			k.grant()
		}
		k.check()
		for class := packet.ClassHandlers; class < packet.Classes; class++ {
			require.Zero(t, k.receiver.rx[class].held, class)
			require.Equal(t, k.receiver.rx[class].left, k.sender.tx[class].avail, class)
		}
		for _, s := range k.streams[1:] {
			require.Zero(t, s.sender.handlers)
			require.Zero(t, s.sender.outstanding(packet.ClassLargeRequests))
			require.Zero(t, s.sender.outstanding(packet.ClassLargeMessages))
			require.Equal(t, s.messages.left, s.sender.tx[packet.ClassMessages].avail)
		}
	}
}
