package application

import (
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

// workers runs handlers, each in a goroutine of its own. Those that are done wait
// a moment for the next request: a goroutine with a grown stack is worth having.
// After a while without requests there are none.
type workers struct {
	clock clock.Clock
	max   int

	mu    sync.Mutex
	idle  []*worker // the last one is the first to be used
	epoch int       // counts the passings of idleTime
	timer bool      // it is running
	over  bool
}

type worker struct {
	next  chan *serving // has room for one; nil ends the worker
	epoch int           // when it became idle
}

func (p *workers) init(c clock.Clock, max int) {
	p.clock, p.max = c, max
	if max <= 0 {
		p.max = idleWorkers
	}
}

// run runs v without waiting for anything.
func (p *workers) run(v *serving) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		w.next <- v
		return
	}
	p.mu.Unlock()
	w := &worker{next: make(chan *serving, 1)}
	go p.work(w, v)
}

func (p *workers) work(w *worker, v *serving) {
	for v != nil {
		v.run()
		v = nil
		if p.rest(w) {
			v = <-w.next
		}
	}
}

// rest makes w idle, unless enough are.
func (p *workers) rest(w *worker) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
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
		p.idle[n].next <- nil
		n++
	}
	p.idle = append(p.idle[:0], p.idle[n:]...)
	p.epoch++
	p.timer = len(p.idle) > 0
	if p.timer {
		p.clock.AfterFunc(idleTime, p.reap)
	}
}

// end lets all go, as soon as they are done.
func (p *workers) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	for _, w := range p.idle {
		w.next <- nil
	}
	p.idle = nil
}
