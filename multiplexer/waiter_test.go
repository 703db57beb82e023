package multiplexer

import (
	"context"
	"fmt"
	"io"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// withSilentPeer runs a test of a Mux whose peer sends nothing, with Mux.mu held.
func withSilentPeer(t *testing.T, change func(s *setup), test func(t *testing.T, m *Mux)) {
	s := newSetup()
	s.lim.Windows = math.MaxInt64
	s.peer.MaxMessage, s.peer.Large = 60_000, 60_000+packet.MinLarge
	if change != nil {
		change(s)
	}
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		m.mu.Lock()
		defer m.mu.Unlock()
		test(t, m)
	})
}

// openMany makes dialogues as if the peer had accepted them. m.mu is held.
func openMany(t *testing.T, m *Mux, n int) []*Dialogue {
	t.Helper()
	all := make([]*Dialogue, n)
	for i := range all {
		w, ok := m.windows.add(0)
		require.True(t, ok)
		d := m.newDialogue(m.streams.nextID, packet.Open{})
		d.initWindows(w)
		m.streams.nextID += 2
		d.life, d.send.state = lifeOpen, sendOpen
		d.grant(packet.Windows{Raw: 4096, Messages: 4096})
		m.table.add(d)
		m.streams.local++
		all[i] = d
	}
	return all
}

// sendOrWait queues a packet if there is credit for it, and otherwise returns a waiter for it.
// m.mu is held.
func (m *Mux) sendOrWait(d *Dialogue, typ packet.Type, seq uint64, size int) *creditWaiter {
	c := d.charge(typ, size)
	data := make([]byte, size)
	if d.admit(seq, c) {
		d.enqueue(typ, seq, c, nil, data)
		return nil
	}
	w := &creditWaiter{typ: typ, seq: seq, charge: c, data: data}
	d.addWaiter(w)
	return w
}

// giveUp ends a wait as waitCredit does. m.mu is held.
func (m *Mux) giveUp(d *Dialogue, w *creditWaiter) {
	d.removeWaiter(w, geminio.ErrTooMany)
	d.serveKind(kindOf(w.charge))
}

// visits returns the number of nodes of streams that were visited.
func (m *Mux) visits() (n uint64) {
	for i := range m.waits.trees {
		n += m.waits.trees[i].visits
	}
	return n
}

// visitsFor returns a bound of the visits for one waiter, from its addition to its removal.
func visitsFor(streams int) uint64 {
	return 40 * uint64(math.Ilogb(float64(streams))+1)
}

// A waiter that gives up visits few streams, for any number of waiters and streams and for any
// order.
func TestManyWaitersGiveUp(t *testing.T) {
	const waiters = 60_000
	for _, streams := range []int{1, 100, 15_000} {
		for order, index := range map[string]func(i int) int{
			"first to last": func(i int) int { return i },
			"last to first": func(i int) int { return waiters - 1 - i },
			"mixed":         func(i int) int { return i * 7919 % waiters },
		} {
			t.Run(fmt.Sprint(streams, " streams ", order), func(t *testing.T) {
				withSilentPeer(t, func(s *setup) { s.peer.Handlers = 1 }, func(t *testing.T, m *Mux) {
					all := openMany(t, m, streams)
					require.Nil(t, m.sendOrWait(m.main, packet.TypeRequest, 1, 10), "the only handler is available")
					ws := make([]*creditWaiter, waiters)
					for i := range ws {
						ws[i] = m.sendOrWait(all[i%streams], packet.TypeRequest, uint64(i+2), 10)
						require.NotNil(t, ws[i])
					}
					for i := range ws {
						k := index(i)
						m.giveUp(all[k%streams], ws[k])
					}
					assert.Zero(t, m.waits.count)
					assert.Less(t, m.visits(), waiters*visitsFor(streams))
				})
			})
		}
	}
}

