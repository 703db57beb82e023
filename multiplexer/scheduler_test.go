package multiplexer

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// turn is a result of pop.
type turn struct {
	d *Dialogue
	l lane
}

// pops returns the results of n pops.
func pops(s *scheduler, n int) []turn {
	var all []turn
	for range n {
		d, l := s.pop(false)
		all = append(all, turn{d, l})
	}
	return all
}

func TestSchedulerEmpty(t *testing.T) {
	var s scheduler
	assert.True(t, !s.ready(false))
	assert.Equal(t, []turn{{}, {}}, pops(&s, 2))
	d := &Dialogue{}
	for l := range lanes {
		s.push(d, l)
		assert.False(t, !s.ready(false), "lane %d", l)
		got, in := s.pop(false)
		assert.Same(t, d, got)
		assert.Equal(t, l, in)
		assert.True(t, !s.ready(false), "lane %d", l)
		assert.Zero(t, d.queued)
	}
}

func TestSchedulerControlFirstThenPacketsThenRaw(t *testing.T) {
	var s scheduler
	a, b := &Dialogue{id: 1}, &Dialogue{id: 2}
	s.push(a, laneRaw)
	s.push(b, laneRaw)
	s.push(b, lanePackets)
	s.push(a, lanePackets)
	s.push(b, laneControl)
	s.push(a, laneControl)
	assert.Equal(t, []turn{
		{b, laneControl}, {a, laneControl}, {b, lanePackets}, {a, lanePackets}, {a, laneRaw}, {b, laneRaw}, {},
	}, pops(&s, 7))
}

func TestSchedulerQueuesOnce(t *testing.T) {
	var s scheduler
	a, b := &Dialogue{id: 1}, &Dialogue{id: 2}
	for range 3 {
		s.push(a, laneRaw)
		s.push(b, laneRaw)
		s.push(a, lanePackets)
	}
	assert.Equal(t, []turn{{a, lanePackets}, {a, laneRaw}, {b, laneRaw}, {}}, pops(&s, 4))
	s.push(a, laneRaw)
	assert.Equal(t, []turn{{a, laneRaw}, {}}, pops(&s, 2), "a dialogue can be pushed again after its turn")
}

func TestSchedulerTakesTurns(t *testing.T) {
	var s scheduler
	all := []*Dialogue{{id: 1}, {id: 2}, {id: 3}}
	for _, d := range all {
		s.push(d, laneRaw)
	}
	for i := range 30 {
		d, l := s.pop(false)
		require.Same(t, all[i%3], d)
		s.sent(l, 1000)
		s.push(d, l)
	}
}

func TestSchedulerBoundsPacketsWhileRawWaits(t *testing.T) {
	var s scheduler
	busy, raw := &Dialogue{id: 1}, &Dialogue{id: 2}
	s.push(busy, lanePackets)
	for range 100 {
		d, l := s.pop(false)
		require.Equal(t, turn{busy, lanePackets}, turn{d, l}, "the only dialogue has every turn")
		s.sent(l, packetBurst)
		s.push(d, l)
	}
	s.push(raw, laneRaw)
	spent, turns := 0, 0
	for range 1000 {
		d, l := s.pop(false)
		const size = 5000
		s.sent(l, size)
		s.push(d, l)
		if l == laneRaw {
			turns++
			spent = 0
			continue
		}
		spent += size
		require.Less(t, spent, packetBurst+size, "bytes of packets between two turns of raw bytes")
	}
	assert.Greater(t, turns, 50, "turns of raw bytes")
}

// With random operations, a dialogue in a lane waits for at most one turn of every other one.
func TestSchedulerFairness(t *testing.T) {
	r := newRand(t)
	var s scheduler
	all := make([]*Dialogue, 50)
	waits := make(map[turn]int) // the turns of the lane since the dialogue was pushed
	for i := range all {
		all[i] = &Dialogue{id: uint64(i)}
	}
	for range 100_000 {
		if r.IntN(2) == 0 {
			d, l := all[r.IntN(len(all))], lane(r.IntN(int(lanes)))
			s.push(d, l)
			if _, ok := waits[turn{d, l}]; !ok {
				waits[turn{d, l}] = 0
			}
			continue
		}
		d, l := s.pop(false)
		if d == nil {
			require.Empty(t, waits)
			continue
		}
		_, ok := waits[turn{d, l}]
		require.True(t, ok, "a turn of a dialogue that was not pushed")
		delete(waits, turn{d, l})
		if l != laneControl {
			require.False(t, slices.ContainsFunc(all, func(d *Dialogue) bool {
				_, ok := waits[turn{d, laneControl}]
				return ok
			}), "a control frame waits during another turn")
		}
		for w := range waits {
			if w.l == l {
				waits[w]++
				require.Less(t, waits[w], len(all))
			}
		}
		s.sent(l, r.IntN(1000))
	}
	for d, _ := s.pop(false); d != nil; d, _ = s.pop(false) {
	}
	assert.True(t, !s.ready(false))
}
