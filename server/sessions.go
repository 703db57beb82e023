package server

// This file remembers the messages of clients that reconnect, also while they have no
// connection.

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/singchia/geminio/application"
)

const (
	// defaultSessionKeep is how long a session is remembered without a connection.
	defaultSessionKeep = 10 * time.Minute
	// maxSessionBytes bounds what is remembered of all sessions without a connection.
	maxSessionBytes = 32 << 20
	// sessionOverhead is the memory of a session without its deliveries, if its host has
	// no other session. A session without deliveries is kept too: there may be a message
	// that was not handed out yet.
	sessionOverhead = 1 << 10
)

// sessions keeps the sessions of clients that reconnect, with the messages that they have
// delivered. It drops a session that has had no connection for too long. If the sessions
// without a connection take too much memory, it drops those of the remote host that takes
// most of it, and there those of the client id that takes most, the oldest first: sessions
// that one host begins do not displace those of another. Its methods are safe for
// concurrent use.
type sessions struct {
	keep     time.Duration
	maxBytes int // the limit of memory.bytes

	mu         sync.Mutex
	all        map[sessionKey]*session
	byChosenID map[uint64]*session // those whose id the library has chosen, by that id
	idle       list.List           // the sessions without a connection, the oldest first
	memory     share               // the memory of the idle sessions, divided by hosts and then by client ids
}

type sessionKey struct {
	clientID uint64
	name     string
}

// session is the state of one client, over all its connections.
type session struct {
	key        sessionKey
	deliveries application.Deliveries

	// Guarded by sessions.mu.
	conns  int
	host   string        // the remote host of the last connection
	since  time.Time     // when the last connection ended
	place  *list.Element // in sessions.idle; nil while there is a connection
	shared *list.Element // in the share of its client id; nil while there is a connection
	bytes  int           // the memory that the session takes without a connection
}

func newSessions(keep time.Duration) *sessions {
	return &sessions{
		keep: keep, maxBytes: maxSessionBytes,
		all: make(map[sessionKey]*session), byChosenID: make(map[uint64]*session),
	}
}

// owner returns the name of the session for which the library has chosen an id, if there is
// one.
func (t *sessions) owner(clientID uint64) (name string, owned bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget()
	s := t.byChosenID[clientID]
	if s == nil {
		return "", false
	}
	return s.key.name, true
}

// attach returns the session of a client that has connected from an address, or nil if the
// client names no session. chosen says that the library has chosen the client's id.
func (t *sessions) attach(clientID uint64, name []byte, from net.Addr, chosen bool) *session {
	if len(name) == 0 {
		return nil
	}
	key := sessionKey{clientID, string(name)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget()
	s := t.all[key]
	if s == nil {
		s = &session{key: key}
		t.all[key] = s
	}
	if s.place != nil {
		t.reattach(s)
	}
	if chosen {
		t.byChosenID[clientID] = s
	}
	s.host = hostOf(from)
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
		s.since, s.bytes = time.Now(), s.deliveries.Detach()+sessionOverhead
		s.place = t.idle.PushBack(s)
		t.memory.add(s)
	}
	t.forget()
}

// reattach removes s from the sessions without a connection. t.mu is held.
func (t *sessions) reattach(s *session) {
	t.idle.Remove(s.place)
	s.place = nil
	t.memory.remove(s)
}

// forget drops the sessions that are too old, and those that take too much memory. t.mu is
// held.
func (t *sessions) forget() {
	for e := t.idle.Front(); e != nil; e = t.idle.Front() {
		s := e.Value.(*session)
		if time.Since(s.since) < t.keep {
			break
		}
		t.drop(s)
	}
	for t.memory.bytes > t.maxBytes {
		t.drop(t.memory.largest())
	}
}

// drop removes s, which has no connection. t.mu is held.
func (t *sessions) drop(s *session) {
	t.reattach(s)
	delete(t.all, s.key)
	if t.byChosenID[s.key.clientID] == s {
		delete(t.byChosenID, s.key.clientID)
	}
}

// hostOf returns the part of an address that is likely to identify a host: an IPv4 address,
// the upper half of an IPv6 address, since a host usually has all addresses of a /64
// prefix, or else the name of the network.
func hostOf(a net.Addr) string {
	if a == nil {
		return ""
	}
	host := a.String()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return a.Network()
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		prefix, _ := ip.Prefix(64)
		ip = prefix.Addr()
	}
	return ip.String()
}
