package bench

import (
	"context"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/gauge"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
	"github.com/stretchr/testify/require"
)

// The largest memory of an idle stream and an idle End, in bytes of the heap after a collection.
// Stacks are not compared: those of the goroutines that have ended leave gaps between those of
// the reading goroutines, and the runtime counts the gaps as used.
const (
	maxIdleStream = 1 << 10 // both sides together
	maxIdleEnd    = 6 << 10 // one side
	maxUsedEnd    = 9 << 10 // one side of an End that was used; the runtime keeps memory of goroutines that have ended
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
	checkEnds(t, pairs, maxIdleEnd, connect)
	runtime.KeepAlive(kept)
}

// checkEnds requires that an End, of which each call of add makes two, has one goroutine and at most
// most bytes of the heap.
func checkEnds(t *testing.T, pairs, most int, add func()) {
	ends := 2 * pairs
	add()
	used := grown(add, pairs, func(u gauge.Usage) bool {
		return u.Goroutines <= ends && (kit.Race || u.Heap <= int64(most*ends))
	})
	t.Logf("%d bytes of the heap and %d of stacks for an End", used.Heap/int64(ends), used.Stacks/int64(ends))
	require.LessOrEqual(t, used.Goroutines, ends, "goroutines of %d Ends", ends)
	checkBytes(t, used.Heap/int64(ends), int64(most))
}

// TestUsedEnd measures the memory of an idle End that was used before: each side has made
// calls, 64 of them at once, published a message, and written and read bytes.
func TestUsedEnd(t *testing.T) {
	const pairs = 100
	kept := make([]*rig.Pair, 0, pairs+1)
	use := func() {
		copt, sopt := client.NewEndOptions(), server.NewEndOptions()
		copt.SetHeartbeat(time.Second) // an End frees memory after a heartbeat
		sopt.SetHeartbeat(time.Second)
		p := rig.NewPair(t, "tcp", copt, sopt)
		kept = append(kept, p)
		useEnd(t, p.Client, p.Server)
		useEnd(t, p.Server, p.Client)
	}
	checkEnds(t, pairs, maxUsedEnd, use)
	runtime.KeepAlive(kept)
}

// useEnd has near make a call, publish a message and write bytes to far.
func useEnd(t *testing.T, near, far geminio.End) {
	ctx := t.Context()
	require.NoError(t, far.Register(ctx, "echo", func(_ context.Context, req geminio.Request, resp geminio.Response) {
		resp.SetData(req.Data())
	}))
	payload := make([]byte, 256)
	var calls []<-chan error
	for range 64 {
		calls = append(calls, kit.Start(func() error {
			_, err := near.Call(ctx, "echo", near.NewRequest(payload))
			return err
		}))
	}
	for _, done := range calls {
		require.NoError(t, <-done)
	}
	published := kit.Start(func() error { return near.Publish(ctx, near.NewMessage(payload)) })
	m, err := far.Receive(ctx)
	require.NoError(t, err)
	require.NoError(t, m.Done())
	require.NoError(t, <-published)
	_, err = near.Write(payload)
	require.NoError(t, err)
	_, err = io.ReadFull(far, payload)
	require.NoError(t, err)
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
