package multiplexer

import (
	"bytes"
	"math"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/gauge"
)

const (
	more = packet.FlagMore
	next = packet.FlagNext
)

func TestFragmentsInterleave(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		openFrom(t, m, p, 3)
		p.writeFragment(packet.TypeRequest, more, 1, 1, 30000, 10000, "begins")
		p.writeFragment(packet.TypeRequest, more, 1, 2, 20000, 10000, "another of the same stream")
		p.writeFragment(packet.TypeMessage, more, 1, 1, 20000, 10000, "another type, the same number")
		p.writeFragment(packet.TypeRequest, more, 3, 1, 20000, 1, "another stream, the same number")
		p.writePacket(packet.TypeRequest, 1, 9, 100, "a small one in between")
		p.writeData(1, 0, 100, "raw bytes in between")
		p.writeFragment(packet.TypeRequest, next, 1, 2, 0, 10000, "ends first")
		p.writeFragment(packet.TypeRequest, more|next, 1, 1, 0, 10000, "goes on")
		p.writeFragment(packet.TypeMessage, next, 1, 1, 0, 10000, "ends")
		p.writeFragment(packet.TypeRequest, next, 3, 1, 0, 19999, "ends")
		p.writeFragment(packet.TypeRequest, next, 1, 1, 0, 10000, "ends last")
		synctest.Wait()
		var ends []got
		for _, g := range h.got() {
			ends = append(ends, g)
			assert.Equal(t, bytes.Repeat([]byte{byte(g.seq)}, len(g.body)), g.body)
		}
		require.Len(t, ends, 5)
		for i, want := range []struct {
			typ    packet.Type
			stream uint64
			seq    uint64
			size   int
		}{
			{packet.TypeRequest, 1, 9, 100}, {packet.TypeRequest, 1, 2, 20000}, {packet.TypeMessage, 1, 1, 20000},
			{packet.TypeRequest, 3, 1, 20000}, {packet.TypeRequest, 1, 1, 30000},
		} {
			assert.Equal(t, want.typ, ends[i].typ, i)
			assert.Equal(t, want.stream, ends[i].d.DialogueID(), i)
			assert.Equal(t, want.seq, ends[i].seq, i)
			assert.Len(t, ends[i].body, want.size, i)
		}
		assert.Empty(t, m.assemblies.all)
	})
}

func TestFragmentViolations(t *testing.T) {
	const typ = packet.TypeRequest
	for _, test := range []struct {
		name  string
		write func(p *peer)
		want  []string
	}{
		{"too much in the last", func(p *peer) {
			p.writeFragment(typ, more, 1, 1, 20000, 10000, "begins")
			p.writeFragment(typ, next, 1, 1, 0, 10001, "too much")
		}, []string{"request", "20001", "20000"}},
		{"too much in the middle", func(p *peer) {
			p.writeFragment(typ, more, 1, 1, 20000, 10000, "begins")
			p.writeFragment(typ, more|next, 1, 1, 0, 10001, "too much")
		}, []string{"request", "20001", "20000"}},
		{"too little", func(p *peer) {
			p.writeFragment(typ, more, 1, 1, 20000, 10000, "begins")
			p.writeFragment(typ, next, 1, 1, 0, 9999, "too little")
		}, []string{"request", "19999", "20000"}},
		{"a total that is there already", func(p *peer) {
			p.writeFragment(typ, more, 1, 1, 10000, 10000, "nothing can follow")
		}, []string{"request", "total of 10000"}},
		{"begins twice", func(p *peer) {
			p.writeFragment(typ, more, 1, 7, 20000, 10000, "begins")
			p.writeFragment(typ, more, 1, 7, 20000, 10000, "again")
		}, []string{"request", "number 7 begins twice"}},
		{"goes on without having begun", func(p *peer) {
			p.writeFragment(typ, next, 1, 7, 0, 10000, "what?")
		}, []string{"request", "number 7 goes on"}},
		{"goes on after its end", func(p *peer) {
			p.writeFragment(typ, more, 1, 7, 20000, 10000, "begins")
			p.writeFragment(typ, next, 1, 7, 0, 10000, "ends")
			p.writeFragment(typ, next, 1, 7, 0, 1, "what?")
		}, []string{"request", "number 7 goes on"}},
		{"a small one in fragments", func(p *peer) {
			p.writeFragment(typ, more, 1, 1, 200, 100, "not worth it")
		}, []string{"request", "only 200"}},
		{"too large", func(p *peer) {
			p.writeFragment(typ, more, 1, 1, 1<<20+packet.MaxHead+1, 100, "above the limit of the handshake")
		}, []string{"request", "1048609", "1048608"}},
		{"a short fragment header", func(p *peer) {
			p.writeFrame(typ, 0, 1, make([]byte, 7), "one byte is missing")
		}, []string{"request", "7 bytes"}},
		{"an abandon that names no packet", func(p *peer) {
			p.writeFrame(packet.TypeAbandon, 0, 1, append(make([]byte, 8), byte(packet.TypeAck)), "ack")
		}, []string{"abandon"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				test.write(p)
				p.wantViolation(test.name, test.want...)
				assert.ErrorIs(t, m.c.Cause(), geminio.ErrProtocol)
			})
		})
	}
}

