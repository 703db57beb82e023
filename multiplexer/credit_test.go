package multiplexer

import (
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
			p.wantPacket(packet.TypeMessage, 1, "there is credit")
		}
		sent := sendOn(m.Main(), t.Context(), packet.TypeMessage, 99, body)
		kit.Blocked(t, sent) // the window is used up
		p.writeCredit(1, packet.ClassRaw, 10000, "of another class")
		p.writeCredit(1, packet.ClassMessages, cost-testSettings().Messages%cost-1, "one byte is missing")
		kit.Blocked(t, sent)
		require.NoError(t, m.Main().Send(t.Context(), 0, packet.TypeRequest, 1, nil, nil, AtOnce), "only messages wait")
		p.wantPacket(packet.TypeRequest, 1, "a request")
		p.writeCredit(1, packet.ClassMessages, 1, "the byte")
		seq, _ := p.wantPacket(packet.TypeMessage, 1, "it goes on")
		assert.EqualValues(t, 99, seq)
		require.NoError(t, <-sent)
	})
}

func TestMessageWindowViolation(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		for i := range uint64(3) {
			p.writePacket(packet.TypeMessage, 1, i, 1000, "within the window")
		}
		p.writePacket(packet.TypeMessage, 1, 3, 1000, "beyond the window")
		p.wantViolation("beyond the window", "messages", "1128 sent with credit for 712")
		assert.Len(t, h.got(), 3)
	})
}

func TestReleasedMessagesGiveCredit(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		const cost = 1000 + charge.MessageOverhead
		for i := range uint64(3) {
			p.writePacket(packet.TypeMessage, 1, i, 1000, "a message")
		}
		p.wantIdle("nothing was released")
		m.Main().Release(packet.TypeMessage, 1000)
		assert.EqualValues(t, cost, p.wantCredit(1, packet.ClassMessages, "the peer has less left than that"))
		m.Main().Release(packet.TypeMessage, 1000)
		p.wantIdle("the peer has more left than that")
		m.Main().Release(packet.TypeMessage, 1000)
		assert.EqualValues(t, 2*cost, p.wantCredit(1, packet.ClassMessages, "all"))
	})
}

func TestHandlerCredit(t *testing.T) {
	s := newSetup()
	s.peer.Handlers, s.local.Handlers = 4, 3
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openTo(t, m, p)
		ctx := t.Context()
		require.NoError(t, d.Send(ctx, 0, packet.TypeRequest, 1, nil, nil, AtOnce))
		p.wantPacket(packet.TypeRequest, d.id, "one")
		for seq := range uint64(2) {
			require.NoError(t, d.Send(ctx, 0, packet.TypeRequest, 10+seq, nil, nil, AtOnce))
			p.wantPacket(packet.TypeRequest, d.id, "within its share")
		}
		second := sendOn(d, ctx, packet.TypeRegister, 2, 1)
		kit.Blocked(t, second) // its share is used up
		require.NoError(t, m.Main().Send(ctx, 0, packet.TypeRequest, 3, nil, nil, AtOnce), "another has a share too")
		p.wantPacket(packet.TypeRequest, 1, "of another")
		p.writePacket(packet.TypeResponse, d.id, 1, 12, "the answer")
		synctest.Wait()
		kit.Blocked(t, second) // an answer is no credit
		p.writeCredit(0, packet.ClassHandlers, 1, "credit")
		p.wantPacket(packet.TypeRegister, d.id, "two")
		require.NoError(t, <-second)

		// And the other way round.
		for i := range uint64(3) {
			p.writePacket(packet.TypeRequest, 1, i, 10, "within the credit")
		}
		p.wantIdle("all run")
		m.Main().Release(packet.TypeRequest, 10)
		assert.EqualValues(t, 1, p.wantCredit(0, packet.ClassHandlers, "one is done"))
		p.writePacket(packet.TypeRequest, 1, 3, 10, "again")
		p.writePacket(packet.TypeRequest, 1, 4, 10, "beyond the credit")
		p.wantViolation("more handlers than allowed", "handlers", "1 sent with credit for 0")
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
			s.local.MaxMessage, s.local.Large = 60000, 60000+packet.MaxHead
			s.peer = s.local
			s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				ctx := t.Context()
				first := sendOn(m.Main(), ctx, test.typ, 1, size)
				p.wantPacket(test.typ, 1, "there is credit")
				require.NoError(t, <-first)
				second := sendOn(m.Main(), ctx, test.typ, 2, size)
				kit.Blocked(t, second) // there is none for two
				stream := uint64(0)
				if test.typ == packet.TypeMessage {
					stream = 1
				}
				if test.typ == packet.TypeRequest {
					p.writePacket(packet.TypeResponse, 1, 1, 12, "what the first one held is free")
				}
				p.writeCredit(stream, test.class, size, "credit")
				p.wantPacket(test.typ, 1, "there is again")
				require.NoError(t, <-second)

				p.writePacket(test.typ, 1, 1, size, "within the credit")
				synctest.Wait()
				if test.typ != packet.TypeResponse { // which nobody holds
					m.Main().Release(test.typ, size)
				}
				assert.EqualValues(t, size, p.wantCredit(stream, test.class, "given back at once"))
				p.writePacket(test.typ, 1, 2, size, "again")
				if test.typ == packet.TypeResponse {
					return
				}
				p.writePacket(test.typ, 1, 3, size, "beyond the credit")
				p.wantViolation("too much", test.text, "50000 sent with credit for 10032")
			})
		})
	}
}

