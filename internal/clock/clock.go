package clock

import "time"

// Timer is a function waiting to run. Its methods may be called concurrently,
// with each other and with the function.
type Timer interface {
	// Stop prevents the function from running. It returns false if the function
	// was already started or the timer already stopped. It does not wait for a
	// running function.
	Stop() bool

	// Reset lets the function run once, after d, and replaces an earlier plan. It
	// reports whether there was one. A function that already runs is not stopped,
	// and the new run may be concurrent with it.
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
