package server

import (
	"container/list"
	"sync"
	"time"

	"github.com/singchia/geminio/application"
)

const (
	// defaultSessionKeep is how long a session is remembered without a connection.
	defaultSessionKeep = 10 * time.Minute
	// maxSessionBytes bounds what is remembered of all sessions without a connection.
	maxSessionBytes = 32 << 20
	// sessionOverhead is about what one costs beside its deliveries. Also one without
	// any counts: there may be a message that was not handed out yet.
	sessionOverhead = 512
)

// sessions remembers what the clients that reconnect have delivered, over their
// connections. It forgets, at the next opportunity, those that were without a
// connection for too long, and the oldest where there are too many. Its methods are
// safe for concurrent use.
type sessions struct {
	keep time.Duration

	mu    sync.Mutex
	all   map[sessionKey]*session
	idle  list.List // of those without a connection, the oldest first
	bytes int       // what those take
}

type sessionKey struct {
	clientID uint64
	name     string
}

// session is one client's.
type session struct {
	key        sessionKey
	deliveries application.Deliveries

	// Guarded by sessions.mu.
	conns int
	place *list.Element // in sessions.idle
	since time.Time     // without a connection
	bytes int           // of sessions.bytes
}

// attach returns the session of a client that has connected; nil if it names none.
func (t *sessions) attach(clientID uint64, name []byte) *session {
	if len(name) == 0 {
		return nil
	}
	key := sessionKey{clientID, string(name)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget()
	s := t.all[key]
	if s == nil {
		if t.all == nil {
			t.all = make(map[sessionKey]*session)
		}
		s = &session{key: key}
		t.all[key] = s
	}
	if s.place != nil {
		t.wake(s)
	}
	s.conns++
	return s
}

// detach is called when a connection of the session has ended.
func (t *sessions) detach(s *session) {
	if s == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.conns--; s.conns == 0 {
		s.since, s.bytes = time.Now(), s.deliveries.Rest()+sessionOverhead
		s.place = t.idle.PushBack(s)
		t.bytes += s.bytes
	}
	t.forget()
}

// wake takes s out of those without a connection. t.mu is held.
func (t *sessions) wake(s *session) {
	t.idle.Remove(s.place)
	t.bytes -= s.bytes
	s.place = nil
}

// forget forgets what need not be remembered any more. t.mu is held.
func (t *sessions) forget() {
	for e := t.idle.Front(); e != nil; e = t.idle.Front() {
		s := e.Value.(*session)
		if t.bytes <= maxSessionBytes && time.Since(s.since) < t.keep {
			return
		}
		t.wake(s)
		delete(t.all, s.key)
	}
}
