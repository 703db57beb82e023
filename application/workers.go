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
// whose handler has returned takes the next request by itself, so that short requests need
// no switch between goroutines. As long as requests wait, one more worker is started or
// woken, so that no request waits for a handler that blocks.
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
	coming      bool      // a worker was started or woken and has not looked for a request yet
	idle        []*worker // the workers that wait; the last one is used first
	epoch       int       // how many times reap was called
	timer       bool      // a timer calls reap
	ended       bool      // no handler is started any more
}

type worker struct {
	wake  chan bool // has room for one; false ends the worker
	epoch int       // when it became idle
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
		p.last.queued = v
	}
	p.last = v
	w, needed := p.summon()
	p.mu.Unlock()
	if needed {
		p.start(w)
	}
}

// summon tells whether the requests that wait need one more worker, and returns an idle one
// if there is any. The caller passes it to start. p.mu is held.
func (p *workers) summon() (w *worker, needed bool) {
	if p.first == nil || p.coming {
		return nil, false
	}
	p.coming = true
	if n := len(p.idle); n > 0 {
		w, p.idle = p.idle[n-1], p.idle[:n-1]
	}
	return w, true
}

// start wakes a worker that summon has returned, or starts a new one if w is nil.
func (p *workers) start(w *worker) {
	if w != nil {
		w.wake <- true
	} else {
		go p.work(&worker{wake: make(chan bool, 1)})
	}
}

// work is the goroutine of a worker.
func (p *workers) work(w *worker) {
	for summoned := true; ; {
		v, waits := p.take(w, summoned)
		switch {
		case v != nil:
			v.run(p.log)
			summoned = false
		case !waits || !<-w.wake:
			return
		default:
			summoned = true
		}
	}
}

// take returns the next request, and starts a worker for those behind it. If there is none,
// w becomes idle, unless max workers are idle already; waits reports that it does.
func (p *workers) take(w *worker, summoned bool) (v *serving, waits bool) {
	p.mu.Lock()
	if summoned {
		p.coming = false
	}
	v = p.first
	if v == nil {
		defer p.mu.Unlock()
		return nil, p.rest(w)
	}
	p.first, v.queued = v.queued, nil
	if p.first == nil {
		p.last = nil // so that the garbage collector can free the request
	}
	other, needed := p.summon()
	p.mu.Unlock()
	if needed {
		p.start(other)
	}
	return v, false
}

// rest makes w idle and returns true, unless max workers are idle already. p.mu is held.
func (p *workers) rest(w *worker) bool {
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
	if p.timer {
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
