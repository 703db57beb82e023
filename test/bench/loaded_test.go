package bench

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkCallUnderBulk makes one call of 256 bytes at a time while 8 streams fill the
// connection in the direction of the requests, beside a ping-pong while 8 writers fill
// another connection. The times are those of the calls only. bulk-MB/s is the rate of the
// bulk data, and the figures of raw are reported too.
func BenchmarkCallUnderBulk(b *testing.B) {
	const callSize, bulkSize = 256, 128 << 10
	c, s := ends(b)
	ours := &loaded{op: callerOf(b, c, s, callSize), flow: streamFlow(b, c, s, bulkStreams, bulkSize)}
	raw := &loaded{op: exchange(b, callSize, callSize), flow: rawFlow(b, bulkStreams, bulkSize)}
	contest{raw: raw.run, ours: ours.run, least: 8, turn: 100 * time.Millisecond}.run(b)
	ours.report(b, "")
	raw.report(b, "raw-")
	b.ReportMetric(float64(ours.mean()), "ns/op")
	reportPace(b, "of-raw", raw.mean(), ours.mean())
}

// loaded is an operation that is done during a flow.
type loaded struct {
	op     func() error
	flow   *flow
	took   []time.Duration // of each operation
	moved  int64           // bytes of the flow during the operations
	lasted time.Duration
}

// settle is the time of the flow before the first operation, in which the buffers fill.
const settle = 5 * time.Millisecond

// run does the operation n times.
func (l *loaded) run(n int) error {
	var stop atomic.Bool
	filled := make(chan error, 1)
	go func() { filled <- l.flow.fill(func() bool { return !stop.Load() }) }()
	time.Sleep(settle)
	err := l.repeat(n)
	stop.Store(true)
	if ferr := <-filled; err == nil {
		err = ferr
	}
	return err
}

// repeat does the operation n times during the flow.
func (l *loaded) repeat(n int) error {
	l.took = slices.Grow(l.took, n)
	moved, start := l.flow.moved.Load(), time.Now()
	for range n {
		begin := time.Now()
		if err := l.op(); err != nil {
			return err
		}
		l.took = append(l.took, time.Since(begin))
	}
	l.lasted += time.Since(start)
	l.moved += l.flow.moved.Load() - moved
	return nil
}

// report reports the percentiles and the rate, under names that begin with prefix.
func (l *loaded) report(b *testing.B, prefix string) {
	sorted := slices.Sorted(slices.Values(l.took))
	micro := func(percent int) float64 {
		return float64(sorted[(len(sorted)-1)*percent/100]) / float64(time.Microsecond)
	}
	b.ReportMetric(micro(50), prefix+"p50-µs")
	b.ReportMetric(micro(99), prefix+"p99-µs")
	b.ReportMetric(float64(l.moved)/1e6/l.lasted.Seconds(), prefix+"bulk-MB/s")
}

func (l *loaded) mean() time.Duration {
	var total time.Duration
	for _, d := range l.took {
		total += d
	}
	return total / time.Duration(len(l.took))
}
