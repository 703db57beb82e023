package attack

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/test/gauge"
)

// usage is what the process uses.
type usage struct{ gauge.Usage }

func measure() usage { return usage{gauge.Take()} }

const (
	// patience is how long what is about to happen may take.
	patience = gauge.Patience
	// moment is how long what is about to go may take while an attack goes on: for a
	// quarter of a second, goroutines and their memory are kept for the next request.
	shortPatience = 2 * time.Second
)

// wantAtMost wants that, while the attack goes on, not more than so much is used above
// what was before.
func (before usage) wantAtMost(t testing.TB, heap int64, goroutines int, reason string) {
	t.Helper()
	before.want(t, shortPatience, heap, goroutines, reason)
}

// wantLeft wants that not more than so much is left of connections that are gone. In a
// bubble they stay reachable until the time of their last heartbeat, by a timer that
// was stopped.
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
	t.Logf("%s: %d bytes of heap (at most %d), %d goroutines (at most %d)", reason,
		more.Heap, heap, more.Goroutines, goroutines)
	if more.Goroutines > goroutines {
		stacks := make([]byte, 1<<20)
		t.Logf("%s", stacks[:runtime.Stack(stacks, true)])
	}
	require.True(t, within(now), reason)
}

// heapLevel is what was left of the tests before, when the last one began.
var heapLevel atomic.Int64

// settleHeap waits a moment until the test before has left the heap, so that its going
// does not hide what the next one adds.
func settleHeap() {
	const rest = 256 << 10
	now := measure()
	for end := time.Now().Add(300 * time.Millisecond); now.Heap > heapLevel.Load()+rest && time.Now().Before(end); now = measure() {
		time.Sleep(20 * time.Millisecond)
	}
	heapLevel.Store(now.Heap)
}

// waitFor waits until f is true, which nothing else tells of.
func waitFor(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "not within %v: %s", patience, what)
	}
}