func TestTooLargeIsRefusedBeforeAByteIsSent(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		err := m.Main().Send(t.Context(), 0, packet.TypeRequest, 1, make([]byte, packet.MaxHead+1), make([]byte, 1<<20), AtOnce)
		var limit *geminio.LimitError
		require.ErrorAs(t, err, &limit)
		assert.ErrorIs(t, err, geminio.ErrTooLarge)
		assert.EqualValues(t, 1<<20+packet.MaxHead+1, limit.Value)
		assert.EqualValues(t, 1<<20, limit.Limit)
		p.wantIdle("nothing is sent")
		p.writePacket(packet.TypeRequest, 1, 1, 1, "the connection lives on")
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
		{"nothing", func(p *peer) {
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

func TestCreditThatComesTooLateIsIgnored(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		d.Reset(packet.Reason{})
		p.wantReason(packet.TypeReset, 3, 0, "this side resets")
		p.writeCredit(3, packet.ClassRaw, 1<<30, "for a stream that is gone")
		p.writeCredit(3, packet.ClassRaw, 1<<30, "even too much")
		p.writeCredit(3, packet.ClassMessages, 1<<31-1, "for a stream that is gone")
		p.writeCredit(3, packet.ClassLargeMessages, 77, "the connection's, though")
		p.wantIdle("no error")
		m.mu.Lock()
		assert.EqualValues(t, testSettings().Large+77, m.ledger.tx[packet.ClassLargeMessages].avail)
		m.mu.Unlock()
		assert.NoError(t, m.c.Cause())
	})
}

func TestWaitForCreditIsFirstComeFirstServed(t *testing.T) {
	s := newSetup()
	s.peer.MaxMessage, s.peer.Large = 60000, 60000+packet.MaxHead
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		ctx := t.Context()
		first := sendOn(m.Main(), ctx, packet.TypeResponse, 0, 55000)
		p.wantPacket(packet.TypeResponse, 1, "there is credit")
		require.NoError(t, <-first)
		var waiting []<-chan error
		sizes := []int{50000, 5000, 20000, 5000}
		for i, size := range sizes {
			waiting = append(waiting, sendOn(m.Main(), ctx, packet.TypeResponse, uint64(i+1), size))
			synctest.Wait()
		}
		p.writeCredit(0, packet.ClassLargeResponses, 40000, "enough for all but the first")
		kit.Blocked(t, waiting[1]) // small ones do not overtake a large one for ever
		p.writeCredit(0, packet.ClassLargeResponses, 40000, "enough for all")
		var sent []uint64
		for i := range sizes {
			seq, _ := p.wantPacket(packet.TypeResponse, 1, "all of them")
			sent = append(sent, seq)
			require.NoError(t, <-waiting[i])
		}
		assert.ElementsMatch(t, []uint64{1, 2, 3, 4}, sent)
		assert.Zero(t, m.waits.count)
	})
}

