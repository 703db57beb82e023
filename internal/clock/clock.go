package clock

import "time"

// Timer is a function that is to run later. Its methods are safe for concurrent use, also
// while the function runs.
type Timer interface {
	// Stop prevents the function from running. It returns false if the function has
	// started before, or if the timer was stopped before. It does not wait for a
	// running function.
	Stop() bool

	// Reset makes the function run once after d, in place of an earlier plan. It
	// reports whether there was an earlier plan. A running function is not stopped;
	// the new run may overlap with it.
	Reset(d time.Duration) bool
}

// Clock runs functions later. It is safe for concurrent use.
type Clock interface {
	// AfterFunc runs f once, after d, in a goroutine of its own, where it may
	// block. If d is zero or negative, it starts that goroutine at once.
	AfterFunc(d time.Duration, f func()) Timer
}

// runtimeClock is the Clock of the runtime's timers.
type runtimeClock struct{}

// Runtime returns the Clock of the runtime's timers. It follows the fake time of
// a testing/synctest bubble.
func Runtime() Clock {
	return runtimeClock{}
}

// AfterFunc is time.AfterFunc.
func (runtimeClock) AfterFunc(d time.Duration, f func()) Timer {
	return time.AfterFunc(d, f)
}
