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

// FromTimer returns a Clock over a timing wheel, or Runtime if wheel is nil.
//
// A function may run late by one interval of the wheel, by default 10 ms. It never runs
// early: if the wheel calls back too early, because it rounds down, is too short for the
// duration, or was closed, a timer of the runtime waits for the rest of the time. If the
// wheel is paused or closed when AfterFunc is called, a timer of the runtime replaces it.
// Functions that are on the wheel wait while it is paused.
//
// Stop and Reset exchange messages with the goroutine of the wheel.
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

// wheelTimer is a Timer on a wheel. It is safe for concurrent use. mu is never held across a
// call of the wheel, because the wheel may call back from within Add, and because another
// goroutine of the wheel answers Cancel.
type wheelTimer struct {
	// These fields are read-only after AfterFunc.
	wheel timer.Timer
	f     func()

	// mu guards the fields below.
	mu sync.Mutex
	// plan is the number of the present plan. The callback of an earlier plan has an
	// earlier number and does nothing.
	plan uint64
	// planned reports that the present plan has not run.
	planned bool
	// deadline is the time at which the plan runs.
	deadline time.Time
	// tick is the plan on the wheel. It is nil before Add has returned, and while a
	// timer of the runtime has the plan.
	tick timer.Tick
	// rest is the timer of the runtime that has the plan. It is nil while the wheel
	// has the plan.
	rest *time.Timer
}

// Stop implements Timer.
func (t *wheelTimer) Stop() bool {
	t.mu.Lock()
	pending, tick := t.dropLocked()
	t.mu.Unlock()
	cancel(tick)
	return pending
}

// Reset implements Timer.
func (t *wheelTimer) Reset(d time.Duration) bool {
	t.mu.Lock()
	pending, old := t.dropLocked()
	t.planned = true
	t.deadline = time.Now().Add(d)
	plan := t.plan
	if d <= 0 {
		t.waitLocked(plan, d)
	}
	t.mu.Unlock()

	cancel(old)
	if d <= 0 {
		return pending
	}

	tick := t.wheel.Add(d, timer.WithHandler(func(*timer.Event) { t.due(plan) }))

	t.mu.Lock()
	present := t.planned && t.plan == plan && t.rest == nil
	if present && tick == nil {
		t.waitLocked(plan, d)
	}
	if present {
		t.tick = tick
	}
	t.mu.Unlock()
	if !present {
		cancel(tick)
	}
	return pending
}

// due runs when the wheel calls back, at about the time of the plan. When the wheel is
// closed, it calls back with an error at any time.
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

// waitLocked moves the plan to a timer of the runtime, which fires after d. The
// caller holds t.mu.
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

// dropLocked cancels the present plan. It reports whether there was a plan that had not run,
// and returns the tick that the caller must cancel, if any.
func (t *wheelTimer) dropLocked() (pending bool, tick timer.Tick) {
	pending, tick = t.planned, t.tick
	if t.rest != nil {
		t.rest.Stop()
	}
	t.plan++
	t.planned = false
	t.tick = nil
	t.rest = nil
	return pending, tick
}

// cancel removes a cancelled plan from the wheel, to free its memory. The error of the
// wheel does not matter.
func cancel(tick timer.Tick) {
	if tick != nil {
		_ = tick.Cancel()
	}
}
