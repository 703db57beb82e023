package server

// This file decides which client has which id.

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/singchia/geminio"
)

// DuplicatePolicy says what happens when a client connects with an id that another connection
// of the same Listener has. It applies to ids that the client has asked for (SetClientID) or
// that a delegate has granted. An id that the library has chosen belongs to one client: another
// client that asks for it gets a new id with every policy. A client.RetryEnd proves that it is
// the same client, and the policy applies to it.
type DuplicatePolicy int

const (
	// DuplicateReplaces ends the connection that has the id, with geminio.ErrReplaced at
	// its client, and gives the id to the new connection. The earlier connection of a
	// client that connects again is most likely dead.
	DuplicateReplaces DuplicatePolicy = iota
	// DuplicateRefused refuses the new connection as long as the other exists. An
	// interrupted session has no connection, so it ends and does not refuse the new one.
	DuplicateRefused
	// DuplicateAllowed lets several connections have the same id.
	DuplicateAllowed
)

// errTaken refuses a client under DuplicateRefused.
var errTaken = errors.New("the client id is in use by another connection")

// errStillEnding refuses a client temporarily whose former connection has not ended yet.
var errStillEnding = &geminio.RefusedError{
	Code: geminio.CodeGoingAway, Text: "the former connection of this client is still ending", RetryAfter: time.Second,
}

// chooser says which party has chosen a client's id.
type chooser uint8

const (
	// byLibrary: neither the client nor the server has chosen an id.
	byLibrary chooser = iota
	// byClient: the client has asked for the id.
	byClient
	// byServer: the delegate or an option has chosen the id.
	byServer
)

// idChoice is the choice of a client's id.
type idChoice struct {
	id uint64  // 0 leaves the choice to the library
	by chooser // the party that has chosen id
}

// identities maps client ids to the connections that have them. Its methods are safe for
// concurrent use.
type identities struct {
	sessions *sessions // has the ids that the library has chosen for clients

	mu   sync.Mutex
	held map[uint64]*identity
}

// newIdentities returns identities that respect the ids which sessions has.
func newIdentities(s *sessions) *identities {
	return &identities{sessions: s, held: make(map[uint64]*identity)}
}

// identity is a client id that some connection has.
type identity struct {
	id      uint64
	chosen  bool      // the library has chosen the id, for the client with the session
	session string    // the name of the client's session; "" if it has none
	holders []*holder // the connections that have the id; several only under DuplicateAllowed
}

// holder is a connection that has an id, or is about to get it.
type holder struct {
	gone chan struct{} // closed when the last release has freed the id

	// Guarded by identities.mu.
	users    int       // the number of calls of release after which the id is free
	identity *identity // nil if it has no id
	place    int       // the index in identity.holders
	evict    eviction  // ends the connection; nil before evictBy
	evicted  bool      // end was called with replace, so that evictBy ends the connection
}

// eviction ends a holder without blocking. Without replace, it ends only a holder whose session
// is interrupted. It reports whether the holder ends.
type eviction func(replace bool) bool

// newHolder returns a holder that is to be released once.
func newHolder() *holder { return &holder{gone: make(chan struct{}), users: 1} }

// claim gives h the id that was chosen for a client with a session, or another one if that id
// belongs to another client. Under DuplicateReplaces it ends the connections that have the id,
// and waits until the callbacks of their end have returned, so that callbacks which track
// clients by id see the old one end before the new one begins. It stops waiting after the time
// of wait, and when stop is closed.
func (t *identities) claim(h *holder, want idChoice, session []byte, policy DuplicatePolicy, wait time.Duration, stop <-chan struct{}) (uint64, error) {
	var timeout <-chan time.Time
	for {
		id, other := t.try(h, want, string(session), policy)
		switch {
		case other == nil:
			return id, nil
		case !t.end(other, policy == DuplicateReplaces):
			return 0, errTaken
		}
		if timeout == nil {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-other.gone:
		case <-timeout:
			return 0, errStillEnding
		case <-stop:
			return 0, geminio.ErrGoingAway
		}
	}
}

