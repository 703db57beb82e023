package application

import (
	"log/slog"
	"sync"

	"github.com/singchia/geminio/internal/guard"
)

// Events runs callbacks of the user, one after the other and in the order in which
// they were posted, on a goroutine that exists only while there are any. An End has
// one of its own; Ends that are the connections of one that reconnects share one.
// A callback that panics or ends its goroutine does not keep the next ones from being
// called. The methods of Events are safe for concurrent use.
type Events struct {
	mu      sync.Mutex
	queue   []event
	running bool
}

// event is a callback that waits.
type event struct {
	log  *slog.Logger
	what string // names it where it panics
	f    func()
}

// Post has f called, which what names in log if it panics. It does not wait.
func (v *Events) Post(log *slog.Logger, what string, f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.queue = append(v.queue, event{log, what, f})
	if !v.running {
		v.running = true
		go v.run()
	}
}

// run calls callbacks as long as there are any. One that ends its goroutine has another
// goroutine go on.
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

// next returns the next callback. If there is none, the goroutine is to end.
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

// events are those of one End, which come to an end.
type events struct {
	all *Events // set before the first
	log *slog.Logger

	mu     sync.Mutex
	closed bool
}

// post has f called, unless last was.
func (v *events) post(what string, f func()) { v.add(what, f, false) }

// last has f called, and nothing after it.
func (v *events) last(what string, f func()) { v.add(what, f, true) }

func (v *events) add(what string, f func(), last bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	v.closed = last
	v.all.Post(v.log, what, f)
}
