package multiplexer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
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

// sendOn sends a packet of n bytes in another goroutine.
func sendOn(d *Dialogue, ctx context.Context, typ packet.Type, seq uint64, n int) <-chan error {
	return kit.Start(func() error { return d.Send(ctx, 0, typ, seq, nil, make([]byte, n), AtOnce) })
}

func TestMessagesWaitForTheWindow(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		const body = 1000
		const cost = body + charge.MessageOverhead
		fits := int(testSettings().Messages / cost)
		for i := range fits {
			require.NoError(t, m.Main().Send(t.Context(), 0, packet.TypeMessage, uint64(i), nil, make([]byte, body), AtOnce))
			p.wantPacket(packet.TypeMessage, 1, "a message within the window is sent")
		}
		sent := sendOn(m.Main(), t.Context(), packet.TypeMessage, 99, body)
		kit.Blocked(t, sent) // the window is used up
		p.writeCredit(1, packet.ClassRaw, 10000, "credit of another class")
		p.writeCredit(1, packet.ClassMessages, cost-testSettings().Messages%cost-1, "credit for all but one byte of the message")
		kit.Blocked(t, sent)
		require.NoError(t, m.Main().Send(t.Context(), 0, packet.TypeRequest, 1, nil, nil, AtOnce), "a request does not wait for the window for messages")
		p.wantPacket(packet.TypeRequest, 1, "the request is sent")
		p.writeCredit(1, packet.ClassMessages, 1, "credit for the last byte")
		seq, _ := p.wantPacket(packet.TypeMessage, 1, "the message that waited is sent")
		assert.EqualValues(t, 99, seq)
		require.NoError(t, <-sent)
	})
}

func TestMessageWindowViolation(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		for i := range uint64(3) {
			p.writePacket(packet.TypeMessage, 1, i, 1000, "a message within the window")
		}
		p.writePacket(packet.TypeMessage, 1, 3, 1000, "a message beyond the window")
		p.wantViolation("a message beyond the window", "messages", "1128 sent with credit for 712")
		assert.Len(t, h.got(), 3)
	})
}

func TestReleasedMessagesGiveCredit(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		const cost = 1000 + charge.MessageOverhead
		for i := range uint64(3) {
			p.writePacket(packet.TypeMessage, 1, i, 1000, "a message")
		}
		p.wantIdle("no message was released")
		m.Main().Release(packet.TypeMessage, 1000)
		assert.EqualValues(t, cost, p.wantCredit(1, packet.ClassMessages, "credit is granted when the peer has less left"))
		m.Main().Release(packet.TypeMessage, 1000)
		p.wantIdle("credit is not granted while the peer has more left")
		m.Main().Release(packet.TypeMessage, 1000)
		assert.EqualValues(t, 2*cost, p.wantCredit(1, packet.ClassMessages, "all that was released is granted"))
	})
}

func TestHandlerCredit(t *testing.T) {
	s := newSetup()
	s.peer.Handlers, s.local.Handlers = 4, 3
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openTo(t, m, p)
		ctx := t.Context()
		require.NoError(t, d.Send(ctx, 0, packet.TypeRequest, 1, nil, nil, AtOnce))
		p.wantPacket(packet.TypeRequest, d.id, "the first request is sent")
		for seq := range uint64(2) {
			require.NoError(t, d.Send(ctx, 0, packet.TypeRequest, 10+seq, nil, nil, AtOnce))
			p.wantPacket(packet.TypeRequest, d.id, "a request within the share of the stream is sent")
		}
		second := sendOn(d, ctx, packet.TypeRegister, 2, 1)
		kit.Blocked(t, second) // its share is used up
		require.NoError(t, m.Main().Send(ctx, 0, packet.TypeRequest, 3, nil, nil, AtOnce), "another stream has a share of its own")
		p.wantPacket(packet.TypeRequest, 1, "the request of the other stream is sent")
		p.writePacket(packet.TypeResponse, d.id, 1, 12, "the peer answers the first request")
		synctest.Wait()
		kit.Blocked(t, second) // the answer does not grant credit
		p.writeCredit(0, packet.ClassHandlers, 1, "the peer grants a handler")
		p.wantPacket(packet.TypeRegister, d.id, "the registration that waited is sent")
		require.NoError(t, <-second)

		// In the other direction, the Mux checks the credit of the peer.
		for i := range uint64(3) {
			p.writePacket(packet.TypeRequest, 1, i, 10, "a request within the credit")
		}
		p.wantIdle("no handler has returned")
		m.Main().Release(packet.TypeRequest, 10)
		assert.EqualValues(t, 1, p.wantCredit(0, packet.ClassHandlers, "credit is granted when a handler has returned"))
		p.writePacket(packet.TypeRequest, 1, 3, 10, "a request with the new credit")
		p.writePacket(packet.TypeRequest, 1, 4, 10, "a request beyond the credit")
		p.wantViolation("a request beyond the credit", "handlers", "1 sent with credit for 0")
	})
}

