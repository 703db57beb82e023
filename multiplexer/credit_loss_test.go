package multiplexer

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// A large request that is abandoned half-sent holds nothing of the peer any more: its
// stream may take the same credit again when the peer has given it back.
func TestAbandonedRequestsHoldNothing(t *testing.T) {
	const size = 1 << 20 // several batches
	s := newSetup()
	s.peer.MaxMessage, s.peer.Large = size, size+packet.MaxHead
	s.peer.Handlers = 4
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := m.Main()
		for i := range uint64(10) {
			sent := sendOn(d, t.Context(), packet.TypeRequest, i, size)
			p.want(packet.TypeRequest, more, 1, "it begins")
			require.NoError(t, <-sent)
			require.True(t, d.Abandon(packet.TypeRequest, i))
			for typ := packet.TypeRequest; typ != packet.TypeAbandon; {
				head, _ := p.next("the end of it")
				typ = head.Type
			}
			p.writeCredit(0, packet.ClassHandlers, 1, "as for one that is answered")
			p.writeCredit(0, packet.ClassLargeRequests, size, "all of it")
			synctest.Wait()
		}
		require.NoError(t, d.Send(t.Context(), time.Second, packet.TypeRequest, 99, nil, nil, AtOnce), "a small one")
	})
}

// A response that the peer abandons is the answer to its request, as far as credit is
// concerned.
func TestAnAbandonedResponseIsAnAnswer(t *testing.T) {
	s := newSetup()
	s.peer.MaxMessage, s.peer.Large = 60000, 60000+packet.MaxHead
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := m.Main()
		first := sendOn(d, t.Context(), packet.TypeRequest, 1, 50000)
		p.wantPacket(packet.TypeRequest, 1, "a large one")
		require.NoError(t, <-first)
		p.writeFragment(packet.TypeResponse, more, 1, 1, 20000, 10000, "the response begins")
		p.writeFrame(packet.TypeAbandon, 0, 1, []byte{0, 0, 0, 0, 0, 0, 0, 1, byte(packet.TypeResponse)}, "the peer abandons it")
		assert.EqualValues(t, 20000, p.wantCredit(0, packet.ClassLargeResponses, "for the response"))
		p.writeCredit(0, packet.ClassHandlers, 1, "the handler is done")
		p.writeCredit(0, packet.ClassLargeRequests, 50000, "and its request")
		second := sendOn(d, t.Context(), packet.TypeRequest, 2, 50000)
		p.wantPacket(packet.TypeRequest, 1, "the next")
		require.NoError(t, <-second)
	})
}

// Small messages that are abandoned behind a large one leave the window of their stream
// as it was.
func TestAbandonedMessagesLeaveTheWindow(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := m.Main()
		ctx := t.Context()
		blockWriter(t, m)
		require.NoError(t, d.Send(ctx, 0, packet.TypeMessage, 1, nil, make([]byte, 50000), AtOnce))
		for i := range uint64(100) {
			require.NoError(t, d.Send(ctx, time.Second, packet.TypeMessage, 10+i, nil, make([]byte, 1000), AtOnce), "message %d", i)
			require.True(t, d.Abandon(packet.TypeMessage, 10+i))
		}
	})
}

// A stream whose packets have half arrived is closed: they are not handed out, and all
// of their credit is given back, however much of them was in the buffer.
func TestPacketsThatArriveWhileTheirStreamIsClosed(t *testing.T) {
	for _, typ := range []packet.Type{packet.TypeMessage, packet.TypeRequest, packet.TypeResponse} {
		for name, end := range map[string]func(d *Dialogue){
			"close": func(d *Dialogue) { d.Close() },
			"reset": func(d *Dialogue) { d.Reset(packet.Reason{Code: 1}) },
		} {
			t.Run(typ.String()+" "+name, func(t *testing.T) {
				s := newSetup()
				s.local.Handlers = 1
				s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
					d := openFrom(t, m, p, 3)
					// A frame that holds the whole packet, of which the second half comes later.
					frame := packet.AppendHeader(nil, packet.Header{Type: typ, Stream: 3, Length: 60008})
					frame = packet.AppendFragmentHeader(frame, packet.FragmentHeader{Seq: 7}, 0)
					frame = append(frame, bytes.Repeat([]byte("x"), 60000)...)
					p.write(frame[:30000], "the first half")
					synctest.Wait()
					end(d)
					read := readInBackground(p)
					p.write(frame[30000:], "the second half")
					synctest.Wait()
					assert.Zero(t, len(h.got()), "nothing is handed out of a closed stream")
					want := map[packet.Class]uint32{charge.LargeClass(typ): 60000}
					if typ == packet.TypeRequest {
						want[packet.ClassHandlers] = 1
					}
					p.nc.SetReadDeadline(time.Now())
					assert.Equal(t, want, creditIn(t, <-read))
				})
			})
		}
	}
}

// readInBackground reads frames until the deadline of reading.
func readInBackground(p *peer) <-chan []frame {
	ch := make(chan []frame, 1)
	p.nc.SetReadDeadline(time.Now().Add(patience))
	go func() {
		var all []frame
		for {
			h, payload, err := kit.ReadFrame(p.nc, kit.AnyFrame)
			if err != nil {
				ch <- all
				return
			}
			all = append(all, frame{h, payload})
		}
	}()
	return ch
}

type frame struct {
	header  packet.Header
	payload []byte
}

// creditIn sums up the credit of the connection's classes.
func creditIn(t *testing.T, frames []frame) map[packet.Class]uint32 {
	t.Helper()
	sums := make(map[packet.Class]uint32)
	for _, f := range frames {
		if f.header.Type == packet.TypeCredit {
			c, err := packet.ParseCredit(f.payload, f.header.Stream)
			require.NoError(t, err)
			if c.Class >= packet.StreamClasses {
				sums[c.Class] += c.Amount
			}
		}
	}
	return sums
}

// Messages that were handed out and not received are released by the Close of their
// stream, also if the upper layer forgets some.
func TestCloseReleasesMessages(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		for i := range uint64(3) {
			p.writePacket(packet.TypeMessage, 3, i, 50000, "a message")
		}
		synctest.Wait()
		require.Len(t, h.got(), 3)
		d.Release(packet.TypeMessage, 50000)
		assert.EqualValues(t, 50000, p.wantCredit(3, packet.ClassLargeMessages, "one is received"))
		read := readInBackground(p)
		require.NoError(t, d.Close())
		d.Release(packet.TypeMessage, 50000) // the upper layer finds one of them later
		p.writeData(3, packet.FlagFin|packet.FlagClose, 0, "the peer closes too")
		d.Release(packet.TypeMessage, 50000)
		synctest.Wait()
		p.nc.SetReadDeadline(time.Now())
		assert.Equal(t, map[packet.Class]uint32{packet.ClassLargeMessages: 100_000}, creditIn(t, <-read))
	})
}

// The messages of a stream that the peer has closed can still be received. Its Close
// here releases those that are left.
func TestCloseAfterThePeersReleasesMessages(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		for i := range uint64(2) {
			p.writePacket(packet.TypeMessage, 3, i, 50000, "a message")
		}
		p.writeReason(packet.TypeReset, 3, 1, "", "the peer resets")
		p.wantIdle("the messages are there to be received")
		d.Release(packet.TypeMessage, 50000)
		assert.EqualValues(t, 50000, p.wantCredit(0, packet.ClassLargeMessages, "one was received"))
		require.NoError(t, d.Close())
		assert.EqualValues(t, 50000, p.wantCredit(0, packet.ClassLargeMessages, "the other is dropped"))
	})
}
