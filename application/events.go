package application

import (
	"log/slog"
	"sync"

	"github.com/singchia/geminio/internal/guard"
)

// Events runs callbacks of the user one after the other, in the order in which they were
// posted, on a goroutine that exists only while there are any. Each End has an Events of
// its own, except that the Ends of one RetryEnd share theirs. The next callback is called
// also if one panics or ends its goroutine. The methods of Events are safe for concurrent
// use.
type Events struct {
	mu      sync.Mutex
	queue   []event
	running bool
}

// event is a callback that waits.
type event struct {
	log  *slog.Logger
	what string // the name of the callback, for the log
	f    func()
}

// Post queues f, and does not wait. If f panics, the panic is logged with the name
// what.
func (v *Events) Post(log *slog.Logger, what string, f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.queue = append(v.queue, event{log, what, f})
	if !v.running {
		v.running = true
		go v.run()
	}
}

// run calls the queued callbacks until there are none. If a callback ends the goroutine,
// another goroutine continues.
func (v *Events) run() {
	ended := true
	defer func() {
		if ended {
			go v.run()
		}
	}()
	for {
		e, ok := v.next()
		if !ok {
			ended = false
			return
		}
		guard.Run(e.log, e.what, e.f, nil)
	}
}

// next returns the next callback. If there is none, the goroutine of run ends.
func (v *Events) next() (e event, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.queue) == 0 {
		v.running = false
		return event{}, false
	}
	e = v.queue[0]
	v.queue[0] = event{}
	v.queue = v.queue[1:]
	return e, true
}

// events posts the callbacks of one End to an Events, which other Ends may use too. After
// the last callback of the End it posts none.
type events struct {
	all *Events // set before the first callback
	log *slog.Logger

	mu     sync.Mutex
	closed bool
}

// post queues f, unless last was called before.
func (v *events) post(what string, f func()) { v.add(what, f, false) }

// last queues f as the last callback.
func (v *events) last(what string, f func()) { v.add(what, f, true) }

// close has the same effect without a callback.
func (v *events) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
}

// add is post, or last.
func (v *events) add(what string, f func(), last bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	v.closed = last
	v.all.Post(v.log, what, f)
}
