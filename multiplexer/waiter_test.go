package multiplexer

import (
	"fmt"
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

// unserved is a Mux whose peer never says anything, for tests that lock it and look at its
// waiters without goroutines.
func withSilentPeer(t *testing.T, change func(s *setup), test func(t *testing.T, m *Mux)) {
	s := newSetup()
	s.lim.Windows = math.MaxInt64
	s.peer.MaxMessage, s.peer.Large = 60_000, 60_000+packet.MaxHead
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
		require.True(t, m.windows.add(0))
		d := m.newDialogue(m.nextID, "", nil)
		m.nextID += 2
		d.life, d.send.state = lifeOpen, sendOpen
		d.grant(packet.Windows{Raw: 4096, Messages: 4096})
		m.table[d.id] = d
		m.localStreams++
		all[i] = d
	}
	return all
}

// ask asks for the credit of a packet: it returns nil if there is enough, or else a waiter.
// m.mu is held.
func (m *Mux) sendOrWait(d *Dialogue, typ packet.Type, seq uint64, size int) *creditWaiter {
	c := m.charge(typ, size)
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

// visits returns how many streams with waiters were looked at.
func (m *Mux) visits() (n uint64) {
	for i := range m.waits.trees {
		n += m.waits.trees[i].visits
	}
	return n
}

// visitsFor bounds the visits that one waiter of so many streams costs, from its coming to
// its going.
func visitsFor(streams int) uint64 {
	return 40 * uint64(math.Ilogb(float64(streams))+1)
}

// However many callers wait on however many streams, and in which order they give up: each
// of them looks at a few streams only.
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
					require.Nil(t, m.sendOrWait(m.main, packet.TypeRequest, 1, 10), "the only handler")
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

// Thousands of streams that contend for a few handlers: each answer and each Credit frame
// looks at a few streams only, and no stream is forgotten.
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
			d := all[i%streams] // they are served in turn
			require.Positive(t, d.credit.handlers, "after %d answers", i)
			d.appendPackets(new(conn.Batch)) // its request is sent,
			d.answered(uint64(i))            // and answered
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

// Thousands of streams that wait end, one after the other.
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
						w := &creditWaiter{typ: typ, seq: uint64(i + 2), charge: m.charge(typ, size), data: data}
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

// Large packets are served by age, unless their streams hold some already: those are served
// by what they hold and want.
func TestTheOldestLargePacketGoesFirst(t *testing.T) {
	withSilentPeer(t, func(s *setup) { s.peer.Large = 100_000 }, func(t *testing.T, m *Mux) {
		all := openMany(t, m, 4)
		typ := packet.TypeMessage
		grant := func(d *Dialogue, n uint32) {
			require.NoError(t, m.addCredit(d, packet.Credit{Class: packet.ClassLargeMessages, Amount: n}))
		}
		require.Nil(t, m.sendOrWait(all[0], typ, 1, 50_000))
		holds := m.sendOrWait(all[0], typ, 2, 45_000)
		require.NotNil(t, holds, "more than its share")
		first := m.sendOrWait(all[1], typ, 3, 55_000)
		require.NotNil(t, first, "there is not enough")
		second := m.sendOrWait(all[2], typ, 4, 10_000)
		require.NotNil(t, second, "there is enough, but an older one waits")
		grant(nil, 10_000)
		assert.True(t, first.finished, "the oldest of those that hold nothing")
		assert.False(t, holds.finished)
		assert.False(t, second.finished, "5000 are left")
		grant(all[1], 55_000)
		assert.True(t, second.finished)
		assert.False(t, holds.finished, "50000 of 110000 are held, 50000 are there, and 45000 are wanted")
		grant(all[0], 50_000)
		assert.True(t, holds.finished, "it holds nothing now")
	})
}

// A stream whose large request cannot go because its other handlers are at work reserves
// nothing: the large requests of other streams go.
func TestAStreamThatWaitsForItsOwnHandlersKeepsNobodyWaiting(t *testing.T) {
	withSilentPeer(t, func(s *setup) { s.peer.Handlers = 8 }, func(t *testing.T, m *Mux) {
		all := openMany(t, m, 2)
		seq := uint64(0)
		ask := func(d *Dialogue, size int) *creditWaiter {
			seq++
			return m.sendOrWait(d, packet.TypeRequest, seq, size)
		}
		for ask(all[0], 10) == nil {
		}
		large := ask(all[0], 50_000)
		require.NotNil(t, large, "its share of the handlers is used up")
		assert.Nil(t, ask(all[1], 50_000), "another stream has its share still")
		assert.False(t, large.finished)
	})
}

// Small requests that come all the time do not keep a large one from its handler.
func TestLargeRequestsGetAHandlerInTheirTurn(t *testing.T) {
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

// Those who wait behind a packet that is given up are looked at at once.
func TestGivingUpLetsOthersGo(t *testing.T) {
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

// A packet gets its credit in the moment in which its stream ends: it is not sent on a
// stream that has ended, and its credit is not lost.
func TestCreditComesAsTheStreamEnds(t *testing.T) {
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
		require.NoError(t, <-sent, "it had its credit first")
		assert.True(t, d.Abandon(packet.TypeRequest, 7), "the peer has seen nothing")
		p.wantReason(packet.TypeReset, 3, 1, "the end")
		p.wantIdle("and nothing behind it")
		m.mu.Lock()
		defer m.mu.Unlock()
		assert.EqualValues(t, 1, m.ledger.tx[packet.ClassHandlers].avail)
	})
}

// Many messages that wait behind a large one are given up together.
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
			require.True(t, d.Abandon(packet.TypeMessage, messages+1-i), "the last one first")
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
		got := kindOf(charge.For(test.typ, test.size, small))
		assert.Equal(t, test.want, got, "kind of %v of %d bytes", test.typ, test.size)
	}
}