// Thousands of streams compete for a few handlers. Each answer and each Credit frame visits few
// streams, and every stream is served.
func TestManyStreamsContendForHandlers(t *testing.T) {
	const streams, handlers, rounds = 16_000, 16, 3
	withSilentPeer(t, func(s *setup) { s.peer.Handlers = handlers }, func(t *testing.T, m *Mux) {
		all := openMany(t, m, streams)
		var ws []*creditWaiter
		for i := range streams * rounds {
			if w := m.sendOrWait(all[i%streams], packet.TypeRequest, uint64(i), 10); w != nil {
				ws = append(ws, w)
			}
		}
		require.Len(t, ws, streams*rounds-handlers)
		served := make(map[*Dialogue]int)
		for i := range streams * rounds {
			d := all[i%streams] // streams are served in turn
			require.Positive(t, d.credit.handlers, "handlers of the stream that is next after %d answers", i)
			d.appendPackets(new(conn.Batch)) // sends the request
			d.answered(uint64(i))            // answers it
			require.NoError(t, m.addCredit(nil, packet.Credit{Class: packet.ClassHandlers, Amount: 1}))
			served[d]++
		}
		assert.Zero(t, m.waits.count)
		assert.Len(t, served, streams)
		for _, w := range ws {
			require.True(t, w.finished)
			require.NoError(t, w.err)
		}
		assert.Less(t, m.visits(), streams*rounds*visitsFor(streams))
	})
}

// Thousands of streams with waiters end, one after the other. Each end visits few streams.
func TestManyStreamsWithWaitersEnd(t *testing.T) {
	const streams = 16_000
	for _, typ := range []packet.Type{packet.TypeRequest, packet.TypeResponse, packet.TypeMessage} {
		for _, size := range []int{10, 50_000} {
			if typ == packet.TypeResponse && size == 10 {
				continue
			}
			t.Run(fmt.Sprint(typ, " of ", size), func(t *testing.T) {
				withSilentPeer(t, func(s *setup) { s.peer.Handlers = 1 }, func(t *testing.T, m *Mux) {
					all := openMany(t, m, streams)
					m.sendOrWait(m.main, typ, 1, size)
					data := make([]byte, size)
					for i, d := range all {
						d.credit.tx[packet.ClassMessages] = newOutflow(0)
						w := &creditWaiter{typ: typ, seq: uint64(i + 2), charge: d.charge(typ, size), data: data}
						require.False(t, d.admit(w.seq, w.charge))
						d.addWaiter(w)
					}
					for _, d := range all {
						d.on(evPeerReset)
						d.failSend(geminio.ErrGoingAway)
						m.remove(d)
					}
					assert.Zero(t, m.waits.count)
					assert.Less(t, m.visits(), streams*visitsFor(streams))
				})
			})
		}
	}
}

// The oldest large packet of a stream without outstanding ones is served first. Streams with
// outstanding packets follow, in the order of what they have and need.
func TestTheOldestLargePacketGoesFirst(t *testing.T) {
	withSilentPeer(t, func(s *setup) { s.peer.Large = 100_000 }, func(t *testing.T, m *Mux) {
		all := openMany(t, m, 4)
		typ := packet.TypeMessage
		grant := func(d *Dialogue, n uint32) {
			require.NoError(t, m.addCredit(d, packet.Credit{Class: packet.ClassLargeMessages, Amount: n}))
		}
		require.Nil(t, m.sendOrWait(all[0], typ, 1, 50_000))
		beyond := m.sendOrWait(all[0], typ, 2, 45_000)
		require.NotNil(t, beyond, "a packet beyond the share of its stream was queued")
		first := m.sendOrWait(all[1], typ, 3, 55_000)
		require.NotNil(t, first, "a packet without enough credit was queued")
		second := m.sendOrWait(all[2], typ, 4, 10_000)
		require.NotNil(t, second, "a packet overtook an older one")
		grant(nil, 10_000)
		assert.True(t, first.finished, "the oldest waiter of a stream without outstanding packets still waits")
		assert.False(t, beyond.finished)
		assert.False(t, second.finished, "5000 are available for a packet of 10000")
		grant(all[1], 55_000)
		assert.True(t, second.finished)
		assert.False(t, beyond.finished, "50000 are outstanding and 50000 available for a packet of 45000")
		grant(all[0], 50_000)
		assert.True(t, beyond.finished, "nothing of the stream is outstanding, and the packet still waits")
	})
}