func TestLargeCredit(t *testing.T) {
	for _, test := range []struct {
		typ   packet.Type
		class packet.Class
		text  string
	}{
		{packet.TypeRequest, packet.ClassLargeRequests, "large requests"},
		{packet.TypeResponse, packet.ClassLargeResponses, "large responses"},
		{packet.TypeMessage, packet.ClassLargeMessages, "large messages"},
	} {
		t.Run(test.text, func(t *testing.T) {
			const size = 50000
			s := newSetup()
			s.local.MaxMessage, s.local.Large = 60000, 60000+packet.MinLarge
			s.peer = s.local
			s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				ctx := t.Context()
				first := sendOn(m.Main(), ctx, test.typ, 1, size)
				p.wantPacket(test.typ, 1, "a packet within the credit is sent")
				require.NoError(t, <-first)
				second := sendOn(m.Main(), ctx, test.typ, 2, size)
				kit.Blocked(t, second) // there is no credit for a second packet
				stream := uint64(0)
				if test.typ == packet.TypeMessage {
					stream = 1
				}
				if test.typ == packet.TypeRequest {
					p.writePacket(packet.TypeResponse, 1, 1, 12, "the peer answers the first request")
				}
				p.writeCredit(stream, test.class, size, "the peer grants credit")
				p.wantPacket(test.typ, 1, "the packet that waited is sent")
				require.NoError(t, <-second)

				p.writePacket(test.typ, 1, 1, size, "a packet within the credit")
				synctest.Wait()
				if test.typ != packet.TypeResponse { // the Mux releases responses
					m.Main().Release(test.typ, size)
				}
				assert.EqualValues(t, size, p.wantCredit(stream, test.class, "credit is granted at once"))
				p.writePacket(test.typ, 1, 2, size, "a packet with the new credit")
				if test.typ == packet.TypeResponse {
					return
				}
				p.writePacket(test.typ, 1, 3, size, "a packet beyond the credit")
				p.wantViolation("a packet beyond the credit", test.text, "50000 sent with credit for 10160")
			})
		})
	}
}

func TestSendOfAPacketThatIsTooLarge(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		err := m.Main().Send(t.Context(), 0, packet.TypeRequest, 1, make([]byte, packet.MaxHead+1), make([]byte, 1<<20), AtOnce)
		var limit *geminio.LimitError
		require.ErrorAs(t, err, &limit)
		assert.ErrorIs(t, err, geminio.ErrTooLarge)
		assert.EqualValues(t, 1<<20+packet.MaxHead+1, limit.Value)
		assert.EqualValues(t, 1<<20, limit.Limit)
		p.wantIdle("no part of a packet that is too large is sent")
		p.writePacket(packet.TypeRequest, 1, 1, 1, "a request on the same connection")
		synctest.Wait()
		assert.Len(t, h.got(), 1)
	})
}