func TestWaitForCreditEnds(t *testing.T) {
	type wait struct {
		name string
		send func(t *testing.T, m *Mux, d *Dialogue, p *peer, size int) error
		want error
		took time.Duration
	}
	waits := []wait{
		{"timeout", func(t *testing.T, m *Mux, d *Dialogue, p *peer, size int) error {
			return d.Send(t.Context(), 3*time.Second, packet.TypeMessage, 1, nil, make([]byte, size), AtOnce)
		}, context.DeadlineExceeded, 3 * time.Second},
		{"deadline", func(t *testing.T, m *Mux, d *Dialogue, p *peer, size int) error {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			return d.Send(ctx, 3*time.Second, packet.TypeMessage, 1, nil, make([]byte, size), AtOnce)
		}, context.DeadlineExceeded, 2 * time.Second},
		{"cancel", func(t *testing.T, m *Mux, d *Dialogue, p *peer, size int) error {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			return d.Send(ctx, 0, packet.TypeMessage, 1, nil, make([]byte, size), AtOnce)
		}, context.Canceled, time.Second},
		{"close", func(t *testing.T, m *Mux, d *Dialogue, p *peer, size int) error {
			time.AfterFunc(time.Second, func() { d.Close() })
			return d.Send(t.Context(), 0, packet.TypeMessage, 1, nil, make([]byte, size), AtOnce)
		}, geminio.ErrNotExecuted, time.Second},
		{"reset", func(t *testing.T, m *Mux, d *Dialogue, p *peer, size int) error {
			time.AfterFunc(time.Second, func() { d.Reset(packet.Reason{}) })
			return d.Send(t.Context(), 0, packet.TypeMessage, 1, nil, make([]byte, size), AtOnce)
		}, geminio.ErrNotExecuted, time.Second},
		{"the end of the connection", func(t *testing.T, m *Mux, d *Dialogue, p *peer, size int) error {
			time.AfterFunc(time.Second, func() { m.Close(io.EOF, packet.Reason{}) })
			return d.Send(t.Context(), 0, packet.TypeMessage, 1, nil, make([]byte, size), AtOnce)
		}, geminio.ErrNotExecuted, time.Second},
		{"the peer goes away", func(t *testing.T, m *Mux, d *Dialogue, p *peer, size int) error {
			time.AfterFunc(time.Second, func() { m.GoAway(packet.Reason{}) })
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			return d.Send(ctx, 0, packet.TypeMessage, 1, nil, make([]byte, size), AtOnce)
		}, nil, 0},
	}
	for _, size := range []int{1000, 50000} {
		for _, w := range waits {
			if w.want == nil {
				continue
			}
			name := w.name + " of a small one"
			if size > 1000 {
				name = w.name + " of a large one"
			}
			t.Run(name, func(t *testing.T) {
				s := newSetup()
				s.peer.MaxMessage, s.peer.Large = 60000, 60000+packet.MaxHead
				s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
					d := openFrom(t, m, p, 3)
					go io.Copy(io.Discard, p.nc)
					p.nc.SetReadDeadline(time.Time{})
					m.mu.Lock()
					d.credit.tx[packet.ClassMessages] = newOutflow(0)
					m.ledger.tx[packet.ClassLargeMessages] = newOutflow(0)
					m.mu.Unlock()
					start := time.Now()
					err := w.send(t, m, d, p, size)
					assert.ErrorIs(t, err, w.want)
					assert.Equal(t, w.took, time.Since(start))
					m.mu.Lock()
					defer m.mu.Unlock()
					assert.Zero(t, m.waits.count, "nobody waits any more")
				})
			})
		}
	}
}

