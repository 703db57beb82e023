// go-timer's 64-bit atomic operations are not aligned on 32-bit machines, where its wheel
// panics.

//go:build !386 && !arm && !mips && !mipsle

package clock

import (
	"testing"
	"time"

	timer "github.com/singchia/go-timer/v2"
	"github.com/stretchr/testify/assert"
)

func init() {
	clocks["wheel"] = func(t *testing.T) Clock { return FromTimer(newWheel(t)) }
}

// newWheel makes a wheel that ends with the test.
func newWheel(t *testing.T, opts ...timer.TimerOption) timer.Timer {
	wheel := timer.NewTimer(opts...)
	t.Cleanup(wheel.Close)
	return wheel
}

func TestBlockedFunctionsDoNotStopTheWheel(t *testing.T) {
	c := FromTimer(newWheel(t))
	release := make(chan struct{})
	defer close(release)
	for range 3000 { // more than the wheel runs and queues
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