func TestCreditViolations(t *testing.T) {
	for _, test := range []struct {
		name  string
		write func(p *peer)
		want  []string
	}{
		{"overflow of raw bytes", func(p *peer) {
			p.writeCredit(1, packet.ClassRaw, math.MaxInt32, "")
		}, []string{"raw bytes", "2147483647 on top of 4096"}},
		{"overflow of messages", func(p *peer) {
			p.writeCredit(1, packet.ClassMessages, math.MaxUint32, "")
		}, []string{"messages", "4294967295 on top of 4096"}},
		{"overflow of handlers", func(p *peer) {
			p.writeCredit(0, packet.ClassHandlers, math.MaxInt32, "")
		}, []string{"handlers", "on top of 8"}},
		{"overflow of large messages", func(p *peer) {
			p.writeCredit(1, packet.ClassLargeMessages, math.MaxInt32, "")
		}, []string{"large messages"}},
		{"an amount of 0", func(p *peer) {
			p.writeCredit(1, packet.ClassRaw, 0, "")
		}, []string{"amount of 0"}},
		{"an unknown class", func(p *peer) {
			p.writeCredit(1, packet.Classes, 1, "")
		}, []string{"unknown class 6"}},
		{"raw bytes of the connection", func(p *peer) {
			p.writeCredit(0, packet.ClassRaw, 1, "")
		}, []string{"raw bytes on stream 0"}},
		{"handlers of a stream", func(p *peer) {
			p.writeCredit(1, packet.ClassHandlers, 1, "")
		}, []string{"handlers on stream 1"}},
		{"a stream that the peer never opened", func(p *peer) {
			p.writeCredit(5, packet.ClassRaw, 1, "")
		}, []string{"stream 5 was never opened"}},
		{"a stream that this side never opened", func(p *peer) {
			p.writeCredit(2, packet.ClassRaw, 1, "")
		}, []string{"stream 2 was never opened"}},
		{"large messages of such a stream", func(p *peer) {
			p.writeCredit(2, packet.ClassLargeMessages, 1, "")
		}, []string{"stream 2 was never opened"}},
		{"too short", func(p *peer) {
			p.writeFrame(packet.TypeCredit, 0, 1, make([]byte, 4), "")
		}, []string{"payload of 4 bytes"}},
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

func TestCreditOfAClosedStreamIsIgnored(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		d.Reset(packet.Reason{})
		p.wantReason(packet.TypeReset, 3, 0, "Reset sends a Reset frame")
		p.writeCredit(3, packet.ClassRaw, 1<<30, "credit of a stream that was reset")
		p.writeCredit(3, packet.ClassRaw, 1<<30, "credit that would exceed the largest")
		p.writeCredit(3, packet.ClassMessages, 1<<31-1, "credit of a stream that was reset")
		p.writeCredit(3, packet.ClassLargeMessages, 77, "credit of the connection in a frame of the stream")
		p.wantIdle("credit of a closed stream is not an error")
		m.mu.Lock()
		assert.EqualValues(t, testSettings().Large+77, m.ledger.tx[packet.ClassLargeMessages].avail)
		m.mu.Unlock()
		assert.NoError(t, m.c.Cause())
	})
}

func TestNothingNewOnceGoingAway(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		p.writeReason(packet.TypeGoAway, 0, geminio.CodeGoingAway, "maintenance", "the peer accepts no new work")
		synctest.Wait()
		assert.Len(t, h.away, 1)
		for _, typ := range []packet.Type{packet.TypeRequest, packet.TypeMessage, packet.TypeRegister} {
			assert.Equal(t, geminio.ErrGoingAway, m.Main().Send(t.Context(), 0, typ, 1, nil, nil, AtOnce), typ)
		}
		assert.Equal(t, geminio.ErrGoingAway, m.Open(m.NewDialogue("", nil, nil)))
		require.NoError(t, m.Main().Send(t.Context(), 0, packet.TypeResponse, 1, nil, nil, AtOnce))
		p.wantPacket(packet.TypeResponse, 1, "responses are sent after GoAway")
		p.writeOpen(3, "the peer opens after GoAway")
		assert.Contains(t, p.wantReason(packet.TypeRefuse, 3, geminio.CodeGoingAway, "an Open after GoAway is refused"), "shutting down")
	})
}

func TestSendAfterTheEnd(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		require.NoError(t, d.Close())
		assert.Equal(t, io.EOF, d.Send(t.Context(), 0, packet.TypeRequest, 1, nil, nil, AtOnce))
		d.Post(packet.TypeAck, 1, nil)
		p.want(packet.TypeData, packet.FlagFin|packet.FlagClose, 3, "Close sends the close flag")
		p.nc.Close()
		<-m.c.Done()
		assert.Equal(t, io.EOF, m.Main().Send(t.Context(), 0, packet.TypeRequest, 1, nil, nil, AtOnce))
		var interrupted *geminio.InterruptedError
		assert.False(t, errors.As(io.EOF, &interrupted))
	})
}

