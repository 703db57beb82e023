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

// Fragments of several packets, small packets and raw bytes can arrive in any order.
func TestFragmentsInterleave(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		openFrom(t, m, p, 3)
		p.writeFragment(packet.TypeRequest, more, 1, 1, 30000, 10000, "a first fragment")
		p.writeFragment(packet.TypeRequest, more, 1, 2, 20000, 10000, "a first fragment of the same stream")
		p.writeFragment(packet.TypeMessage, more, 1, 1, 20000, 10000, "a first fragment of another type with the same number")
		p.writeFragment(packet.TypeRequest, more, 3, 1, 20000, 1, "a first fragment of another stream with the same number")
		p.writePacket(packet.TypeRequest, 1, 9, 100, "a small packet between fragments")
		p.writeData(1, 0, 100, "raw bytes between fragments")
		p.writeFragment(packet.TypeRequest, next, 1, 2, 0, 10000, "the last fragment of the second packet")
		p.writeFragment(packet.TypeRequest, more|next, 1, 1, 0, 10000, "a second fragment")
		p.writeFragment(packet.TypeMessage, next, 1, 1, 0, 10000, "the last fragment of the message")
		p.writeFragment(packet.TypeRequest, next, 3, 1, 0, 19999, "the last fragment of the other stream")
		p.writeFragment(packet.TypeRequest, next, 1, 1, 0, 10000, "the last fragment of the first packet")
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
			p.writeFragment(typ, more, 1, 1, 20000, 10000, "a first fragment")
			p.writeFragment(typ, next, 1, 1, 0, 10001, "one byte more than the total")
		}, []string{"request", "20001", "20000"}},
		{"too much in the middle", func(p *peer) {
			p.writeFragment(typ, more, 1, 1, 20000, 10000, "a first fragment")
			p.writeFragment(typ, more|next, 1, 1, 0, 10001, "one byte more than the total")
		}, []string{"request", "20001", "20000"}},
		{"too little", func(p *peer) {
			p.writeFragment(typ, more, 1, 1, 20000, 10000, "a first fragment")
			p.writeFragment(typ, next, 1, 1, 0, 9999, "one byte less than the total")
		}, []string{"request", "19999", "20000"}},
		{"more flag with the whole body", func(p *peer) {
			p.writeFragment(typ, more, 1, 1, 10000, 10000, "a first fragment with the whole body and FlagMore")
		}, []string{"request", "total of 10000"}},
		{"begins twice", func(p *peer) {
			p.writeFragment(typ, more, 1, 7, 20000, 10000, "a first fragment")
			p.writeFragment(typ, more, 1, 7, 20000, 10000, "the first fragment a second time")
		}, []string{"request", "number 7 begins twice"}},
		{"goes on without having begun", func(p *peer) {
			p.writeFragment(typ, next, 1, 7, 0, 10000, "a second fragment without a first one")
		}, []string{"request", "number 7 goes on"}},
		{"goes on after its end", func(p *peer) {
			p.writeFragment(typ, more, 1, 7, 20000, 10000, "a first fragment")
			p.writeFragment(typ, next, 1, 7, 0, 10000, "the last fragment")
			p.writeFragment(typ, next, 1, 7, 0, 1, "a fragment behind the last one")
		}, []string{"request", "number 7 goes on"}},
		{"a small body in fragments", func(p *peer) {
			p.writeFragment(typ, more, 1, 1, 200, 100, "a first fragment of a small body")
		}, []string{"request", "only 200"}},
		{"too large", func(p *peer) {
			p.writeFragment(typ, more, 1, 1, 1<<20+packet.MaxHead+1, 100, "a total above the limit in the settings")
		}, []string{"request", "1048609", "1048608"}},
		{"a short fragment header", func(p *peer) {
			p.writeFrame(typ, 0, 1, make([]byte, 7), "a fragment header without its last byte")
		}, []string{"request", "7 bytes"}},
		{"an abandon that names no packet", func(p *peer) {
			p.writeFrame(packet.TypeAbandon, 0, 1, append(make([]byte, 8), byte(packet.TypeAck)), "an abandon of an ack")
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

// An assembly allocates memory in proportion to the bytes that have arrived, not to the total
// that the peer announces.
func TestMemoryOfAnAssembly(t *testing.T) {
	const announced = 32 << 20
	s := newSetup()
	s.local.MaxMessage, s.local.Large = announced, 64*announced-64
	s.local.Handlers = 100
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		const packets = 50
		before := gauge.Take().Heap
		for i := range uint64(packets) {
			p.writeFragment(packet.TypeRequest, more, 1, i, announced, 1<<10, "a small first fragment of a large packet")
		}
		synctest.Wait()
		assert.Len(t, m.assemblies.all, packets)
		assert.Less(t, gauge.Take().Heap-before, int64(packets*(2<<10)+64<<10))
	})
}

