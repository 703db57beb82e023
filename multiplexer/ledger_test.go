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
		name           string
		n, avail, held uint32
		want           bool
	}{
		{"all that there is, for who holds nothing", 100, 100, 0, true},
		{"more than there is", 101, 100, 0, false},
		{"three times what is left", 1, 26, 75, true},
		{"a little more", 1, 26, 78, false},
		{"the last one of another", 1, 1, 0, true},
		{"the second of two", 1, 1, 1, true},
		{"the last one of who has three", 1, 1, 3, false},
		{"one of two, of who has none", 1, 2, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, withinShare(test.n, test.avail, test.held))
		})
	}
}

// However one dialogue takes, about a quarter is left for the others.
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
		require.GreaterOrEqual(t, avail, total/4-6, "of %d", total)
	}
}

// books are the ledgers of both sides of a connection, and what is under way from the one
// to the other: a model of two Muxes without packets.
type ledgerPair struct {
	t       *testing.T
	r       *rand.Rand
	a, b    ledger // the sender's and the receiver's
	streams []*ledgerStream
	packets []*pairPacket
	seq     uint64
}

type ledgerStream struct {
	sender   streamLedger
	receiver *streamLedger
	messages *inflow // the receiver's window
	open     bool    // at the receiver
}

// parcel is a packet of a model.
type pairPacket struct {
	s                  *ledgerStream
	seq                uint64
	c                  charge.Charge
	begun, held, whole bool // a part was sent; and came; all was sent
	released           bool // by the receiver
}

const pairSmall = 100

func newLedgerPair(t *testing.T, r *rand.Rand) *ledgerPair {
	w := packet.Settings{Handlers: 1 + r.Uint32N(10), Large: 1000 + r.Uint32N(2000), Messages: 2 * (pairSmall + charge.MessageOverhead)}
	k := &ledgerPair{t: t, r: r, a: newLedger(w, w), b: newLedger(w, w)}
	for range 3 {
		s := &ledgerStream{sender: newStreamLedger(packet.Windows{Raw: 1, Messages: w.Messages}), receiver: &streamLedger{}, open: true}
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
	c := charge.For(typ, size, pairSmall)
	if c == (charge.Charge{}) || !k.a.affords(&s.sender, c) {
		return
	}
	k.seq++
	k.a.take(&s.sender, k.seq, c)
	k.packets = append(k.packets, &pairPacket{s: s, seq: k.seq, c: c})
}

// at returns the receiver's ledger of a stream that takes packets, or nil.
func (s *ledgerStream) receiving() *streamLedger {
	if s.open {
		return s.receiver
	}
	return nil
}

// begin sends the first fragment of a packet, which counts for all of it.
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
	at := p.s.receiving()
	require.NoError(k.t, k.b.receive(at, p.c))
	if at == nil {
		k.b.release(nil, p.c, false)
		p.released = true
	}
	p.held = true
}

// release is what the receiver does with a packet in the end.
func (k *ledgerPair) release(p *pairPacket) {
	p.released = true
	if p.c.Shared() {
		k.b.release(p.s.receiver, p.c, p.s.open)
	} else if p.held && p.s.open {
		p.s.messages.release(uint64(p.c.Bytes))
	}
}

// grant has the receiver grant what it owes, as a Mux does.
func (k *ledgerPair) grant() {
	for class := packet.ClassHandlers; class < packet.Classes; class++ {
		if n := k.b.grant(class); n > 0 {
			require.NoError(k.t, k.a.addCredit(nil, class, n))
		}
	}
	for _, s := range k.streams {
		if n := k.b.grantStream(s.receiver); n > 0 {
			require.NoError(k.t, k.a.addCredit(&s.sender, packet.ClassLargeMessages, n))
		}
		if s.open && s.messages.due() {
			require.NoError(k.t, k.a.addCredit(&s.sender, packet.ClassMessages, s.messages.grant()))
		}
	}
}

// step does something at random.
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
		k.a.refund(&p.s.sender, p.seq, p.c)
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

func (k *ledgerPair) drop(i int) { k.packets = slices.Delete(k.packets, i, i+1) }

// check compares the ledgers with what is under way.
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
		f := &k.b.rx[class]
		require.Equal(k.t, held, f.held, "%v: held", class)
		require.EqualValues(k.t, f.size, uint64(f.left)+uint64(f.held)+f.owed(), "%v: size", class)
		require.Equal(k.t, k.a.tx[class].avail+queued, f.left, "%v: available, queued and left", class)
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
	require.EqualValues(k.t, k.b.rx[packet.ClassLargeMessages].owed(), owed+k.b.closedStreamCredit, "large messages that are owed")
}

// However packets are admitted, sent, given up, received and dropped, the ledgers agree
// with what is under way, and are whole when nothing is.
func TestLedgersOfBothSidesAgree(t *testing.T) {
	r := newRand(t)
	for range 60 {
		k := newLedgerPair(t, r)
		for i := range 300 {
			k.step()
			if i == 200 { // the receiver closes a stream
				s := k.streams[0]
				s.open = false
				k.b.drop(s.receiver)
				k.b.drop(s.receiver) // again, which does nothing
				for _, p := range k.packets {
					if p.s == s && p.held && p.c.Class == packet.ClassLargeMessages {
						p.released = true
						k.b.release(s.receiver, p.c, false) // by who does not know yet: it does nothing
					}
				}
				k.b.close(s.receiver)
			}
			k.check()
		}
		for len(k.packets) > 0 {
			k.step()
			k.check()
		}
		for k.b.rx[packet.ClassHandlers].due() || k.b.closedStreamCredit > 0 || k.b.rx[packet.ClassLargeMessages].owed() > 0 ||
			k.b.rx[packet.ClassLargeRequests].owed() > 0 || k.b.rx[packet.ClassLargeResponses].owed() > 0 {
			k.grant()
		}
		k.check()
		for class := packet.ClassHandlers; class < packet.Classes; class++ {
			require.Zero(t, k.b.rx[class].held, class)
			require.Equal(t, k.b.rx[class].left, k.a.tx[class].avail, class)
		}
		for _, s := range k.streams[1:] {
			require.Zero(t, s.sender.handlers)
			require.Zero(t, s.sender.outstanding(packet.ClassLargeRequests))
			require.Zero(t, s.sender.outstanding(packet.ClassLargeMessages))
			require.Equal(t, s.messages.left, s.sender.tx[packet.ClassMessages].avail)
		}
	}
}
