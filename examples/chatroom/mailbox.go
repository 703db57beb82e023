package main

import "sync"

// mailbox has the events that wait for one client. It is bounded: where a client is
// too slow the oldest go, and it is told how many. So nobody waits for it. Its
// methods are safe for concurrent use.
type mailbox struct {
	limit int
	news  chan struct{} // has room for one; holds one if take should look again

	mu      sync.Mutex
	events  []event
	skipped int
	closed  bool
}

func newMailbox(limit int) *mailbox {
	return &mailbox{limit: limit, news: make(chan struct{}, 1)}
}

// put adds events. It does not block.
func (b *mailbox) put(events ...event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.events = append(b.events, events...)
	if over := len(b.events) - b.limit; over > 0 {
		clear(b.events[:over]) // for the garbage collector
		b.events = b.events[over:]
		b.skipped += over
	}
	b.signal()
}

// close lets nothing more in. What is there can still be taken.
func (b *mailbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.signal()
}

func (b *mailbox) signal() {
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// take waits for the next event. It reports false if there will be none, or when
// stop is closed. It is for one goroutine.
func (b *mailbox) take(stop <-chan struct{}) (event, bool) {
	for {
		e, ok, more := b.next()
		if ok || !more {
			return e, ok
		}
		select {
		case <-b.news:
		case <-stop:
			return event{}, false
		}
	}
}

// next returns the next event if there is one, and whether there may be more.
func (b *mailbox) next() (e event, ok, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.skipped > 0:
		e = event{kind: kindSkipped, Count: b.skipped}
		b.skipped = 0
		return e, true, true
	case len(b.events) == 0:
		return e, false, !b.closed
	}
	e = b.events[0]
	b.events[0] = event{}
	b.events = b.events[1:]
	return e, true, true
}
