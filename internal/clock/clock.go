package clock

import "time"

// Timer is a function waiting to run. Its methods may be called concurrently,
// with each other and with the function.
type Timer interface {
	// Stop keeps the function from running. It returns false when there was
	// nothing to keep from running: the function was started already, or the
	// timer was stopped. It does not wait for a function that runs.
	Stop() bool

	// Reset lets the function run once d from now, in place of what was
	// planned. It returns whether something was. A function that was started
	// already is not called back and may run beside the new one.
	Reset(d time.Duration) bool
}

// Clock runs functions later. It is safe for concurrent use.
type Clock interface {
	// AfterFunc runs f once, not before d has passed, on a goroutine of its
	// own, where it may block. With a d of zero or less that is at once, and
	// still not on the caller's goroutine.
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