// A large request that is abandoned after a part was sent is no longer outstanding: its stream
// may use the same credit again when the peer has granted it.
func TestAbandonedRequestsAreNotOutstanding(t *testing.T) {
	const size = 1 << 20 // several batches
	s := newSetup()
	s.peer.MaxMessage, s.peer.Large = size, size+packet.MinLarge
	s.peer.Handlers = 4
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := m.Main()
		for i := range uint64(10) {
			sent := sendOn(d, t.Context(), packet.TypeRequest, i, size)
			p.want(packet.TypeRequest, more, 1, "the first fragment is sent")
			require.NoError(t, <-sent)
			require.True(t, d.Abandon(packet.TypeRequest, i))
			for typ := packet.TypeRequest; typ != packet.TypeAbandon; {
				head, _ := p.next("the Abandon follows")
				typ = head.Type
			}
			p.writeCredit(0, packet.ClassHandlers, 1, "the peer grants the handler again")
			p.writeCredit(0, packet.ClassLargeRequests, size, "the peer grants the bytes again")
			synctest.Wait()
		}
		require.NoError(t, d.Send(t.Context(), time.Second, packet.TypeRequest, 99, nil, nil, AtOnce), "a small request after the abandoned ones")
	})
}

// A response that the peer abandons resolves its request.
func TestAnAbandonedResponseResolvesItsRequest(t *testing.T) {
	s := newSetup()
	s.peer.MaxMessage, s.peer.Large = 60000, 60000+packet.MinLarge
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := m.Main()
		first := sendOn(d, t.Context(), packet.TypeRequest, 1, 50000)
		p.wantPacket(packet.TypeRequest, 1, "a large request is sent")
		require.NoError(t, <-first)
		p.writeFragment(packet.TypeResponse, more, 1, 1, 20000, 10000, "the first fragment of the response")
		p.writeFrame(packet.TypeAbandon, 0, 1, []byte{0, 0, 0, 0, 0, 0, 0, 1, byte(packet.TypeResponse)}, "the peer abandons it")
		assert.EqualValues(t, 20000, p.wantCredit(0, packet.ClassLargeResponses, "the credit of the response is granted"))
		p.writeCredit(0, packet.ClassHandlers, 1, "the handler has returned")
		p.writeCredit(0, packet.ClassLargeRequests, 50000, "the request is released")
		second := sendOn(d, t.Context(), packet.TypeRequest, 2, 50000)
		p.wantPacket(packet.TypeRequest, 1, "the next large request is sent")
		require.NoError(t, <-second)
	})
}

// Small messages that are abandoned behind a large one give their credit back to the window.
func TestAbandonedMessagesAreRefunded(t *testing.T) {
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

// A packet whose stream is closed while the packet arrives is not handed out, and all of its
// credit is granted again.
func TestCloseWhileAPacketArrives(t *testing.T) {
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
					// One frame has the whole packet. It is written in two halves.
					frame := packet.AppendHeader(nil, packet.Header{Type: typ, Stream: 3, Length: 60008})
					frame = packet.AppendFragmentHeader(frame, packet.FragmentHeader{Seq: 7}, 0)
					frame = append(frame, bytes.Repeat([]byte("x"), 60000)...)
					p.write(frame[:30000], "the first half")
					synctest.Wait()
					end(d)
					read := readInBackground(p)
					p.write(frame[30000:], "the second half")
					synctest.Wait()
					assert.Empty(t, h.got(), "a packet of a closed stream was handed out")
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

// readInBackground reads frames until an error, such as that of the read deadline of p.
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

// frame is a frame that the peer has read.
type frame struct {
	header  packet.Header
	payload []byte
}

// creditIn returns the credit of the connection's classes in frames.
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

// Close releases the messages of its stream that were handed out, also if the Handler does not.
func TestCloseReleasesMessages(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		for i := range uint64(3) {
			p.writePacket(packet.TypeMessage, 3, i, 50000, "a message")
		}
		synctest.Wait()
		require.Len(t, h.got(), 3)
		d.Release(packet.TypeMessage, 50000)
		assert.EqualValues(t, 50000, p.wantCredit(3, packet.ClassLargeMessages, "the released message is granted again"))
		read := readInBackground(p)
		require.NoError(t, d.Close())
		d.Release(packet.TypeMessage, 50000) // of a message that Close has released
		p.writeData(3, packet.FlagFin|packet.FlagClose, 0, "the peer answers the close flag")
		d.Release(packet.TypeMessage, 50000)
		synctest.Wait()
		p.nc.SetReadDeadline(time.Now())
		assert.Equal(t, map[packet.Class]uint32{packet.ClassLargeMessages: 100_000}, creditIn(t, <-read))
	})
}

