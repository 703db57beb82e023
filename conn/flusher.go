package conn

import (
	"sync"
	"time"

	"github.com/singchia/geminio/internal/clock"
)

// flusherIdle is the time within which a flusher must be needed again for its goroutine to stay.
const flusherIdle = 100 * time.Millisecond

// flusher is a goroutine that writes if the goroutine that has made something ready may not wait.
// While it is needed often it stays, because a Write of TLS needs a large stack, which a new
// goroutine would have to grow each time. Its methods are safe for concurrent use.
type flusher struct {
	clock clock.Clock
	run   func() // writes until nothing is left, and then releases the write token

	mu    sync.Mutex
	last  time.Time     // when start was called last
	wake  chan struct{} // has room for one; nil: there is no goroutine that stays
	timer clock.Timer   // calls reap; nil: there is no goroutine that stays
	ended bool          // the connection has ended: no goroutine stays
}

// start calls run in the goroutine. The caller has acquired the write token for it.
func (f *flusher) start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	often := now.Sub(f.last) < flusherIdle
	f.last = now
	if f.wake == nil {
		if !often || f.ended {
			go f.run()
			return
		}
		f.wake = make(chan struct{}, 1)
		go f.loop(f.wake)
		f.timer = f.clock.AfterFunc(flusherIdle, f.reap)
	}
	f.wake <- struct{}{} // there is room: the last run has begun before it released the token
}

// loop is the goroutine.
func (f *flusher) loop(wake <-chan struct{}) {
	for range wake {
		f.run()
	}
}

// reap ends the goroutine if start was not called for flusherIdle.
func (f *flusher) reap() {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.ended:
	case time.Since(f.last) < flusherIdle:
		f.timer.Reset(flusherIdle)
	default:
		f.stop()
	}
}

// end ends the goroutine when its present run has returned, because the connection has ended.
func (f *flusher) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	if f.timer != nil {
		f.timer.Stop() // or it would keep the connection reachable
	}
	f.stop()
}

// stop ends the goroutine that stays, if there is one. f.mu is held.
func (f *flusher) stop() {
	if f.wake != nil {
		close(f.wake)
		f.wake, f.timer = nil, nil
	}
}
