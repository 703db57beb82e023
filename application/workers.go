package application

import (
	"log/slog"
	"sync"
	"time"

	"github.com/singchia/geminio/internal/clock"
)

const (
	// idleWorkers is the largest number of goroutines that wait for the next request.
	idleWorkers = 64
	// idleTime is the time after which a goroutine that was not needed ends.
	idleTime = 250 * time.Millisecond
)

// workers runs handlers, each in a goroutine of its own, which is called a worker. A worker
// whose handler has returned takes the next request itself, so that short requests need no
// switch between goroutines. As long as requests wait, one more worker is started or woken,
// so that no request waits for a handler that blocks.
//
// A worker without a request waits for a short time, since a goroutine whose stack has
// grown is worth keeping. After idleTime without requests there are no workers.
//
// A handler may hang, and its goroutine refers to the workers. Therefore the workers refer
// to no other part of their End.
type workers struct {
	clock clock.Clock
	log   *slog.Logger
	max   int

	mu          sync.Mutex
	first, last *serving  // the list of requests that wait
	starting    bool      // a worker was started or woken, and has not called take yet
	idle        []*worker // the workers that wait; the last one is used first
	epoch       int       // how many times reap was called
	timer       bool      // a timer calls reap
	ended       bool      // no handler is started any more
}

// worker is a goroutine that calls handlers.
type worker struct {
	wake  chan bool // has room for one; false ends the worker
	epoch int       // workers.epoch when it became idle
}

// newWorkers returns workers of which at most max wait for a request. 0 stands for
// idleWorkers.
func newWorkers(c clock.Clock, log *slog.Logger, max int) *workers {
	if max <= 0 {
		max = idleWorkers
	}
	return &workers{clock: c, log: log, max: max}
}

// run has a worker run v. It does not block. After end it does nothing.
func (p *workers) run(v *serving) {
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return
	}
	if p.first == nil {
		p.first = v
	} else {
		p.last.next = v
	}
	p.last = v
	w, needed := p.nextWorker()
	p.mu.Unlock()
	if needed {
		p.start(w)
	}
}

// nextWorker tells whether the requests that wait need one more worker. If so, the caller has
// to call start with w, which is an idle worker, or nil if there is none. p.mu is held.
func (p *workers) nextWorker() (w *worker, needed bool) {
	if p.first == nil || p.starting {
		return nil, false
	}
	p.starting = true
	if n := len(p.idle); n > 0 {
		w, p.idle = p.idle[n-1], p.idle[:n-1]
	}
	return w, true
}

// start wakes an idle worker, or starts a new one if w is nil.
func (p *workers) start(w *worker) {
	if w != nil {
		w.wake <- true
	} else {
		go p.work(&worker{wake: make(chan bool, 1)})
	}
}

// work is the goroutine of a worker.
func (p *workers) work(w *worker) {
	for started := true; ; {
		v, waits := p.take(w, started)
		switch {
		case v != nil:
			v.run(p.log)
			started = false
		case !waits || !<-w.wake:
			return
		default:
			started = true
		}
	}
}

// take returns the next request, and starts a worker for the requests behind it. If there is
// none, w becomes idle, and waits is true, unless max workers are idle already. started says
// that w was started or woken since its last take.
func (p *workers) take(w *worker, started bool) (v *serving, waits bool) {
	p.mu.Lock()
	if started {
		p.starting = false
	}
	v = p.first
	if v == nil {
		defer p.mu.Unlock()
		return nil, p.becomeIdle(w)
	}
	p.first, v.next = v.next, nil
	if p.first == nil {
		p.last = nil // so that the garbage collector can free the request
	}
	other, needed := p.nextWorker()
	p.mu.Unlock()
	if needed {
		p.start(other)
	}
	return v, false
}

// becomeIdle makes w idle. It reports false if max workers are idle already. p.mu is held.
func (p *workers) becomeIdle(w *worker) bool {
	if p.ended || len(p.idle) >= p.max {
		return false
	}
	w.epoch = p.epoch
	p.idle = append(p.idle, w)
	if !p.timer {
		p.timer = true
		p.clock.AfterFunc(idleTime, p.reap)
	}
	return true
}

// reap ends the workers that have been idle since its last call.
func (p *workers) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.idle) && p.idle[n].epoch < p.epoch {
		p.idle[n].wake <- false
		n++
	}
	p.idle = append(p.idle[:0], p.idle[n:]...)
	p.epoch++
	p.timer = len(p.idle) > 0
	if !p.timer {
		p.idle = nil // free the memory
	} else {
		p.clock.AfterFunc(idleTime, p.reap)
	}
}

// end ends all workers, as soon as their handlers have returned, and drops the requests that
// wait.
func (p *workers) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.first, p.last = nil, nil
	for _, w := range p.idle {
		w.wake <- false
	}
	p.idle = nil
}
