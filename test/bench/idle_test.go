package bench

import (
	"runtime"
	"testing"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/test/gauge"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
	"github.com/stretchr/testify/require"
)

// The largest memory of an idle stream and an idle End, after a collection.
const (
	maxIdleStream = 1 << 10 // bytes of the heap, both sides together
	maxIdleEnd    = 8 << 10 // bytes of the heap and of stacks, one side
)

// TestIdleStream measures the memory of an idle stream, which has no goroutine.
func TestIdleStream(t *testing.T) {
	const streams = 1000
	c, s := ends(t)
	kept := make([]geminio.Stream, 0, 2*(streams+1))
	open := func() {
		opener, acceptor := rig.OpenStream(t, c, s)
		kept = append(kept, opener, acceptor)
	}
	open() // shared resources of the first one do not count
	used := grown(open, streams, func(u gauge.Usage) bool {
		return u.Goroutines <= 0 && (kit.Race || u.Heap <= maxIdleStream*streams)
	})
	runtime.KeepAlive(kept)

	t.Logf("%d bytes of the heap for a stream", used.Heap/streams)
	require.LessOrEqual(t, used.Goroutines, 0, "goroutines of %d streams", streams)
	checkBytes(t, used.Heap/streams, maxIdleStream)
}

// TestIdleEnd measures the memory of an idle End, which has one goroutine, the reading
// goroutine.
func TestIdleEnd(t *testing.T) {
	const pairs = 100
	kept := make([]*rig.Pair, 0, pairs+1)
	connect := func() { kept = append(kept, rig.NewPair(t, "tcp", nil, nil)) }
	connect()
	used := grown(connect, pairs, func(u gauge.Usage) bool {
		return u.Goroutines <= 2*pairs && (kit.Race || u.Memory() <= maxIdleEnd*2*pairs)
	})
	runtime.KeepAlive(kept)

	t.Logf("%d bytes of the heap and %d of stacks for an End", used.Heap/(2*pairs), used.Stacks/(2*pairs))
	require.LessOrEqual(t, used.Goroutines, 2*pairs, "goroutines of %d Ends", 2*pairs)
	checkBytes(t, used.Memory()/(2*pairs), maxIdleEnd)
}

// grown calls a function n times and returns the growth of the usage. It waits until
// right returns true, since goroutines may need some time to become idle.
func grown(do func(), n int, right func(gauge.Usage) bool) gauge.Usage {
	before := gauge.Take()
	for range n {
		do()
	}
	return gauge.Settle(gauge.Patience, func(u gauge.Usage) bool { return right(u.Since(before)) }).Since(before)
}

// checkBytes compares a size with its bound.
func checkBytes(t *testing.T, got, limit int64) {
	t.Helper()
	if kit.Race {
		t.Log("the race detector needs memory of its own: only goroutines are held to their number")
		return
	}
	require.LessOrEqual(t, got, limit, "bytes")
}