// A large request that waits because the handlers of its stream are busy does not delay large
// requests of other streams.
func TestAStreamBeyondItsShareDelaysNoOther(t *testing.T) {
	withSilentPeer(t, func(s *setup) { s.peer.Handlers = 8 }, func(t *testing.T, m *Mux) {
		all := openMany(t, m, 2)
		seq := uint64(0)
		send := func(d *Dialogue, size int) *creditWaiter {
			seq++
			return m.sendOrWait(d, packet.TypeRequest, seq, size)
		}
		for send(all[0], 10) == nil {
		}
		large := send(all[0], 50_000)
		require.NotNil(t, large, "a request beyond the share of its stream was queued")
		assert.Nil(t, send(all[1], 50_000), "a request within the share of its stream waits")
		assert.False(t, large.finished)
	})
}

// Small and large requests get handlers in the order in which they began to wait.
func TestLargeRequestsGetAHandlerInTurn(t *testing.T) {
	withSilentPeer(t, func(s *setup) { s.peer.Handlers = 1 }, func(t *testing.T, m *Mux) {
		all := openMany(t, m, 3)
		require.Nil(t, m.sendOrWait(m.main, packet.TypeRequest, 1, 10))
		before := m.sendOrWait(all[0], packet.TypeRequest, 2, 10)
		large := m.sendOrWait(all[1], packet.TypeRequest, 3, 50_000)
		behind := m.sendOrWait(all[2], packet.TypeRequest, 4, 10)
		for _, w := range []*creditWaiter{before, large, behind} {
			require.False(t, w.finished)
			require.NoError(t, m.addCredit(nil, packet.Credit{Class: packet.ClassHandlers, Amount: 1}))
			require.True(t, w.finished)
		}
	})
}

// Packets that wait behind a packet whose caller gives up are admitted at once.
func TestGivingUpAdmitsOthers(t *testing.T) {
	for name, of := range map[string]func(d, other *Dialogue) *Dialogue{
		"of the same stream": func(d, _ *Dialogue) *Dialogue { return d },
		"of another":         func(_, other *Dialogue) *Dialogue { return other },
	} {
		t.Run(name, func(t *testing.T) {
			withSilentPeer(t, nil, func(t *testing.T, m *Mux) {
				all := openMany(t, m, 2)
				require.Nil(t, m.sendOrWait(m.main, packet.TypeResponse, 1, 40_000))
				large := m.sendOrWait(all[0], packet.TypeResponse, 2, 50_000)
				small := m.sendOrWait(of(all[0], all[1]), packet.TypeResponse, 3, 10_000)
				require.NotNil(t, small)
				m.giveUp(all[0], large)
				assert.True(t, small.finished)
			})
		})
	}
	t.Run("small messages", func(t *testing.T) {
		withSilentPeer(t, nil, func(t *testing.T, m *Mux) {
			require.Nil(t, m.sendOrWait(m.main, packet.TypeMessage, 1, 1500))
			require.Nil(t, m.sendOrWait(m.main, packet.TypeMessage, 2, 1500))
			first := m.sendOrWait(m.main, packet.TypeMessage, 3, 1500)
			second := m.sendOrWait(m.main, packet.TypeMessage, 4, 100)
			m.giveUp(m.main, first)
			assert.True(t, second.finished)
		})
	})
}

