package multiplexer

import (
	"bytes"
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// Abandon removes a packet of which nothing was sent. If a part was sent, an Abandon frame
// tells the peer.
func TestAbandon(t *testing.T) {
	t.Run("before anything was sent", func(t *testing.T) {
		newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
			d := m.Main()
			blockWriter(t, m)
			handlers, large := m.ledger.tx[packet.ClassHandlers].avail, m.ledger.tx[packet.ClassLargeRequests].avail
			for i := range uint64(5) {
				require.NoError(t, d.Send(t.Context(), 0, packet.TypeRequest, i, nil, make([]byte, 50000), AtOnce))
			}
			for i := range uint64(5) {
				assert.True(t, d.Abandon(packet.TypeRequest, i), "Abandon of packet %d", i)
				assert.False(t, d.Abandon(packet.TypeRequest, i), "the second Abandon of packet %d", i)
			}
			m.mu.Lock()
			assert.Equal(t, handlers, m.ledger.tx[packet.ClassHandlers].avail)
			assert.Equal(t, large, m.ledger.tx[packet.ClassLargeRequests].avail)
			assert.Zero(t, d.credit.handlers, "outstanding requests")
			m.mu.Unlock()
			p.want(packet.TypeData, 0, 1, "the byte that blocked the writer")
			require.NoError(t, d.Send(t.Context(), time.Second, packet.TypeRequest, 9, nil, nil, AtOnce), "a request with the credit that was given back")
			seq, _ := p.wantPacket(packet.TypeRequest, 1, "the later request")
			assert.EqualValues(t, 9, seq)
		})
	})
	t.Run("in the middle", func(t *testing.T) {
		newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
			require.NoError(t, m.Main().Send(t.Context(), 0, packet.TypeRequest, 5, nil, make([]byte, 1<<20), AtOnce))
			p.want(packet.TypeRequest, more, 1, "the first fragment")
			assert.True(t, m.Main().Abandon(packet.TypeRequest, 5), "Abandon of a packet of which a part was sent")
			for {
				head, payload := p.next("fragments that were in the batch, then an abandon")
				if head.Type == packet.TypeAbandon {
					assert.Equal(t, []byte{0, 0, 0, 0, 0, 0, 0, 5, byte(packet.TypeRequest)}, payload)
					break
				}
				assert.Equal(t, more|next, head.Flags)
			}
			p.wantIdle("no fragment behind the abandon")
		})
	})
	t.Run("of messages in a row", func(t *testing.T) {
		newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
			d := m.Main()
			blockWriter(t, m)
			for i := range uint64(6) {
				size := 100
				if i%2 == 0 {
					size = 50000
				}
				require.NoError(t, d.Send(t.Context(), 0, packet.TypeMessage, i, nil, make([]byte, size), AtOnce))
			}
			for _, i := range []uint64{0, 3, 5} {
				d.Abandon(packet.TypeMessage, i)
			}
			require.NoError(t, d.Send(t.Context(), 0, packet.TypeMessage, 6, nil, nil, AtOnce))
			p.want(packet.TypeData, 0, 1, "the byte that blocked the writer")
			for _, want := range []uint64{1, 2, 4, 6} {
				seq, _ := p.wantPacket(packet.TypeMessage, 1, "the messages that were not abandoned, in order")
				assert.Equal(t, want, seq)
			}
		})
	})
}

