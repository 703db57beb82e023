package main

import "sync"

// mailbox has the events that wait for one client. It is bounded: if the client is
// too slow, the oldest events are dropped, and the client gets their number. So no
// goroutine waits for a slow client. Its methods are safe for concurrent use.
type mailbox struct {
	limit int
	news  chan struct{} // has a buffer of one, which is full if take should look again

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

// close ends the adding of events. take still returns the events in the mailbox.
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

// take waits for the next event. It returns false if there will be no more events, or when
// stop is closed. Only one goroutine may call it.
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

// next returns the next event, if any, and whether more events may come.
func (b *mailbox) next() (e event, ok, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.skipped > 0:
		e = event{Kind: kindSkipped, Count: b.skipped}
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
