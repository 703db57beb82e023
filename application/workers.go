package application

import (
	"log/slog"
	"sync"
	"time"

	"github.com/singchia/geminio/internal/clock"
)

const (
	// idleWorkers is how many goroutines wait for the next request at most.
	idleWorkers = 64
	// idleTime is after how long those of them go that were not needed.
	idleTime = 250 * time.Millisecond
)

// workers runs handlers, each in a goroutine of its own. One that is done takes the
// next request by itself, so that many short ones need not be handed over. And as long
// as requests wait, one more goroutine is on its way to take the next: none waits for a
// handler that blocks.
//
// Those that find nothing to do wait a moment for the next request: a goroutine with a
// grown stack is worth having. After a while without requests there are none.
//
// A handler may hang, and its goroutine refers to the workers: so they refer to nothing
// else of their End.
type workers struct {
	clock clock.Clock
	log   *slog.Logger
	max   int

	mu          sync.Mutex
	first, last *serving  // requests that wait, in a list
	coming      bool      // a worker was woken for them and has not looked yet
	idle        []*worker // the last one is the first to be used
	epoch       int       // counts the passings of idleTime
	timer       bool      // it is running
	over        bool
}

type worker struct {
	wake  chan bool // has room for one; false ends the worker
	epoch int       // when it became idle
}

// newWorkers makes workers of which at most max, or idleWorkers if that is 0, wait.
func newWorkers(c clock.Clock, log *slog.Logger, max int) *workers {
	if max <= 0 {
		max = idleWorkers
	}
	return &workers{clock: c, log: log, max: max}
}

// run has v run, without waiting for anything. After end it does nothing.
func (p *workers) run(v *serving) {
	p.mu.Lock()
	if p.over {
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

// summon tells whether a worker is to be started for the requests that wait, and which
// of the idle ones, if there are any. p.mu is held.
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

// start starts the worker that summon has named.
func (p *workers) start(w *worker) {
	if w != nil {
		w.wake <- true
	} else {
		go p.work(&worker{wake: make(chan bool, 1)})
	}
}

// work is a worker's goroutine.
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

// take returns the next request and sees to it that somebody comes for those behind it.
// If there is none, w becomes idle, unless enough are.
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
		p.last = nil // lest it be kept
	}
	other, needed := p.summon()
	p.mu.Unlock()
	if needed {
		p.start(other)
	}
	return v, false
}

// rest makes w idle, unless enough are. p.mu is held.
func (p *workers) rest(w *worker) bool {
	if p.over || len(p.idle) >= p.max {
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

// reap lets those go that have been idle since its last call.
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

// end lets all go, as soon as they are done, and forgets the requests that wait.
func (p *workers) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.first, p.last = nil, nil
	for _, w := range p.idle {
		w.wake <- false
	}
	p.idle = nil
}