// What an assembly allocates follows what has come, not what was announced.
func TestMemoryOfAnAssembly(t *testing.T) {
	const announced = 32 << 20
	s := newSetup()
	s.local.MaxMessage, s.local.Large = announced, 64*announced-64
	s.local.Handlers = 100
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		const packets = 50
		before := gauge.Take().Heap
		for i := range uint64(packets) {
			p.writeFragment(packet.TypeRequest, more, 1, i, announced, 1<<10, "much is announced, little comes")
		}
		synctest.Wait()
		assert.Len(t, m.assemblies.all, packets)
		assert.Less(t, gauge.Take().Heap-before, int64(packets*(2<<10)+64<<10))
	})
}

// An assembly is moved only a few times while it grows.
func TestAssemblyGrows(t *testing.T) {
	const total = 32 << 20
	a := &assembly{total: total}
	moves, last := 0, 0
	for len(a.buf) < total {
		space := a.Space(min(60000, total-len(a.buf)))
		require.NotEmpty(t, space)
		if cap(a.buf) != last {
			bound := max(packet.DefaultMaxFrame, 16*len(a.buf))
			if cap(a.buf) == total {
				bound *= 2
			}
			require.LessOrEqual(t, cap(a.buf), bound, "after %d bytes", len(a.buf))
			moves, last = moves+1, cap(a.buf)
		}
		a.Received(len(space))
	}
	assert.Equal(t, total, cap(a.buf), "nothing is wasted in the end")
	assert.LessOrEqual(t, moves, 4)
}

// However small the fragments are, the memory is not more than sixteen times what has come,
// or thirty-two times where that is all.
func TestAssemblyOfSmallFragments(t *testing.T) {
	r := newRand(t)
	for range 200 {
		a := &assembly{total: 2 + r.IntN(1<<20)}
		for len(a.buf) < a.total {
			n := min(1+r.IntN(1+len(a.buf)/4), a.total-len(a.buf))
			had := len(a.buf)
			space := a.Space(n)
			require.NotEmpty(t, space)
			require.LessOrEqual(t, cap(a.buf), max(32*had, 2*n), "%d bytes have come, %d come now, of %d", had, n, a.total)
			a.Received(len(space))
		}
		require.Equal(t, a.total, cap(a.buf))
	}
}

// What is a little longer than a frame has its memory at once.
func TestAssemblyOfTwoFrames(t *testing.T) {
	for _, total := range []int{packet.DefaultMaxFrame + 1, 2 * (packet.DefaultMaxFrame - packet.FragmentLen)} {
		a := &assembly{total: total}
		a.Space(packet.DefaultMaxFrame - packet.FragmentLen)
		assert.Equal(t, total, cap(a.buf))
	}
}

