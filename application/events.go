package application

import "sync"

// Events runs callbacks of the user, one after the other and in the order in which
// they were posted, on a goroutine that exists only while there are any. An End has
// one of its own; Ends that are the connections of one that reconnects share one.
// Its methods are safe for concurrent use.
type Events struct {
	mu      sync.Mutex
	queue   []func()
	running bool
}

// Post has f called. It does not wait.
func (v *Events) Post(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.queue = append(v.queue, f)
	if !v.running {
		v.running = true
		go v.run()
	}
}

func (v *Events) run() {
	for {
		v.mu.Lock()
		if len(v.queue) == 0 {
			v.running = false
			v.mu.Unlock()
			return
		}
		f := v.queue[0]
		v.queue[0] = nil
		v.queue = v.queue[1:]
		v.mu.Unlock()
		f()
	}
}

// events are those of one End, which come to an end.
type events struct {
	all *Events // set before the first

	mu     sync.Mutex
	closed bool
}

// post has f called, unless last was.
func (v *events) post(f func()) { v.add(f, false) }

// last has f called, and nothing after it.
func (v *events) last(f func()) { v.add(f, true) }

func (v *events) add(f func(), last bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	v.closed = last
	v.all.Post(f)
}
