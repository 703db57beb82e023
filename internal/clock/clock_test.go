package clock

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	timer "github.com/singchia/go-timer/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// soon bounds the wait for what has to happen.
const soon = 10 * time.Second

// newWheel makes a wheel that ends with the test.
func newWheel(t *testing.T, opts ...timer.TimerOption) timer.Timer {
	wheel := timer.NewTimer(opts...)
	t.Cleanup(wheel.Close)
	return wheel
}

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

// bothClocks runs a test on a Clock of either kind.
func bothClocks(t *testing.T, test func(t *testing.T, c Clock)) {
	t.Run("runtime", func(t *testing.T) { test(t, Runtime()) })
	t.Run("wheel", func(t *testing.T) { test(t, FromTimer(newWheel(t))) })
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
			"each plan that nobody took back runs")
		time.Sleep(30 * time.Millisecond)
		assert.Equal(t, planned.Load(), ran.Load(), "and runs once")
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

func TestBlockedFunctionsDoNotStopTheWheel(t *testing.T) {
	c := FromTimer(newWheel(t))
	release := make(chan struct{})
	defer close(release)
	for range 3000 { // beyond what the wheel runs and queues by itself
		c.AfterFunc(time.Millisecond, func() { <-release })
	}
	ran := make(chan time.Time, 1)
	c.AfterFunc(50*time.Millisecond, func() { ran <- time.Now() })
	waitFor(t, ran, "behind blocked functions")
}

func TestStopFromWithinAFunction(t *testing.T) {
	c := FromTimer(newWheel(t))
	other := c.AfterFunc(time.Hour, func() {})
	ran := make(chan time.Time, 1)
	c.AfterFunc(time.Millisecond, func() {
		other.Stop()
		ran <- time.Now()
	})
	waitFor(t, ran, "a function may stop another")
}

func TestClosedWheelHandsOver(t *testing.T) {
	wheel := timer.NewTimer()
	c := FromTimer(wheel)

	before := make(chan time.Time, 2)
	start := time.Now()
	c.AfterFunc(80*time.Millisecond, func() { before <- time.Now() })
	stopped := c.AfterFunc(80*time.Millisecond, func() { before <- time.Now() })
	wheel.Close()
	stopped.Stop()
	at := waitFor(t, before, "planned before the wheel closed")
	assert.GreaterOrEqual(t, at.Sub(start), 80*time.Millisecond, "closing the wheel is no reason to run early")

	after := make(chan time.Time, 2)
	start = time.Now()
	waiting := c.AfterFunc(20*time.Millisecond, func() { after <- time.Now() })
	at = waitFor(t, after, "planned after the wheel closed")
	assert.GreaterOrEqual(t, at.Sub(start), 20*time.Millisecond)
	waiting.Reset(time.Hour)
	assert.True(t, waiting.Stop())
	assert.Empty(t, before)
	assert.Empty(t, after)
}

func TestPausedWheelIsPassedOver(t *testing.T) {
	wheel := newWheel(t)
	wheel.Pause()
	defer wheel.Moveon()
	ran := make(chan time.Time, 1)
	FromTimer(wheel).AfterFunc(20*time.Millisecond, func() { ran <- time.Now() })
	waitFor(t, ran, "a wheel that stands still")
}

// TestWheelAheadOfTime has a wheel hand over a plan at once: its slots do not
// reach as far as the duration, or it was closed.
func TestWheelAheadOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ran := make(chan time.Time, 2)
		waiting := FromTimer(&fakeWheel{}).AfterFunc(time.Hour, func() { ran <- time.Now() }).(*wheelTimer)
		waiting.due(waiting.plan)
		waiting.due(waiting.plan)
		assert.Equal(t, time.Hour, (<-ran).Sub(start), "it waits out the rest")
		synctest.Wait()
		assert.Empty(t, ran, "and runs once")

		waiting.Reset(time.Hour)
		waiting.due(waiting.plan)
		assert.True(t, waiting.Stop(), "the rest can be stopped")
		time.Sleep(2 * time.Hour)
		assert.Empty(t, ran)
	})
}

func TestVoidPlansDoNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wheel := &fakeWheel{}
		ran := make(chan time.Time, 2)
		waiting := FromTimer(wheel).AfterFunc(time.Second, func() { ran <- time.Now() }).(*wheelTimer)
		older := waiting.plan
		assert.True(t, waiting.Reset(2*time.Second))
		assert.Equal(t, []int{1, 0}, wheel.cancelled(), "the older plan leaves the wheel")

		time.Sleep(3 * time.Second)
		waiting.due(older)
		synctest.Wait()
		assert.Empty(t, ran, "an older plan")

		present := waiting.plan
		waiting.due(present)
		<-ran
		waiting.due(present)
		synctest.Wait()
		assert.Empty(t, ran, "the present plan runs once")
		assert.False(t, waiting.Stop())
	})
}

func TestStopDuringAdd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wheel := &fakeWheel{}
		waiting := &wheelTimer{wheel: wheel, f: func() { t.Error("it was stopped") }}
		wheel.during = func() { assert.True(t, waiting.Stop()) }
		waiting.Reset(time.Second)
		assert.Equal(t, []int{1}, wheel.cancelled(), "nothing stays behind on the wheel")
		time.Sleep(2 * time.Second)
		waiting.due(waiting.plan)
		assert.False(t, waiting.Stop())
	})
}

func TestWheelWithoutTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ran := make(chan time.Time, 1)
		FromTimer(&fakeWheel{refuse: true}).AfterFunc(time.Minute, func() { ran <- time.Now() })
		assert.Equal(t, time.Minute, (<-ran).Sub(start), "Add gave nothing")
	})
}

// fakeWheel is a wheel that never turns: its tests call due themselves, since a
// handler cannot be got out of a timer.TickOption.
type fakeWheel struct {
	timer.Timer
	refuse bool
	during func()
	ticks  []*fakeTick
}

func (w *fakeWheel) Add(time.Duration, ...timer.TickOption) timer.Tick {
	if w.during != nil {
		w.during()
	}
	if w.refuse {
		return nil
	}
	tick := &fakeTick{}
	w.ticks = append(w.ticks, tick)
	return tick
}

// cancelled returns how often each tick was cancelled.
func (w *fakeWheel) cancelled() []int {
	var counts []int
	for _, tick := range w.ticks {
		counts = append(counts, tick.cancelled)
	}
	return counts
}

type fakeTick struct {
	timer.Tick
	cancelled int
}

func (tick *fakeTick) Cancel() error {
	tick.cancelled++
	return nil
}
