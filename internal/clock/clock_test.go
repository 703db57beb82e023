package clock

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// soon bounds the wait for an expected event.
const soon = 10 * time.Second

// waitFor fails the test if nothing arrives on ch.
func waitFor(t *testing.T, ch <-chan time.Time, reason string) time.Time {
	t.Helper()
	select {
	case at := <-ch:
		return at
	case <-time.After(soon):
		require.FailNow(t, "timer did not run", reason)
		return time.Time{}
	}
}

// clocks makes a Clock of each kind that works on this machine.
var clocks = map[string]func(t *testing.T) Clock{
	"runtime": func(*testing.T) Clock { return Runtime() },
}

// bothClocks runs a test on a Clock of either kind.
func bothClocks(t *testing.T, test func(t *testing.T, c Clock)) {
	for kind, make := range clocks {
		t.Run(kind, func(t *testing.T) { test(t, make(t)) })
	}
}

func TestRunsOnceAndNotEarly(t *testing.T) {
	bothClocks(t, func(t *testing.T, c Clock) {
		// Durations on both sides of the wheel's interval of 10 ms.
		for _, d := range []time.Duration{-time.Hour, 0, time.Nanosecond, 3 * time.Millisecond,
			10 * time.Millisecond, 15 * time.Millisecond, 60 * time.Millisecond} {
			ran := make(chan time.Time, 2)
			start := time.Now()
			waiting := c.AfterFunc(d, func() { ran <- time.Now() })
			at := waitFor(t, ran, d.String())
			assert.GreaterOrEqual(t, at.Sub(start), d)
			assert.False(t, waiting.Stop(), "it has run")
			select {
			case <-ran:
				assert.Fail(t, "ran twice", d.String())
			case <-time.After(30 * time.Millisecond):
			}
		}
	})
}

func TestRunsOnAnotherGoroutine(t *testing.T) {
	bothClocks(t, func(t *testing.T, c Clock) {
		var mu sync.Mutex
		mu.Lock()
		ran := make(chan time.Time, 1)
		c.AfterFunc(0, func() {
			mu.Lock()
			defer mu.Unlock()
			ran <- time.Now()
		})
		mu.Unlock()
		waitFor(t, ran, "AfterFunc with 0 must not call on the caller's goroutine")
	})
}

func TestStop(t *testing.T) {
	bothClocks(t, func(t *testing.T, c Clock) {
		var ran atomic.Bool
		waiting := c.AfterFunc(50*time.Millisecond, func() { ran.Store(true) })
		assert.True(t, waiting.Stop())
		assert.False(t, waiting.Stop(), "stopped already")
		time.Sleep(100 * time.Millisecond)
		assert.False(t, ran.Load())
	})
}

func TestReset(t *testing.T) {
	bothClocks(t, func(t *testing.T, c Clock) {
		ran := make(chan time.Time, 4)
		start := time.Now()
		waiting := c.AfterFunc(time.Hour, func() { ran <- time.Now() })

		assert.True(t, waiting.Reset(40*time.Millisecond), "it was waiting")
		at := waitFor(t, ran, "brought forward")
		assert.GreaterOrEqual(t, at.Sub(start), 40*time.Millisecond)

		start = time.Now()
		assert.False(t, waiting.Reset(30*time.Millisecond), "it had run")
		at = waitFor(t, ran, "used again")
		assert.GreaterOrEqual(t, at.Sub(start), 30*time.Millisecond)

		assert.False(t, waiting.Reset(time.Hour))
		assert.True(t, waiting.Stop())
		assert.False(t, waiting.Reset(0), "it was stopped")
		waitFor(t, ran, "at once")
		assert.Empty(t, ran, "nothing ran besides")
	})
}

func TestRacingStopAndReset(t *testing.T) {
	bothClocks(t, func(t *testing.T, c Clock) {
		var ran, planned atomic.Int64
		var group sync.WaitGroup
		for range 50 {
			planned.Add(1)
			waiting := c.AfterFunc(5*time.Millisecond, func() { ran.Add(1) })
			group.Go(func() {
				time.Sleep(5 * time.Millisecond)
				if waiting.Stop() {
					planned.Add(-1)
				}
			})
			group.Go(func() {
				time.Sleep(5 * time.Millisecond)
				if !waiting.Reset(5 * time.Millisecond) {
					planned.Add(1)
				}
			})
		}
		group.Wait()
		assert.Eventually(t, func() bool { return ran.Load() == planned.Load() }, soon, 5*time.Millisecond,
			"each plan that was not stopped runs")
		time.Sleep(30 * time.Millisecond)
		assert.Equal(t, planned.Load(), ran.Load(), "each plan runs once")
	})
}

func TestRuntimeFollowsFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ran := make(chan time.Time, 1)
		Runtime().AfterFunc(time.Hour, func() { ran <- time.Now() })
		assert.Equal(t, time.Hour, (<-ran).Sub(start))
	})
}

func TestRuntimeAddsNoAllocation(t *testing.T) {
	f := func() {}
	direct := testing.AllocsPerRun(100, func() { time.AfterFunc(time.Hour, f).Stop() })
	c := Runtime()
	through := testing.AllocsPerRun(100, func() { c.AfterFunc(time.Hour, f).Stop() })
	assert.Equal(t, direct, through)
}

func TestFromNothingIsRuntime(t *testing.T) {
	assert.Equal(t, Runtime(), FromTimer(nil))
}
