package server

// This file bounds the Ends that are kept without a connection, and finds them by their
// tickets.

import (
	"container/list"
	"errors"
	"sync"
	"time"

	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/heap"
	"github.com/singchia/geminio/packet"
)

const (
	// defaultResumeSessions and defaultResumeBytes are the defaults of SetResumeLimits.
	defaultResumeSessions = 16 << 10
	defaultResumeBytes    = 1 << 30
	// measureEvery is how often Ends without a connection are measured.
	measureEvery = time.Second
	// measureAtOnce is how many of them are measured at a time.
	measureAtOnce = 1 << 10
)

// errEvicted ends a session beyond the limits of SetResumeLimits.
var errEvicted = errors.New("too many interrupted sessions")

// ResumeStats counts the interruptions of all Ends of a Listener.
type ResumeStats struct {
	Interrupted   int    // Ends that have no connection at this moment
	HeldBytes     int    // bytes that the interrupted Ends hold
	Interruptions uint64 // connections that were lost, and whose sessions were kept
	Resumes       uint64 // sessions that have continued
	ReplayedBytes uint64 // bytes that were sent again
	LogBytes      uint64 // sent bytes that the clients may not have, at this moment
	Expired       uint64 // sessions that ended without a connection, apart from those of Evicted
	Evicted       uint64 // sessions that SetResumeLimits has ended
	Unknown       uint64 // attempts of clients to resume a session that the Listener does not have
}

// ResumeStatser is an optional interface of a Listener; the Listeners of this package have
// it.
type ResumeStatser interface {
	// ResumeStats returns the counters at this moment.
	ResumeStats() ResumeStats
}

// ticketID names a session.
type ticketID [packet.TicketIDLen]byte

// resumables has the Ends of a Listener whose sessions can be resumed. It bounds the number and
// the memory of those that are interrupted. Its methods are safe for concurrent use.
type resumables struct {
	maxEnds, maxBytes int

	mu        sync.Mutex // before Mux.mu and Conn.mu
	closed    bool       // no session can be resumed
	all       map[ticketID]*resumable
	hosts     map[string]*detachedHost
	largest   heap.Heap[*detachedHost] // the hosts, the one that holds most first
	detached  int                      // how many are interrupted
	bytes     int                      // the bytes that the interrupted Ends hold
	measuring bool                     // measureAll is called after measureEvery
	ended     ResumeStats              // the counters of the sessions that have ended
}

// resumable is an End whose session can be resumed. resumables.mu guards the fields below
// callbacks.
type resumable struct {
	c         *conn.Conn
	callbacks *interruptions // nil if the delegate is not told

	e       *ServerEnd    // nil before setEnd
	host    *detachedHost // nil while it is not interrupted
	place   *list.Element // in host.ends
	bytes   int           // the bytes that the End held when it was measured; 0 while it is not interrupted
	evicted bool          // unlock has ended it, unless a handshake resumes it at this moment
}

// detachedHost is a remote host with interrupted Ends. resumables.mu guards it.
type detachedHost struct {
	name  string
	bytes int
	ends  list.List // of *resumable, the oldest first

	heap.Place // in resumables.largest
}

// Before implements heap.Element: the host that holds more comes first.
func (h *detachedHost) Before(other *detachedHost) bool { return h.bytes > other.bytes }

// newResumables returns resumables with the given bounds; 0 stands for the default.
func newResumables(ends, bytes int) *resumables {
	t := &resumables{
		maxEnds: ends, maxBytes: bytes,
		all: make(map[ticketID]*resumable), hosts: make(map[string]*detachedHost),
	}
	if t.maxEnds == 0 {
		t.maxEnds = defaultResumeSessions
	}
	if t.maxBytes == 0 {
		t.maxBytes = defaultResumeBytes
	}
	return t
}

// add adds a session that its client is about to learn of.
func (t *resumables) add(c *conn.Conn, tell *interruptions) *resumable {
	r := &resumable{c: c, callbacks: tell}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all[ticketID(c.TicketID())] = r
	return r
}

// setEnd sets the End of a session.
func (t *resumables) setEnd(r *resumable, e *ServerEnd) {
	if r == nil {
		return
	}
	t.mu.Lock()
	r.e = e
	t.mu.Unlock()
	t.update(r)
}

// find returns the session with an id, or nil.
func (t *resumables) find(id []byte) *resumable {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.all[ticketID(id)]
	if r == nil {
		t.ended.Unknown++
	}
	return r
}

// findConn is find for a handshake.
func (t *resumables) findConn(id []byte) *conn.Conn {
	if r := t.find(id); r != nil {
		return r.c
	}
	return nil
}

