package clock

import (
	"sync"
	"time"

	timer "github.com/singchia/go-timer/v2"
)

// wheelClock is a Clock over a timing wheel.
type wheelClock struct {
	wheel timer.Timer
}

// FromTimer returns a Clock over a timing wheel; without a wheel (nil) it
// returns Runtime.
//
// A wheel is coarse: a function runs up to one interval of the wheel late, 10 ms
// unless the wheel was made with another. It never runs early: what a wheel
// hands over ahead of time, because the wheel rounds down, is too short for the
// duration, or was closed by its owner, waits out the rest on the runtime's
// timers. A wheel that does not run (paused, closed) is passed over in the same
// way. Functions that already stand on a wheel wait while it is paused.
//
// Stop and Reset make one round trip to the wheel's goroutine, some microseconds
// on an idle machine.
func FromTimer(wheel timer.Timer) Clock {
	if wheel == nil {
		return Runtime()
	}
	return wheelClock{wheel: wheel}
}

// AfterFunc plans f on the wheel.
func (c wheelClock) AfterFunc(d time.Duration, f func()) Timer {
	t := &wheelTimer{wheel: c.wheel, f: f}
	t.Reset(d)
	return t
}

// wheelTimer is a Timer on a wheel. It is safe for concurrent use. The mutex is
// never held across a call to the wheel: the wheel may call back from within
// Add, and answers Cancel from a goroutine of its own.
type wheelTimer struct {
	// Read-only after creation.
	wheel timer.Timer
	f     func()

	mu sync.Mutex
	// plan counts the plans made. The callback of an older plan finds another
	// number than its own and does nothing.
	plan uint64
	// planned is whether the plan numbered plan is still to run.
	planned bool
	// deadline is when the plan is to run.
	deadline time.Time
	// tick is the plan on the wheel; nil before Add has returned, and when the
	// runtime has it.
	tick timer.Tick
	// rest is the plan on the runtime's timers; nil when the wheel has it.
	rest *time.Timer
}

// Stop implements Timer.
func (t *wheelTimer) Stop() bool {
	t.mu.Lock()
	was, tick := t.dropLocked()
	t.mu.Unlock()
	cancel(tick)
	return was
}

// Reset implements Timer.
func (t *wheelTimer) Reset(d time.Duration) bool {
	t.mu.Lock()
	was, old := t.dropLocked()
	t.planned = true
	t.deadline = time.Now().Add(d)
	plan := t.plan
	if d <= 0 {
		t.waitLocked(plan, d)
	}
	t.mu.Unlock()

	cancel(old)
	if d <= 0 {
		return was
	}

	tick := t.wheel.Add(d, timer.WithHandler(func(*timer.Event) { t.due(plan) }))

	t.mu.Lock()
	mine := t.planned && t.plan == plan && t.rest == nil
	if mine && tick == nil {
		t.waitLocked(plan, d)
	}
	if mine {
		t.tick = tick
	}
	t.mu.Unlock()
	if !mine {
		cancel(tick)
	}
	return was
}

// due is called by the wheel: at about the time of the plan, or with an event
// that carries an error at any other.
func (t *wheelTimer) due(plan uint64) {
	t.mu.Lock()
	if !t.planned || t.plan != plan || t.rest != nil {
		t.mu.Unlock()
		return
	}
	t.tick = nil
	if rest := time.Until(t.deadline); rest > 0 {
		t.waitLocked(plan, rest)
		t.mu.Unlock()
		return
	}
	t.planned = false
	t.mu.Unlock()

	// The wheel has a bounded set of goroutines for callbacks, and stands still
	// while they are all busy.
	go t.f()
}

// waitLocked hands the plan to the runtime's timers.
func (t *wheelTimer) waitLocked(plan uint64, d time.Duration) {
	t.rest = time.AfterFunc(d, func() {
		t.mu.Lock()
		run := t.planned && t.plan == plan
		if run {
			t.planned = false
			t.rest = nil
		}
		t.mu.Unlock()
		if run {
			t.f()
		}
	})
}

// dropLocked makes the present plan void. It returns whether it was still to
// run, and the tick to cancel, if any.
func (t *wheelTimer) dropLocked() (was bool, tick timer.Tick) {
	was, tick = t.planned, t.tick
	if t.rest != nil {
		t.rest.Stop()
	}
	t.plan++
	t.planned = false
	t.tick = nil
	t.rest = nil
	return was, tick
}

// cancel takes a void plan off the wheel, which only frees its memory: whether
// the wheel agrees does not matter.
func cancel(tick timer.Tick) {
	if tick != nil {
		_ = tick.Cancel()
	}
}
