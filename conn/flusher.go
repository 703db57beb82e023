package conn

import (
	"sync"
	"time"

	"github.com/singchia/geminio/internal/clock"
)

// flusherIdle is the time after which the goroutine of a flusher ends if it was not needed.
const flusherIdle = 100 * time.Millisecond

// flusher is a goroutine that writes if the goroutine that has made something ready may not wait.
// It stays for a while after it has written: a Write of TLS needs a large stack, which a new
// goroutine would have to grow each time. Its methods are safe for concurrent use.
type flusher struct {
	clock clock.Clock
	run   func() // writes until nothing is left, and then releases the write token

	mu    sync.Mutex
	wake  chan struct{} // has room for one; nil: there is no goroutine
	timer clock.Timer   // calls reap; nil: there is no goroutine
	used  bool          // start was called since the last call of reap
	ended bool          // the connection has ended: a goroutine ends after one run
}

// start calls run in the goroutine. The caller has acquired the write token for it.
func (f *flusher) start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.ended:
		go f.run()
		return
	case f.wake == nil:
		f.wake = make(chan struct{}, 1)
		go f.loop(f.wake)
		f.timer = f.clock.AfterFunc(flusherIdle, f.reap)
	}
	f.used = true
	f.wake <- struct{}{} // there is room: the last run has begun before it released the token
}

// loop is the goroutine.
func (f *flusher) loop(wake <-chan struct{}) {
	for range wake {
		f.run()
	}
}

// reap ends the goroutine if start was not called since the last call of reap.
func (f *flusher) reap() {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.ended:
	case f.used:
		f.used = false
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

// stop ends the goroutine, if there is one. f.mu is held.
func (f *flusher) stop() {
	if f.wake != nil {
		close(f.wake)
		f.wake, f.timer = nil, nil
	}
}
