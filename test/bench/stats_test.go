package bench

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// counters is what a metric of calls and messages needs at least.
type counters struct{ begun, ended, bytes, nanoseconds atomic.Int64 }

// stats returns functions that count all events.
func (c *counters) stats() geminio.Stats {
	return geminio.Stats{
		CallBegin: func(geminio.CallEvent) { c.begun.Add(1) },
		CallEnd: func(ev geminio.CallEvent) {
			c.ended.Add(1)
			c.bytes.Add(int64(ev.RequestSize + ev.ResponseSize))
			c.nanoseconds.Add(int64(ev.Duration))
		},
		MessageBegin: func(geminio.MessageEvent) { c.begun.Add(1) },
		MessageEnd: func(ev geminio.MessageEvent) {
			c.ended.Add(1)
			c.bytes.Add(int64(ev.Size))
			c.nanoseconds.Add(int64(ev.Duration))
		},
	}
}

// emptyStats returns functions that do nothing.
func emptyStats() geminio.Stats {
	return geminio.Stats{
		CallBegin: func(geminio.CallEvent) {}, CallEnd: func(geminio.CallEvent) {},
		MessageBegin: func(geminio.MessageEvent) {}, MessageEnd: func(geminio.MessageEvent) {},
	}
}

// countedPair returns a pair of Ends that count their events.
func countedPair(tb testing.TB) *rig.Pair {
	return observedPair(tb, (&counters{}).stats(), (&counters{}).stats())
}

// observedPair returns a pair of Ends with Stats.
func observedPair(tb testing.TB, near, far geminio.Stats) *rig.Pair {
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetStats(near)
	so.SetStats(far)
	return rig.NewPair(tb, "tcp", co, so)
}

// BenchmarkStats makes calls with Stats beside the same calls without: one after the other, and 64 at
// once, with Stats of the caller, of the handler, or of both. The functions do nothing, which is the cost
// of the library, or count with four atomic additions for a call at each side. The metric of-off is the
// ratio of the pace with them to the pace without.
func BenchmarkStats(b *testing.B) {
	none := geminio.Stats{}
	for _, c := range []struct {
		name    string
		callers int
		pair    func(testing.TB) *rig.Pair
	}{
		{"One", 1, func(tb testing.TB) *rig.Pair { return observedPair(tb, emptyStats(), emptyStats()) }},
		{"ManyCaller", many, func(tb testing.TB) *rig.Pair { return observedPair(tb, emptyStats(), none) }},
		{"ManyHandler", many, func(tb testing.TB) *rig.Pair { return observedPair(tb, none, emptyStats()) }},
		{"Many", many, func(tb testing.TB) *rig.Pair { return observedPair(tb, emptyStats(), emptyStats()) }},
		{"ManyCounted", many, countedPair},
	} {
		b.Run(c.name, func(b *testing.B) {
			on, off, callers := c.pair(b), rig.NewPair(b, "tcp", nil, nil), c.callers
			contest{
				raw:   by(callers, callerOf(b, off.Client, off.Server, 256)),
				ours:  by(callers, callerOf(b, on.Client, on.Server, 256)),
				ratio: "of-off", least: 2 * callers, turn: 100 * time.Millisecond,
			}.run(b)
		})
	}
}

// Events of calls and messages allocate nothing.
func TestStatsAllocations(t *testing.T) {
	p := countedPair(t)
	go rig.AnswerAll(p.Server)
	data := make([]byte, 256)
	for name, op := range map[string]struct {
		max float64
		run func() error
	}{
		"call":    {maxCallAllocs, callerOf(t, p.Client, p.Server, 256)},
		"message": {maxMessageAllocs, func() error { return p.Client.Publish(t.Context(), p.Client.NewMessage(data)) }},
	} {
		var err error
		got := testing.AllocsPerRun(2000, func() {
			if e := op.run(); e != nil {
				err = e
			}
		})
		require.NoError(t, err)
		t.Logf("%s: %v allocations", name, got)
		if got > op.max && !kit.Race {
			t.Errorf("%s: %v allocations, at most %v are allowed", name, got, op.max)
		}
	}
}
