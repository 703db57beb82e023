package attack

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/test/gauge"
)

// usage has the resources that the process uses.
type usage struct{ gauge.Usage }

func measure() usage { return usage{gauge.Take()} }

const (
	// patience is the time within which an awaited event must happen.
	patience = gauge.Patience
	// shortPatience is the time within which unused resources must be gone during an attack.
	// Goroutines without work wait a quarter of a second for the next request.
	shortPatience = 2 * time.Second
)

// wantAtMost requires that the process uses at most so many bytes of heap and goroutines more
// than before, while the attack goes on.
func (before usage) wantAtMost(t testing.TB, heap int64, goroutines int, reason string) {
	t.Helper()
	before.want(t, shortPatience, heap, goroutines, reason)
}

// wantLeft requires that the process uses at most so many bytes of heap and goroutines more
// than before, after the connections have ended. In a bubble, a stopped heartbeat timer keeps
// a connection reachable until the time for which it was set.
func (before usage) wantLeft(t testing.TB, heap int64, goroutines int, reason string) {
	t.Helper()
	before.want(t, patience, heap, goroutines, reason)
}

func (before usage) want(t testing.TB, wait time.Duration, heap int64, goroutines int, reason string) {
	t.Helper()
	within := func(u gauge.Usage) bool {
		u = u.Since(before.Usage)
		return u.Heap <= heap && u.Goroutines <= goroutines
	}
	now := gauge.Settle(wait, within)
	more := now.Since(before.Usage)
	t.Logf("%s: %d bytes of heap, want at most %d; %d goroutines, want at most %d", reason,
		more.Heap, heap, more.Goroutines, goroutines)
	if more.Goroutines > goroutines {
		stacks := make([]byte, 1<<20)
		t.Logf("%s", stacks[:runtime.Stack(stacks, true)])
	}
	require.True(t, within(now), reason)
}

// heapLevel is the size of the heap, bytes, at the beginning of the last test.
var heapLevel atomic.Int64

// settleHeap waits a moment for the garbage of the previous test to be collected, so that the
// next test does not count it as its own.
func settleHeap() {
	const rest = 256 << 10
	now := measure()
	for end := time.Now().Add(300 * time.Millisecond); now.Heap > heapLevel.Load()+rest && time.Now().Before(end); now = measure() {
		time.Sleep(20 * time.Millisecond)
	}
	heapLevel.Store(now.Heap)
}

// waitFor polls f until it returns true.
func waitFor(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "%s: not within %v", what, patience)
	}
}