// A packet gets its credit when its stream ends. It is not sent, and the credit is not lost.
func TestCreditAtTheEndOfTheStream(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		m.mu.Lock()
		m.ledger.tx[packet.ClassHandlers] = newOutflow(0)
		m.mu.Unlock()
		sent := sendOn(d, t.Context(), packet.TypeRequest, 7, 10)
		kit.Blocked(t, sent)
		m.mu.Lock()
		require.NoError(t, m.addCredit(nil, packet.Credit{Class: packet.ClassHandlers, Amount: 1}))
		d.resetReason = &packet.Reason{Code: 1}
		d.on(evReset)
		d.failSend(geminio.ErrGoingAway)
		m.signal(d, ctlReset)
		d.dropQueue()
		m.remove(d)
		m.mu.Unlock()
		require.NoError(t, <-sent, "the packet had its credit before the end")
		assert.True(t, d.Abandon(packet.TypeRequest, 7), "a packet that was not sent counts as seen by the peer")
		p.wantReason(packet.TypeReset, 3, 1, "the Reset is sent")
		p.wantIdle("nothing follows the Reset")
		m.mu.Lock()
		defer m.mu.Unlock()
		assert.EqualValues(t, 1, m.ledger.tx[packet.ClassHandlers].avail)
	})
}

// Abandoning many messages that wait behind a large one takes linear time.
func TestManyQueuedMessagesAreAbandoned(t *testing.T) {
	const messages = 30_000
	s := newSetup()
	s.peer.Messages = messages * (charge.MessageOverhead + 1)
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := m.Main()
		blockWriter(t, m)
		require.NoError(t, d.Send(t.Context(), 0, packet.TypeMessage, 1, nil, make([]byte, 50_000), AtOnce))
		for i := range uint64(messages) {
			require.NoError(t, d.Send(t.Context(), time.Second, packet.TypeMessage, i+2, nil, nil, Later))
		}
		for i := range uint64(messages) {
			require.True(t, d.Abandon(packet.TypeMessage, messages+1-i), "message %d", messages+1-i)
		}
		require.Zero(t, d.packets.large.behind.Len())
		synctest.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		assert.EqualValues(t, s.peer.Messages, d.credit.tx[packet.ClassMessages].avail)
	})
}

func TestKindOf(t *testing.T) {
	const small = 100
	for _, test := range []struct {
		typ  packet.Type
		size int
		want waitKind
	}{
		{packet.TypeRequest, small, waitRequest},
		{packet.TypeRequest, small + 1, waitLargeRequest},
		{packet.TypeRegister, small, waitRequest},
		{packet.TypeRegister, small + 1, waitRequest},
		{packet.TypeMessage, 0, waitMessage},
		{packet.TypeMessage, small, waitMessage},
		{packet.TypeMessage, small + 1, waitLargeMessage},
		{packet.TypeResponse, small, waitNone},
		{packet.TypeResponse, small + 1, waitLargeResponse},
		{packet.TypeAck, small + 1, waitNone},
		{packet.TypeCancel, 0, waitNone},
		{packet.TypeAbandon, 1, waitNone},
	} {
		got := kindOf(charge.For(test.typ, test.size, small, small+charge.MessageOverhead))
		assert.Equal(t, test.want, got, "kind of %v of %d bytes", test.typ, test.size)
	}
}

