package server

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
	// sessionOverhead is what one costs beside its deliveries, where it has a host to
	// itself. Also one without any counts: there may be a message that was not handed out
	// yet.
	sessionOverhead = 1 << 10
)

// sessions remembers what the clients that reconnect have delivered, over their
// connections. It forgets, at the next opportunity, those that were without a
// connection for too long. Where they take too much room it forgets those of the remote
// host that takes most of it, and of that host those of the client id that does, the
// oldest first: so a stranger, whatever sessions it begins, has its own forgotten before
// those of another host. Its methods are safe for concurrent use.
type sessions struct {
	keep time.Duration
	room int // bytes, of those without a connection

	mu   sync.Mutex
	all  map[sessionKey]*session
	own  map[uint64]*session // by ids that the library has chosen for them
	idle list.List           // those without a connection, the oldest first
	held share               // what those take: in parts of hosts, which are in parts of client ids
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
	host  string        // of the last connection
	since time.Time     // without a connection
	place *list.Element // in sessions.idle; nil with a connection
	among *list.Element // in the sessions of its share
	bytes int           // of that share
}

func newSessions(keep time.Duration) *sessions {
	return &sessions{
		keep: keep, room: maxSessionBytes,
		all: make(map[sessionKey]*session), own: make(map[uint64]*session),
	}
}

// owner returns the name of the session that is remembered for an id which the library
// has chosen, if there is one.
func (t *sessions) owner(clientID uint64) (name string, owned bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget()
	s := t.own[clientID]
	if s == nil {
		return "", false
	}
	return s.key.name, true
}

// attach returns the session of a client that has connected from an address, perhaps with
// an id that the library has chosen for it; nil if it names none.
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
		t.wake(s)
	}
	if chosen {
		t.own[clientID] = s
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
		t.held.add(s)
	}
	t.forget()
}

// wake takes s out of those without a connection. t.mu is held.
func (t *sessions) wake(s *session) {
	t.idle.Remove(s.place)
	s.place = nil
	t.held.remove(s)
}

// forget forgets what need not be remembered any more. t.mu is held.
func (t *sessions) forget() {
	for e := t.idle.Front(); e != nil; e = t.idle.Front() {
		s := e.Value.(*session)
		if time.Since(s.since) < t.keep {
			break
		}
		t.drop(s)
	}
	for t.held.bytes > t.room {
		t.drop(t.held.largest())
	}
}

// drop forgets s, which has no connection. t.mu is held.
func (t *sessions) drop(s *session) {
	t.wake(s)
	delete(t.all, s.key)
	if t.own[s.key.clientID] == s {
		delete(t.own, s.key.clientID)
	}
}

// hostOf returns what of an address is likely to be one host's: an IPv4 address, the
// upper half of an IPv6 address, of which a host has all that are below, or else the name
// of the network.
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