// Withdraw removes a large response, and the request is answered by a small response or an
// Abandon instead.
func TestWithdraw(t *testing.T) {
	nothing := packet.Response{Code: uint32(geminio.CodeCanceled)}
	t.Run("before anything was sent", func(t *testing.T) {
		newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
			d := m.Main()
			blockWriter(t, m)
			large := m.ledger.tx[packet.ClassLargeResponses].avail
			require.NoError(t, d.Send(t.Context(), 0, packet.TypeResponse, 5, nil, make([]byte, 50000), AtOnce))
			require.NoError(t, d.Send(t.Context(), 0, packet.TypeResponse, 6, nil, make([]byte, 50000), AtOnce))
			for range 3 { // the second and the third do nothing
				d.Withdraw(5, nothing.Append(nil))
			}
			m.mu.Lock()
			assert.EqualValues(t, large-50000, m.ledger.tx[packet.ClassLargeResponses].avail)
			m.mu.Unlock()
			p.want(packet.TypeData, 0, 1, "the byte that blocked the writer")
			seq, body := p.wantPacket(packet.TypeResponse, 1, "the small response in place of the withdrawn one")
			assert.EqualValues(t, 5, seq)
			assert.Equal(t, nothing.Append(nil), body)
			seq, body = p.wantPacket(packet.TypeResponse, 1, "the response that was not withdrawn")
			assert.EqualValues(t, 6, seq)
			assert.Len(t, body, 50000)
			d.Withdraw(6, nothing.Append(nil))
			p.wantIdle("no frame for a response that was sent before Withdraw")
		})
	})
	t.Run("in the middle", func(t *testing.T) {
		newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
			require.NoError(t, m.Main().Send(t.Context(), 0, packet.TypeResponse, 5, nil, make([]byte, 1<<20), AtOnce))
			p.want(packet.TypeResponse, more, 1, "the first fragment")
			m.Main().Withdraw(5, nothing.Append(nil))
			for {
				head, payload := p.next("fragments that were in the batch, then an abandon")
				if head.Type == packet.TypeAbandon {
					assert.Equal(t, []byte{0, 0, 0, 0, 0, 0, 0, 5, byte(packet.TypeResponse)}, payload)
					break
				}
				assert.Equal(t, more|next, head.Flags)
			}
			p.wantIdle("no fragment and no other answer behind the abandon")
		})
	})
}

// The peer must not answer a packet before all of it was sent: this side still reads the data
// of the packet, which the user may change after the answer.
func TestAnswerBeforeTheQuestionIsSent(t *testing.T) {
	for typ, answer := range map[packet.Type]packet.Type{
		packet.TypeRequest: packet.TypeResponse, packet.TypeMessage: packet.TypeAck,
	} {
		newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
			require.NoError(t, m.Main().Send(t.Context(), 0, typ, 5, nil, make([]byte, 1<<20), AtOnce))
			p.want(typ, more, 1, "the first fragment")
			p.writePacket(answer, 1, 5, 12, "an answer before the last fragment")
			<-h.ended
			go io.Copy(io.Discard, p.nc)
			assert.ErrorIs(t, m.c.Cause(), geminio.ErrProtocol)
			assert.ErrorContains(t, m.c.Cause(), "number 5 is answered before all of it was sent")
		})
	}
}

// blockWriter blocks the writer of m: it writes a byte that the peer does not read.
func blockWriter(t *testing.T, m *Mux) {
	t.Helper()
	_, err := m.Main().Write([]byte{1})
	require.NoError(t, err)
	synctest.Wait()
}