// The waiters of one kind and one stream are served in their order.
func TestWaitersAreServedInOrder(t *testing.T) {
	s := newSetup()
	s.peer.MaxMessage, s.peer.Large = 60000, 60000+packet.MinLarge
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		ctx := t.Context()
		first := sendOn(m.Main(), ctx, packet.TypeResponse, 0, 55000)
		p.wantPacket(packet.TypeResponse, 1, "a packet within the credit is sent")
		require.NoError(t, <-first)
		var waiting []<-chan error
		sizes := []int{50000, 5000, 20000, 5000}
		for i, size := range sizes {
			waiting = append(waiting, sendOn(m.Main(), ctx, packet.TypeResponse, uint64(i+1), size))
			synctest.Wait()
		}
		p.writeCredit(0, packet.ClassLargeResponses, 40000, "credit for each packet but the first")
		kit.Blocked(t, waiting[1]) // small packets do not overtake a large one
		p.writeCredit(0, packet.ClassLargeResponses, 40000, "credit for all packets")
		var sent []uint64
		for i := range sizes {
			seq, _ := p.wantPacket(packet.TypeResponse, 1, "all waiters are sent")
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
			name := w.name + " with a small message"
			if size > 1000 {
				name = w.name + " with a large message"
			}
			t.Run(name, func(t *testing.T) {
				s := newSetup()
				s.peer.MaxMessage, s.peer.Large = 60000, 60000+packet.MinLarge
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
					assert.Zero(t, m.waits.count, "waiters after the wait")
				})
			})
		}
	}
}

// A message that waits because of the share of its stream does not delay other streams.
func TestMessagesBeyondTheShareDelayNoOther(t *testing.T) {
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
		kit.Blocked(t, stuck) // beyond the share of the stream, whose receiver is slow
		sent := sendOn(other, t.Context(), packet.TypeMessage, 1, 20000)
		require.NoError(t, kit.Returned(t, sent), "another stream has a share of its own")
		p.writeCredit(slow.id, packet.ClassLargeMessages, 80000, "the receiver takes the messages of the slow stream")
		require.NoError(t, kit.Returned(t, stuck))
	})
}

// Packets that wait behind a packet of another stream are admitted when that stream ends.
func TestTheEndOfAStreamAdmitsOthers(t *testing.T) {
	s := newSetup()
	s.peer.MaxMessage, s.peer.Large = 60000, 60000+packet.MinLarge
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		first, second := openTo(t, m, p), openTo(t, m, p)
		go io.Copy(io.Discard, p.nc)
		p.nc.SetReadDeadline(time.Time{})
		require.NoError(t, m.Main().Send(t.Context(), 0, packet.TypeResponse, 1, nil, make([]byte, 55000), AtOnce))
		large := sendOn(first, t.Context(), packet.TypeResponse, 2, 50000)
		kit.Blocked(t, large) // there is not enough credit
		small := sendOn(second, t.Context(), packet.TypeResponse, 3, 4000)
		kit.Blocked(t, small) // the large packet is first in line
		require.NoError(t, first.Close())
		assert.ErrorIs(t, <-large, geminio.ErrNotExecuted)
		synctest.Wait()
		select {
		case err := <-small:
			assert.NoError(t, err)
		default:
			t.Error("the packet still waits, although it is the only one")
		}
	})
}

// nosyContext is a context whose methods use the Mux.
type nosyContext struct {
	context.Context
	m *Mux
}

func (c nosyContext) Done() <-chan struct{} { c.m.Idle(); return c.Context.Done() }
func (c nosyContext) Err() error            { c.m.Idle(); return c.Context.Err() }
func (c nosyContext) Value(key any) any     { c.m.Idle(); return c.Context.Value(key) }

// Methods of a context are called without a lock.
func TestContextThatUsesTheMux(t *testing.T) {
	s := newSetup()
	s.peer.Handlers = 1
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		go io.Copy(io.Discard, p.nc)
		require.NoError(t, m.main.Send(t.Context(), 0, packet.TypeRequest, 1, nil, nil, Later))
		ended := make(chan error, 1)
		go func() {
			ended <- m.main.Send(nosyContext{t.Context(), m}, time.Minute, packet.TypeRequest, 2, nil, nil, Later)
		}()
		time.Sleep(2 * time.Minute)
		select {
		case err := <-ended:
			assert.Equal(t, context.DeadlineExceeded, err)
		default:
			t.Fatal("Send has not returned")
		}
	})
}
