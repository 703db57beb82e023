package application

import "sync"

// events runs the user's callbacks of one End, one after the other and in the
// order in which they were posted, on a goroutine that exists only while there
// are any.
type events struct {
	mu      sync.Mutex
	queue   []func()
	running bool
	closed  bool
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
	v.queue = append(v.queue, f)
	if !v.running {
		v.running = true
		go v.run()
	}
}

func (v *events) run() {
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