func TestNothingNewOnceGoingAway(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		p.writeReason(packet.TypeGoAway, 0, geminio.CodeGoingAway, "maintenance", "the peer drains")
		synctest.Wait()
		assert.Len(t, h.away, 1)
		for _, typ := range []packet.Type{packet.TypeRequest, packet.TypeMessage, packet.TypeRegister} {
			assert.Equal(t, geminio.ErrGoingAway, m.Main().Send(t.Context(), 0, typ, 1, nil, nil, AtOnce), typ)
		}
		assert.Equal(t, geminio.ErrGoingAway, m.Open(m.NewDialogue("", nil)))
		require.NoError(t, m.Main().Send(t.Context(), 0, packet.TypeResponse, 1, nil, nil, AtOnce))
		p.wantPacket(packet.TypeResponse, 1, "answers go on")
		p.writeOpen(3, "something new")
		assert.Contains(t, p.wantReason(packet.TypeRefuse, 3, geminio.CodeGoingAway, "refused"), "shutting down")
	})
}

// What one dialogue may not take any more holds back no other.
func TestAWaitingShareHoldsBackNobodyElse(t *testing.T) {
	s := newSetup()
	s.peer.MaxMessage, s.peer.Large = 40000, 100000
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		slow, other := openTo(t, m, p), openTo(t, m, p)
		go io.Copy(io.Discard, p.nc)
		p.nc.SetReadDeadline(time.Time{})
		for i := range uint64(4) {
			require.NoError(t, slow.Send(t.Context(), 0, packet.TypeMessage, 10+i, nil, make([]byte, 20000), AtOnce))
		}
		stuck := sendOn(slow, t.Context(), packet.TypeMessage, 2, 20000)
		kit.Blocked(t, stuck) // its receiver is slow: more than its share
		sent := sendOn(other, t.Context(), packet.TypeMessage, 1, 20000)
		require.NoError(t, kit.Returned(t, sent), "there is credit for 20000 bytes")
		p.writeCredit(slow.id, packet.ClassLargeMessages, 80000, "the receiver has woken up")
		require.NoError(t, kit.Returned(t, stuck))
	})
}

func TestSendAfterTheEnd(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		require.NoError(t, d.Close())
		assert.Equal(t, io.EOF, d.Send(t.Context(), 0, packet.TypeRequest, 1, nil, nil, AtOnce))
		d.Post(packet.TypeAck, 1, nil)
		p.want(packet.TypeData, packet.FlagFin|packet.FlagClose, 3, "the end of it")
		p.nc.Close()
		<-m.c.Done()
		assert.Equal(t, io.EOF, m.Main().Send(t.Context(), 0, packet.TypeRequest, 1, nil, nil, AtOnce))
		var interrupted *geminio.InterruptedError
		assert.False(t, errors.As(io.EOF, &interrupted))
	})
}

// Who waits only behind somebody else goes when that one's stream ends.
func TestTheEndOfAStreamLetsOthersGo(t *testing.T) {
	s := newSetup()
	s.peer.MaxMessage, s.peer.Large = 60000, 60000+packet.MaxHead
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		first, second := openTo(t, m, p), openTo(t, m, p)
		go io.Copy(io.Discard, p.nc)
		p.nc.SetReadDeadline(time.Time{})
		require.NoError(t, m.Main().Send(t.Context(), 0, packet.TypeResponse, 1, nil, make([]byte, 55000), AtOnce))
		large := sendOn(first, t.Context(), packet.TypeResponse, 2, 50000)
		kit.Blocked(t, large) // there is not enough
		small := sendOn(second, t.Context(), packet.TypeResponse, 3, 4000)
		kit.Blocked(t, small) // there is enough, but somebody came first
		require.NoError(t, first.Close())
		assert.ErrorIs(t, <-large, geminio.ErrNotExecuted)
		synctest.Wait()
		select {
		case err := <-small:
			assert.NoError(t, err)
		default:
			t.Error("nobody is in front any more")
		}
	})
}
