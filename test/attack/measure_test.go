package attack

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// usage is what the process uses.
type usage struct {
	heap       int64 // bytes that are reachable
	goroutines int
}

// measure collects garbage, the pools' too, and returns what is left.
func measure() usage {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{int64(m.HeapAlloc), runtime.NumGoroutine()}
}

const (
	// patience is how long what is about to happen may take.
	patience = time.Minute
	// moment is how long what is about to go may take while an attack goes on: for a
	// quarter of a second, goroutines and their memory are kept for the next request.
	moment = 2 * time.Second
)

// wantAtMost wants that, while the attack goes on, not more than so much is used above
// what was before.
func (before usage) wantAtMost(t testing.TB, heap int64, goroutines int, reason string) {
	t.Helper()
	before.want(t, moment, heap, goroutines, reason)
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
	now := measure()
	end := time.Now().Add(wait)
	for pause := 10 * time.Millisecond; before.exceeded(now, heap, goroutines) && time.Now().Before(end); pause *= 2 {
		time.Sleep(pause)
		now = measure()
	}
	t.Logf("%s: %d bytes of heap (at most %d), %d goroutines (at most %d)", reason,
		now.heap-before.heap, heap, now.goroutines-before.goroutines, goroutines)
	if now.goroutines > before.goroutines+goroutines {
		stacks := make([]byte, 1<<20)
		t.Logf("%s", stacks[:runtime.Stack(stacks, true)])
	}
	require.False(t, before.exceeded(now, heap, goroutines), reason)
}

func (before usage) exceeded(now usage, heap int64, goroutines int) bool {
	return now.heap > before.heap+heap || now.goroutines > before.goroutines+goroutines
}

// level is what was left of the tests before, when the last one began.
var level atomic.Int64

// calm waits a moment until the test before has left the heap, so that its going
// does not hide what the next one adds.
func calm() {
	const rest = 256 << 10
	now := measure()
	for end := time.Now().Add(300 * time.Millisecond); now.heap > level.Load()+rest && time.Now().Before(end); now = measure() {
		time.Sleep(20 * time.Millisecond)
	}
	level.Store(now.heap)
}

// waitFor waits until f is true, which nothing else tells of.
func waitFor(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "not within %v: %s", patience, what)
	}
}
