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

// What something open and unused may hold after a collection.
const (
	maxIdleStream = 1 << 10 // bytes of the heap, both sides together
	maxIdleEnd    = 8 << 10 // bytes of the heap and of stacks, one side
)

// TestIdleStream counts what a stream owns that is open and unused. It has no
// goroutine.
func TestIdleStream(t *testing.T) {
	const streams = 1000
	c, s := ends(t)
	kept := make([]geminio.Stream, 0, 2*(streams+1))
	open := func() {
		opener, acceptor := rig.OpenStream(t, c, s)
		kept = append(kept, opener, acceptor)
	}
	open() // what the first one brings along is not counted
	used := grown(open, streams, func(u gauge.Usage) bool {
		return u.Goroutines <= 0 && (kit.Race || u.Heap <= maxIdleStream*streams)
	})
	runtime.KeepAlive(kept)

	t.Logf("%d bytes of the heap for a stream", used.Heap/streams)
	require.LessOrEqual(t, used.Goroutines, 0, "goroutines of %d streams", streams)
	checkBytes(t, used.Heap/streams, maxIdleStream)
}

// TestIdleEnd counts what an End owns on whose connection nothing happens: one
// goroutine, which reads.
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

// grown does something n times and returns what more is in use afterwards. Whatever
// was busy may take a while to be idle, that is until it is right.
func grown(do func(), n int, right func(gauge.Usage) bool) gauge.Usage {
	before := gauge.Take()
	for range n {
		do()
	}
	return gauge.Settle(gauge.Patience, func(u gauge.Usage) bool { return right(u.Since(before)) }).Since(before)
}

// checkBytes holds a size against its ceiling.
func checkBytes(t *testing.T, got, limit int64) {
	t.Helper()
	if kit.Race {
		t.Log("the race detector needs memory of its own: only goroutines are held to their number")
		return
	}
	require.LessOrEqual(t, got, limit, "bytes")
}