// An assembly is copied only a few times while it grows.
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
	assert.Equal(t, total, cap(a.buf), "the memory of the whole body")
	assert.LessOrEqual(t, moves, 4)
}

// With small fragments, the memory is at most sixteen times as large as the part that has
// arrived, or thirty-two times if that is the whole body.
func TestAssemblyOfSmallFragments(t *testing.T) {
	r := newRand(t)
	for range 200 {
		a := &assembly{total: 2 + r.IntN(1<<20)}
		for len(a.buf) < a.total {
			n := min(1+r.IntN(1+len(a.buf)/4), a.total-len(a.buf))
			had := len(a.buf)
			space := a.Space(n)
			require.NotEmpty(t, space)
			require.LessOrEqual(t, cap(a.buf), max(32*had, 2*n), "after %d bytes, with %d bytes of %d arriving", had, n, a.total)
			a.Received(len(space))
		}
		require.Equal(t, a.total, cap(a.buf))
	}
}

// A body that is a little longer than a frame has its memory at once.
func TestAssemblyOfTwoFrames(t *testing.T) {
	for _, total := range []int{packet.DefaultMaxFrame + 1, 2 * (packet.DefaultMaxFrame - packet.FragmentLen)} {
		a := &assembly{total: total}
		a.Space(packet.DefaultMaxFrame - packet.FragmentLen)
		assert.Equal(t, total, cap(a.buf))
	}
}

// When a stream ends, the credit of packets of which a part has arrived is given back at once.
// The peer may wait for it.
func TestCreditOfPartsIsGivenBack(t *testing.T) {
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
					p.writeFragment(typ, more, 3, 5, 1<<20, 30000, "a first fragment")
				}
				test.end(p, d)
				back := make(map[packet.Class]uint32)
				for len(back) < 4 {
					head, payload := p.next("credit for the four classes")
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
					// The abandoned response answers its call.
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

// After a reset of this side, the peer may still send fragments of the stream. They are
// ignored, and the credit of packets that begin is given back.
func TestFragmentsOfAStreamThatIsGone(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		p.writeFragment(packet.TypeRequest, more, 3, 1, 30000, 10000, "a first fragment")
		synctest.Wait()
		d.Reset(packet.Reason{Code: 1})
		assert.EqualValues(t, 30000, p.wantCredit(0, packet.ClassLargeRequests, "credit of the packet that had begun"))
		p.wantReason(packet.TypeReset, 3, 1, "the reset of this side")
		p.writeFragment(packet.TypeRequest, next|more, 3, 1, 0, 10000, "a second fragment after the reset")
		p.writeFragment(packet.TypeRequest, next, 3, 1, 0, 10000, "the last fragment after the reset")
		p.writeFragment(packet.TypeRequest, more, 3, 2, 40000, 10000, "a first fragment after the reset")
		assert.EqualValues(t, 40000, p.wantCredit(0, packet.ClassLargeRequests, "credit of the packet that begins after the reset"))
		p.writeFragment(packet.TypeRequest, next, 3, 2, 0, 30000, "its last fragment")
		p.writeFragment(packet.TypeMessage, more, 3, 3, 50000, 10000, "a first fragment of a message")
		assert.EqualValues(t, 50000, p.wantCredit(0, packet.ClassLargeMessages, "credit of the message, for the connection"))
		p.writePacket(packet.TypeMessage, 3, 4, 100, "a small message, whose credit belongs to the stream")
		p.wantIdle("no credit for the small message")
		assert.Empty(t, m.assemblies.all)
		assert.Empty(t, h.got())
	})
}

// A size of more than 2 GiB is handled correctly where an int has 32 bits.
func TestSizesBeyondAnInt(t *testing.T) {
	s := newSetup()
	s.peer.MaxMessage, s.peer.Large = math.MaxUint32-packet.MinLarge, math.MaxUint32
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		assert.Positive(t, m.MaxBody())
		p.writeFragment(packet.TypeMessage, more, DefaultID, 1, 1<<31+7, 1000, "a total of more than 2 GiB")
		p.wantViolation("a body above the limit", "body of 2147483655 bytes exceeds")
	})
}