// The credit of packets that half arrived is given back at once when their
// stream ends, whoever ends it: the peer may wait for just that.
func TestHalfArrivedPacketsGiveTheirCreditBack(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(p *peer, d *Dialogue)
	}{
		{"the peer closes", func(p *peer, d *Dialogue) {
			p.writeData(d.DialogueID(), packet.FlagFin|packet.FlagClose, 0, "the peer closes")
		}},
		{"the peer resets", func(p *peer, d *Dialogue) {
			p.writeReason(packet.TypeReset, d.DialogueID(), 1, "no more", "the peer resets")
		}},
		{"this side resets", func(p *peer, d *Dialogue) {
			d.Reset(packet.Reason{Code: 1, Text: "no more"})
		}},
		{"the peer abandons", func(p *peer, d *Dialogue) {
			for _, typ := range []packet.Type{packet.TypeRequest, packet.TypeMessage, packet.TypeResponse} {
				p.writeFrame(packet.TypeAbandon, 0, d.DialogueID(), append([]byte{0, 0, 0, 0, 0, 0, 0, 5}, byte(typ)), "the peer abandons")
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSetup()
			s.local.Handlers = 1
			s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				d := openFrom(t, m, p, 3)
				for _, typ := range []packet.Type{packet.TypeRequest, packet.TypeMessage, packet.TypeResponse} {
					p.writeFragment(typ, more, 3, 5, 1<<20, 30000, "begins")
				}
				test.end(p, d)
				back := make(map[packet.Class]uint32)
				for len(back) < 4 {
					head, payload := p.next("credit")
					if head.Type != packet.TypeCredit {
						continue
					}
					c, err := packet.ParseCredit(payload, head.Stream)
					require.NoError(t, err)
					back[c.Class] += c.Amount
				}
				assert.Equal(t, map[packet.Class]uint32{
					packet.ClassHandlers: 1, packet.ClassLargeRequests: 1 << 20,
					packet.ClassLargeMessages: 1 << 20, packet.ClassLargeResponses: 1 << 20,
				}, back)
				synctest.Wait()
				if got := h.got(); test.name == "the peer abandons" {
					// The call whose response was abandoned has no other answer.
					require.Len(t, got, 1)
					assert.Equal(t, packet.TypeResponse, got[0].typ)
					assert.EqualValues(t, 5, got[0].seq)
					resp, err := packet.ParseResponse(got[0].body)
					require.NoError(t, err)
					assert.EqualValues(t, geminio.CodeCanceled, resp.Code)
				} else {
					assert.Empty(t, got)
				}
				assert.Empty(t, m.assemblies.all)
			})
		})
	}
}

// Later fragments of what began on a stream that this side has reset are no
// violation, and a new packet of it gives its credit back.
func TestFragmentsOfAStreamThatIsGone(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		p.writeFragment(packet.TypeRequest, more, 3, 1, 30000, 10000, "begins")
		synctest.Wait()
		d.Reset(packet.Reason{Code: 1})
		assert.EqualValues(t, 30000, p.wantCredit(0, packet.ClassLargeRequests, "for what began"))
		p.wantReason(packet.TypeReset, 3, 1, "this side resets")
		p.writeFragment(packet.TypeRequest, next|more, 3, 1, 0, 10000, "goes on")
		p.writeFragment(packet.TypeRequest, next, 3, 1, 0, 10000, "ends")
		p.writeFragment(packet.TypeRequest, more, 3, 2, 40000, 10000, "another begins")
		assert.EqualValues(t, 40000, p.wantCredit(0, packet.ClassLargeRequests, "for the other"))
		p.writeFragment(packet.TypeRequest, next, 3, 2, 0, 30000, "and ends")
		p.writeFragment(packet.TypeMessage, more, 3, 3, 50000, 10000, "a message")
		assert.EqualValues(t, 50000, p.wantCredit(0, packet.ClassLargeMessages, "of the connection, not of another stream"))
		p.writePacket(packet.TypeMessage, 3, 4, 100, "a small one: its window is gone")
		p.wantIdle("nothing more")
		assert.Empty(t, m.assemblies.all)
		assert.Empty(t, h.got())
	})
}

// Sizes beyond 2 GiB, which an int of 32 bits cannot hold, are taken for what they are.
func TestSizesBeyondAnInt(t *testing.T) {
	s := newSetup()
	s.peer.MaxMessage, s.peer.Large = math.MaxUint32-packet.MaxHead, math.MaxUint32
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		assert.Positive(t, m.MaxBody())
		p.writeFragment(packet.TypeMessage, more, DefaultID, 1, 1<<31+7, 1000, "a total of more than 2 GiB")
		p.wantViolation("it is refused", "body of 2147483655 bytes exceeds")
	})
}
