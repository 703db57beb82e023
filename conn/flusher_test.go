package conn

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/internal/clock"
)

// The goroutine stays while it is needed often.
func TestFlusher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		f := &flusher{clock: clock.Runtime(), run: func() { runs++ }}
		start := func(after time.Duration) (goroutine chan struct{}) {
			time.Sleep(after)
			f.start()
			synctest.Wait()
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.wake
		}
		assert.Nil(t, start(0), "no goroutine stays for one run")
		assert.Nil(t, start(flusherIdle), "nor for seldom runs")
		stays := start(flusherIdle - 1)
		assert.NotNil(t, stays)
		for range 10 {
			assert.Equal(t, stays, start(flusherIdle-1), "it is used again")
		}
		assert.Nil(t, start(2*flusherIdle), "it has ended")
		assert.NotNil(t, start(0), "another one")
		assert.Equal(t, 15, runs)
		time.Sleep(2 * flusherIdle) // the bubble would wait for a goroutine that does not end
	})
}

func TestFlusherOfAnEndedConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, proceed := make(chan struct{}), make(chan struct{})
		f := &flusher{clock: clock.Runtime(), run: func() {
			began <- struct{}{}
			<-proceed
		}}
		for range 2 {
			f.start()
			<-began
			proceed <- struct{}{}
			synctest.Wait()
		}
		f.start()
		<-began
		f.end()
		f.end()
		close(proceed) // the goroutine has to end now, and not after flusherIdle
		synctest.Wait()
		f.start()
		<-began
		synctest.Wait()
	})
}