// try gives h an id, or returns another connection that has it.
func (t *identities) try(h *holder, want idChoice, session string, policy DuplicatePolicy) (id uint64, other *holder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, chosen := want.id, want.by == byLibrary
	if want.by == byClient {
		if owner, owned := t.owner(id); owned {
			chosen = true
			if !sameSession(session, owner) {
				id = 0
			}
		} else {
			chosen = session != "" && id == idOf(session) // the library has chosen the id before a restart
		}
	}
	if id == 0 {
		id = t.choose(session)
	}
	i := t.held[id]
	switch {
	case i == nil:
		i = &identity{id: id, chosen: chosen, session: session}
		t.held[id] = i
	case policy != DuplicateAllowed:
		return 0, i.holders[0]
	}
	h.identity, h.place = i, len(i.holders)
	i.holders = append(i.holders, h)
	return id, nil
}

// owner returns the session of the client for which the library has chosen an id. If
// the library has not chosen the id, owned is false. t.mu is held.
func (t *identities) owner(id uint64) (session string, owned bool) {
	if i := t.held[id]; i != nil {
		return i.session, i.chosen
	}
	return t.sessions.owner(id)
}

// choose returns a new id for a client with a session: idOf(session), if it is not in use.
// t.mu is held.
func (t *identities) choose(session string) uint64 {
	id := idOf(session)
	for {
		owner, owned := t.owner(id)
		if t.held[id] == nil && (!owned || sameSession(session, owner)) {
			return id
		}
		id = randomID()
	}
}

// chosen tells whether the library has chosen the id that h has.
func (t *identities) chosen(h *holder) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return h.identity != nil && h.identity.chosen
}

// end calls the eviction of h, now or in evictBy. It reports whether h ends.
func (t *identities) end(h *holder, replace bool) bool {
	t.mu.Lock()
	h.evicted = h.evicted || replace
	evict, ends := h.evict, h.evicted
	t.mu.Unlock()
	if evict != nil {
		return evict(replace)
	}
	return ends
}

// evictBy is called when the End of h has begun. It sets the eviction of h.
func (t *identities) evictBy(h *holder, evict eviction) {
	t.mu.Lock()
	h.evict = evict
	now := h.evicted
	t.mu.Unlock()
	if now {
		evict(true)
	}
}

// keep makes one more call of release necessary to free the id of h.
func (t *identities) keep(h *holder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h.users++
}

// release frees the id of h, when newHolder and keep were each followed by one release.
func (t *identities) release(h *holder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h.users--; h.users > 0 {
		return
	}
	if i := h.identity; i != nil {
		last := i.holders[len(i.holders)-1]
		i.holders[h.place], last.place = last, h.place
		i.holders[len(i.holders)-1] = nil
		i.holders = i.holders[:len(i.holders)-1]
		if len(i.holders) == 0 {
			delete(t.held, i.id)
		}
	}
	close(h.gone)
}

// sameSession tells whether two session names are equal. Its running time does not depend
// on the bytes in which the names differ.
func sameSession(session, other string) bool {
	return session != "" && subtle.ConstantTimeCompare([]byte(session), []byte(other)) == 1
}

// idOf returns the id that the library chooses for a client with a session. The id is
// derived from the name of the session, which is a secret of the client. So the client can
// prove that the id is its own, also to a server that has been restarted, and the id does
// not reveal the name. For a client without a session the id is random.
func idOf(session string) uint64 {
	if session == "" {
		return randomID()
	}
	sum := sha256.Sum256([]byte("geminio client id " + session))
	return fit(sum[:])
}

// randomID returns an id that cannot be guessed.
func randomID() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return fit(b[:])
}

// fit makes an id of bytes: not 0, and such that it fits signed numbers too.
func fit(b []byte) uint64 { return max(binary.BigEndian.Uint64(b)>>1, 1) }
