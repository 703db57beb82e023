package server

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

// DuplicatePolicy says what happens when a client comes with an id that another
// connection of the same Listener has. It is about ids that the client has chosen
// (SetClientID) or that a delegate has granted. An id that the library has chosen is that
// of its client alone: another client that wishes for it gets a new one, whatever the
// policy. The client itself, which a RetryEnd proves to be, gets it again by the policy.
type DuplicatePolicy int

const (
	// DuplicateReplaces ends the connection that has the id, with
	// geminio.ErrReplaced at its client, in favour of the new one: of a client that
	// comes back, the old connection is most likely dead.
	DuplicateReplaces DuplicatePolicy = iota
	// DuplicateRefused refuses the new connection for as long as the other stands.
	DuplicateRefused
	// DuplicateAllowed lets several connections have the same id.
	DuplicateAllowed
)

// errTaken refuses a client under DuplicateRefused.
var errTaken = errors.New("the client id is in use by another connection")

// errStillEnding refuses a client, for now, whose former connection does not come to
// its end.
var errStillEnding = &geminio.RefusedError{
	Code: geminio.CodeGoingAway, Text: "the former connection of this client is still ending", RetryAfter: time.Second,
}

// chooser is who has chosen a client's id.
type chooser uint8

const (
	// byLibrary: nobody else has.
	byLibrary chooser = iota
	// byClient: it is the client's wish.
	byClient
	// byServer: the delegate or an option has.
	byServer
)

// demand is the id that a client is to have.
type demand struct {
	id uint64 // 0 if the library is to choose
	by chooser
}

// identities knows which connections have which client id. Its methods are safe for
// concurrent use.
type identities struct {
	sessions *sessions // in which clients prove an id to be theirs

	mu   sync.Mutex
	held map[uint64]*identity
}

func newIdentities(s *sessions) *identities {
	return &identities{sessions: s, held: make(map[uint64]*identity)}
}

// identity is a client id that some connection has.
type identity struct {
	id      uint64
	chosen  bool      // by the library, for the client with the session
	session string    // the name of it; "" if the client has none
	holders []*holder // more than one only under DuplicateAllowed
}

// holder is a connection that has an id, or is about to get it.
type holder struct {
	gone chan struct{} // closed when nobody needs the id any more

	// Guarded by identities.mu.
	users    int       // who must release it
	identity *identity // nil: none
	place    int       // among its holders
	evict    func()    // ends it; must not block. nil before it has begun
	evicted  bool      // it is to end as soon as it has begun
}

// newHolder returns a holder that is to be released once.
func newHolder() *holder { return &holder{gone: make(chan struct{}), users: 1} }

// claim gets h the id that is demanded for a client with a session, or another one if that
// is not the client's to wish for. Under DuplicateReplaces it ends the connections that have
// the id, and waits until their end was told, at most for so long and until stop is
// closed: so that whoever follows clients by their ids sees the old one go before the new
// one comes.
func (t *identities) claim(h *holder, want demand, session []byte, policy DuplicatePolicy, patience time.Duration, stop <-chan struct{}) (uint64, error) {
	var late <-chan time.Time
	for {
		id, other := t.try(h, want, string(session), policy)
		switch {
		case other == nil:
			return id, nil
		case policy == DuplicateRefused:
			return 0, errTaken
		}
		t.end(other)
		if late == nil {
			timer := time.NewTimer(patience)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-other.gone:
		case <-late:
			return 0, errStillEnding
		case <-stop:
			return 0, geminio.ErrGoingAway
		}
	}
}

// try gets h an id, or returns a connection that has it and stands in the way.
func (t *identities) try(h *holder, want demand, session string, policy DuplicatePolicy) (id uint64, other *holder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, chosen := want.id, want.by == byLibrary
	if want.by == byClient {
		if owner, owned := t.owner(id); owned {
			chosen = true
			if !same(session, owner) {
				id = 0
			}
		} else {
			chosen = session != "" && id == idOf(session) // which was forgotten meanwhile
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

// owner returns the session of the client for which the library has chosen an id, if it
// has. t.mu is held.
func (t *identities) owner(id uint64) (session string, owned bool) {
	if i := t.held[id]; i != nil {
		return i.session, i.chosen
	}
	return t.sessions.owner(id)
}

// choose returns a new id for a client with a session: the session's own, where it is not
// in use. t.mu is held.
func (t *identities) choose(session string) uint64 {
	id := idOf(session)
	for {
		owner, owned := t.owner(id)
		if t.held[id] == nil && (!owned || same(session, owner)) {
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

// end ends h, now or as soon as it has begun.
func (t *identities) end(h *holder) {
	t.mu.Lock()
	h.evicted = true
	evict := h.evict
	t.mu.Unlock()
	if evict != nil {
		evict()
	}
}

// evictBy is called when h has begun, with how it is ended.
func (t *identities) evictBy(h *holder, evict func()) {
	t.mu.Lock()
	h.evict = evict
	now := h.evicted
	t.mu.Unlock()
	if now {
		evict()
	}
}

// keep has h released once more before its id is free.
func (t *identities) keep(h *holder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h.users++
}

// release frees the id of h, when all have released it.
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

// same tells whether two names are those of one session. It takes the same time whatever
// they have in common.
func same(session, other string) bool {
	return session != "" && subtle.ConstantTimeCompare([]byte(session), []byte(other)) == 1
}

// idOf returns the id that the library chooses for a client with a session. It follows
// from the name of the session, which is a secret of the client, so the client can prove
// that the id is its own also to a server that was started anew; and nobody can tell the
// name from the id. For a client without a session it is any id.
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