// When the peer ends a stream, this side takes back the credit of the packets that were not
// sent.
func TestCreditOfUnsentPacketsIsNotLost(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(p *peer, d *Dialogue)
	}{
		{"the peer closes", func(p *peer, d *Dialogue) {
			p.writeData(d.id, packet.FlagFin|packet.FlagClose, 0, "the peer closes")
		}},
		{"the peer resets", func(p *peer, d *Dialogue) {
			p.writeReason(packet.TypeReset, d.id, 1, "", "the peer resets")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				d := openFrom(t, m, p, 3)
				before := m.ledger.tx
				blockWriter(t, m)
				for i, typ := range []packet.Type{packet.TypeRequest, packet.TypeResponse, packet.TypeMessage} {
					require.NoError(t, d.Send(t.Context(), 0, typ, uint64(i), nil, make([]byte, 50000), AtOnce))
				}
				require.NoError(t, d.Send(t.Context(), 0, packet.TypeRequest, 7, nil, nil, AtOnce))
				require.NoError(t, d.Send(t.Context(), 0, packet.TypeRegister, 8, nil, nil, AtOnce))
				test.end(p, d)
				synctest.Wait()
				p.want(packet.TypeData, 0, 1, "the byte that blocked the writer")
				// The peer gives credit back for packets that were sent.
				var back [packet.Classes]uint32
				for {
					p.nc.SetReadDeadline(time.Now().Add(time.Second))
					head, payload, err := kit.ReadFrame(p.nc, kit.AnyFrame)
					if err != nil {
						break
					}
					if head.Type == packet.TypeRequest || head.Type == packet.TypeRegister {
						back[packet.ClassHandlers]++
					}
					if size := len(payload) - 8; size > m.smallTx && head.Type.Fragmented() {
						back[charge.LargeClass(head.Type)] += uint32(size)
					}
				}
				m.mu.Lock()
				defer m.mu.Unlock()
				for class := packet.ClassHandlers; class < packet.Classes; class++ {
					assert.Equal(t, before[class].avail, m.ledger.tx[class].avail+back[class], class)
				}
			})
		})
	}
}

// Large packets of a stream take turns, a fragment each.
func TestLargePacketsTakeTurns(t *testing.T) {
	s := newSetup()
	s.peer.MaxFrame = 10 << 10
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		bodies := [][]byte{bytes.Repeat([]byte("a"), 25000), bytes.Repeat([]byte("b"), 25000)}
		// Both are queued before the writer has a turn.
		m.c.Kick()
		m.mu.Lock()
		for i, body := range bodies {
			c := m.main.charge(packet.TypeRequest, len("head")+len(body))
			assert.True(t, m.main.admit(uint64(i), c))
			m.main.enqueue(packet.TypeRequest, uint64(i), c, []byte("head"), body)
		}
		m.mu.Unlock()
		m.main.Send(t.Context(), 0, packet.TypeRequest, 9, nil, []byte("small"), AtOnce)
		var order []string
		parts := make(map[uint64][]byte)
		for len(order) < 7 {
			hd, payload := p.next("a fragment")
			require.Equal(t, packet.TypeRequest, hd.Type)
			f, err := packet.ParseFragmentHeader(payload, hd)
			require.NoError(t, err)
			require.LessOrEqual(t, hd.Length, s.peer.MaxFrame)
			if hd.Flags == packet.FlagMore {
				require.EqualValues(t, 25004, f.Total)
			}
			parts[f.Seq] = append(parts[f.Seq], payload[packet.FragmentHeaderLen(hd):]...)
			order = append(order, string(rune('0'+f.Seq)))
		}
		assert.Equal(t, []string{"9", "0", "1", "0", "1", "0", "1"}, order)
		for i, body := range bodies {
			assert.Equal(t, append([]byte("head"), body...), parts[uint64(i)])
		}
	})
}

// A small message does not overtake a large one of the same stream.
func TestMessagesKeepTheirOrderBehindLargeOnes(t *testing.T) {
	newSetup().bothTransports(t, func(t *testing.T, ms [2]*Mux, hs [2]*fakeHandler) {
		r := newRand(t)
		done := make(chan struct{})
		want := 200
		var seqs []uint64
		hs[1].handle(func(g got) error {
			seqs = append(seqs, g.seq)
			g.d.Release(g.typ, len(g.body))
			if len(seqs) == want {
				close(done)
			}
			return nil
		})
		for i := range uint64(want) {
			size := r.IntN(300)
			if r.IntN(3) == 0 {
				size = 5000 + r.IntN(100_000)
			}
			require.NoError(t, ms[0].Main().Send(context.Background(), 0, packet.TypeMessage, i, nil, make([]byte, size), AtOnce))
		}
		<-done
		for i, seq := range seqs {
			require.EqualValues(t, i, seq, "all: %v", seqs)
		}
	})
}
