package clock

import (
	"testing"
	"testing/synctest"
	"time"

	timer "github.com/singchia/go-timer/v2"
	"github.com/stretchr/testify/assert"
)

// TestWheelAheadOfTime has a wheel hand over a plan at once: its slots do not
// reach as far as the duration, or it was closed.
func TestWheelAheadOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ran := make(chan time.Time, 2)
		waiting := FromTimer(&fakeWheel{}).AfterFunc(time.Hour, func() { ran <- time.Now() }).(*wheelTimer)
		waiting.due(waiting.plan)
		waiting.due(waiting.plan)
		assert.Equal(t, time.Hour, (<-ran).Sub(start), "the time after which the plan runs")
		synctest.Wait()
		assert.Empty(t, ran, "further runs of the plan")

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
