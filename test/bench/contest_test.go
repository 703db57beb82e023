package bench

import (
	"cmp"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
	"github.com/stretchr/testify/require"
)

// side does n operations and returns when the last one is done.
type side func(n int) error

// contest compares the library with raw TCP, or with another configuration of the library, at
// comparable work. The two take turns, so that the other load of the machine affects both.
type contest struct {
	raw, ours side
	ratio     string        // the name of the ratio of the paces; "" is of-raw
	least     int           // fewest operations of a turn; 0 is 1
	turn      time.Duration // shortest time of a turn of ours; 0 is defaultTurn
}

const defaultTurn = 10 * time.Millisecond

// run does b.N operations of ours, and operations of raw for about half the time. The
// timer runs for ours only: time, allocations and bytes are those of both sides of ours.
// The metric that ratio names is the ratio of the pace of ours to that of raw.
func (c contest) run(b *testing.B) {
	b.Helper()
	c.least, c.turn = max(c.least, 1), max(c.turn, defaultTurn)
	nOurs, nRaw := c.measure(b, c.ours, c.turn), c.measure(b, c.raw, c.turn/2)
	var (
		raws    int
		rawTook time.Duration
	)
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		n := min(left, nOurs)
		left -= n
		require.NoError(b, c.ours(n))
		b.StopTimer()
		share := max(1, nRaw*n/nOurs) // the last turn may be short
		start := time.Now()
		require.NoError(b, c.raw(share))
		rawTook += time.Since(start)
		raws += share
		b.StartTimer()
	}
	b.StopTimer()
	reportPace(b, cmp.Or(c.ratio, "of-raw"), rawTook/time.Duration(raws), b.Elapsed()/time.Duration(b.N))
}

// reportPace reports the ratio of the times of one operation under a name.
func reportPace(b *testing.B, name string, raw, ours time.Duration) {
	b.ReportMetric(float64(raw)/float64(ours), name)
}

// measure returns the number of operations of s in a turn of that length. It also warms s
// up, since buffers and windows grow.
func (c contest) measure(b *testing.B, s side, turn time.Duration) int {
	for n := c.least; ; n *= 2 {
		start := time.Now()
		require.NoError(b, s(n))
		if time.Since(start) >= turn {
			return n
		}
	}
}

// times returns a function that returns true n times in total, for any number of callers.
func times(n int) func() bool {
	var used atomic.Int64
	return func() bool { return used.Add(1) <= int64(n) }
}

// together lets workers repeat op as long as more returns true, and returns the first
// error. A worker stops after an error.
func together(workers int, more func() bool, op func(worker int) error) error {
	work := func(i int) error {
		for more() {
			if err := op(i); err != nil {
				return err
			}
		}
		return nil
	}
	if workers == 1 {
		return work(0)
	}
	results := make(chan error, workers)
	for i := range workers {
		go func() { results <- work(i) }()
	}
	var first error
	for range workers {
		if err := <-results; first == nil {
			first = err
		}
	}
	return first
}

// by distributes the operations over workers.
func by(workers int, op func() error) side {
	return func(n int) error {
		return together(workers, times(n), func(int) error { return op() })
	}
}

// many is the number of workers in benchmarks with many of them.
const many = 64

// payload is the size of the data of an operation.
type payload struct {
	name string
	size int
}

var payloads = []payload{
	{"16B", 16}, {"256B", 256}, {"4KiB", 4 << 10}, {"64KiB", 64 << 10}, {"1MiB", 1 << 20},
}

// eachPayload runs a benchmark for every payload.
func eachPayload(b *testing.B, run func(b *testing.B, size int)) {
	for _, p := range payloads {
		b.Run(p.name, func(b *testing.B) { run(b, p.size) })
	}
}

// ends are two Ends with a connection of their own.
func ends(tb testing.TB) (c, s geminio.End) {
	p := rig.NewPair(tb, "tcp", nil, nil)
	return p.Client, p.Server
}

// rawPair is a connection without the library.
func rawPair(tb testing.TB) (c, s net.Conn) {
	c, s, err := kit.RawPair("tcp")
	require.NoError(tb, err)
	tb.Cleanup(func() { c.Close(); s.Close() })
	return c, s
}