// The messages of a stream that the peer has reset can still be received. Close releases the
// remaining ones.
func TestCloseAfterAResetReleasesMessages(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		for i := range uint64(2) {
			p.writePacket(packet.TypeMessage, 3, i, 50000, "a message")
		}
		p.writeReason(packet.TypeReset, 3, 1, "", "the peer resets")
		p.wantIdle("the messages can still be received")
		d.Release(packet.TypeMessage, 50000)
		assert.EqualValues(t, 50000, p.wantCredit(0, packet.ClassLargeMessages, "the received message is granted again"))
		require.NoError(t, d.Close())
		assert.EqualValues(t, 50000, p.wantCredit(0, packet.ClassLargeMessages, "the other message is granted again by Close"))
	})
}

// A stream whose first windows pay no messages uses the credit for large messages for small ones,
// with the flag. The credit comes back for the stream while it is open, and for the connection
// after that.
func TestSmallMessagesThatShareCredit(t *testing.T) {
	const size = 100
	const cost = size + charge.MessageOverhead
	s := newSetup()
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		m.windows.limit = m.windows.used + 1000
		p.write(packet.AppendOpen(nil, 3, packet.Open{Windows: packet.Windows{Raw: 1, Messages: 2*cost - 1}}), "an Open with a small window")
		_, payload := p.next("the Accept")
		w, err := packet.ParseAccept(payload)
		require.NoError(t, err)
		require.Equal(t, packet.Windows{Raw: crowdedRaw}, w)
		d, err := m.Accept()
		require.NoError(t, err)

		require.NoError(t, d.Send(t.Context(), 0, packet.TypeMessage, 1, nil, make([]byte, size-1), AtOnce))
		head, _ := p.next("a message that the window pays")
		assert.Zero(t, head.Flags)
		require.NoError(t, d.Send(t.Context(), 0, packet.TypeMessage, 2, nil, make([]byte, size), AtOnce))
		head, _ = p.next("a message that the connection pays")
		assert.Equal(t, packet.FlagShared, head.Flags)
		avail := func(class packet.Class) uint32 {
			m.mu.Lock()
			defer m.mu.Unlock()
			if class == packet.ClassMessages {
				return d.credit.tx[class].avail
			}
			return m.ledger.tx[class].avail
		}
		assert.EqualValues(t, 2*cost-1-(cost-1), avail(packet.ClassMessages))
		assert.EqualValues(t, s.peer.Large-cost, avail(packet.ClassLargeMessages))

		shared := func(number uint64) []byte {
			b := kit.AppendPacket(nil, packet.TypeMessage, 3, number, make([]byte, size))
			b[1] = byte(packet.FlagShared)
			return b
		}
		p.write(shared(1), "a message that the connection pays")
		synctest.Wait()
		d.Release(packet.TypeMessage, size)
		assert.EqualValues(t, cost, p.wantCredit(3, packet.ClassLargeMessages, "the credit of the message"))
		d.Reset(packet.Reason{})
		p.wantReason(packet.TypeReset, 3, 0, "the stream ends")
		p.write(shared(2), "a message for the stream that has ended")
		assert.EqualValues(t, cost, p.wantCredit(0, packet.ClassLargeMessages, "its credit"))
		p.write(kit.AppendPacket(nil, packet.TypeMessage, 3, 3, make([]byte, size)), "a message that the window would have paid")
		p.wantIdle("a closed stream has no credit of its own")
	})
}
