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
// A wheel is coarse: a function may run late by one interval of the wheel, which is
// 10 ms by default. It never runs early. If the wheel calls back ahead of time, because
// it rounds down, is too short for the duration, or was closed, the rest of the time is
// waited on the runtime's timers. The runtime's timers also replace a wheel that is
// paused or closed when AfterFunc is called. Functions that are on a wheel wait while it
// is paused.
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
	// plan numbers the present plan. The callback of an older plan has another
	// number and does nothing.
	plan uint64
	// planned is set while the present plan has not run.
	planned bool
	// deadline is the time at which the plan runs.
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

	// The wheel has a bounded number of goroutines for callbacks, and stops while
	// all of them are busy.
	go t.f()
}

// waitLocked moves the plan to the runtime's timers.
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

// dropLocked cancels the present plan. It reports whether the plan had not run, and
// returns the tick to cancel, if any.
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

// cancel removes a cancelled plan from the wheel, to free its memory. The error of the
// wheel does not matter.
func cancel(tick timer.Tick) {
	if tick != nil {
		_ = tick.Cancel()
	}
}