// update is called when a session has lost its connection or has another one.
func (t *resumables) update(r *resumable) {
	t.mu.Lock()
	e := r.e
	if t.all[ticketID(r.c.TicketID())] == r && e != nil {
		t.count(r)
	}
	t.unlock()
	r.callbacks.update(r.c)
	e.sessionChanged()
}

// count counts r as interrupted or as connected. t.mu is held.
func (t *resumables) count(r *resumable) {
	connected := r.c.SessionStats().Connected || r.c.State() == conn.Closed
	r.evicted = r.evicted && !connected
	switch {
	case r.evicted:
	case connected && r.host != nil:
		t.attach(r)
	case !connected && r.host == nil:
		t.detach(r)
	case !connected:
		t.measure(r)
	}
}

// detach counts r as interrupted. t.mu is held.
func (t *resumables) detach(r *resumable) {
	t.addTo(r, hostOf(r.c.RemoteAddr()))
	t.measure(r)
	if !t.measuring {
		t.measuring = true
		time.AfterFunc(measureEvery, t.measureAll)
	}
}

// addTo adds r, which holds nothing yet, to the Ends of a host. t.mu is held.
func (t *resumables) addTo(r *resumable, name string) {
	h := t.hosts[name]
	if h == nil {
		h = &detachedHost{name: name}
		t.hosts[name] = h
		t.largest.Push(h)
	}
	r.host, r.place = h, h.ends.PushBack(r)
	t.detached++
}

// attach counts r as not interrupted any more. t.mu is held.
func (t *resumables) attach(r *resumable) {
	h := r.host
	t.resize(r, 0)
	h.ends.Remove(r.place)
	r.host, r.place = nil, nil
	t.detached--
	if h.ends.Len() == 0 {
		t.largest.Remove(h)
		delete(t.hosts, h.name)
	}
}

// measure counts the bytes that r holds. t.mu is held.
func (t *resumables) measure(r *resumable) { t.resize(r, r.e.control().Held()) }

// resize sets the bytes that r holds. t.mu is held.
func (t *resumables) resize(r *resumable, bytes int) {
	t.bytes += bytes - r.bytes
	r.host.bytes += bytes - r.bytes
	r.bytes = bytes
	t.largest.Fix(r.host)
}

// unlock releases t.mu, and then ends the sessions that exceed the limits.
func (t *resumables) unlock() {
	var over []*resumable
	for t.detached > 0 && (t.closed || t.detached > t.maxEnds || t.bytes > t.maxBytes) {
		r := t.largest.First().ends.Front().Value.(*resumable)
		t.attach(r)
		r.evicted = true
		over = append(over, r)
	}
	cause := errEvicted
	if t.closed {
		cause = nil
	} else {
		t.ended.Evicted += uint64(len(over))
	}
	t.mu.Unlock()
	for _, r := range over {
		r.c.Expire(cause)
	}
}

// measureAll measures interrupted Ends again, since their users may still write.
func (t *resumables) measureAll() {
	t.mu.Lock()
	left := measureAtOnce
	for _, r := range t.all { // in random order
		if r.host == nil {
			continue
		}
		t.measure(r)
		if left--; left == 0 {
			break
		}
	}
	t.measuring = t.detached > 0
	if t.measuring {
		time.AfterFunc(measureEvery, t.measureAll)
	}
	t.unlock()
}

// remove removes a session that has ended. The End of a session may have ended before: its last
// bytes can be fetched within the time of SetLinger.
func (t *resumables) remove(r *resumable) {
	if r == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	id := ticketID(r.c.TicketID())
	if t.all[id] != r {
		return
	}
	delete(t.all, id)
	if r.host != nil {
		t.attach(r)
		t.ended.Expired++
	}
	s := r.c.SessionStats()
	t.ended.Interruptions += s.Interruptions
	t.ended.Resumes += s.Resumes
	t.ended.ReplayedBytes += s.Replayed
}

// close ends the interrupted sessions. From now on a session ends when it is interrupted.
func (t *resumables) close() {
	t.mu.Lock()
	t.closed = true
	t.unlock()
}

// stats returns the counters at this moment.
func (t *resumables) stats() ResumeStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.ended
	all.Interrupted, all.HeldBytes = t.detached, t.bytes
	for _, r := range t.all {
		s := r.c.SessionStats()
		all.Interruptions += s.Interruptions
		all.Resumes += s.Resumes
		all.ReplayedBytes += s.Replayed
		all.LogBytes += s.Logged
	}
	return all
}
