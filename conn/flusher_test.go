package conn

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/internal/clock"
)

func TestFlusher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		f := &flusher{clock: clock.Runtime(), run: func() { runs++ }}
		goroutine := func() chan struct{} {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.wake
		}
		f.start()
		synctest.Wait()
		first := goroutine()
		for range 10 { // needed again within flusherIdle
			time.Sleep(flusherIdle - 1)
			f.start()
			synctest.Wait()
			assert.Equal(t, first, goroutine(), "the goroutine is used again")
		}
		assert.Equal(t, 11, runs)
		time.Sleep(2 * flusherIdle)
		synctest.Wait()
		assert.Nil(t, goroutine(), "the goroutine has ended") // or the bubble would wait for it for ever

		f.start()
		synctest.Wait()
		assert.Equal(t, 12, runs, "a new goroutine")
		time.Sleep(3 * flusherIdle)
	})
}

func TestFlusherOfAnEndedConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, proceed := make(chan struct{}), make(chan struct{})
		f := &flusher{clock: clock.Runtime(), run: func() {
			began <- struct{}{}
			<-proceed
		}}
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
