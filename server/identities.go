package server

import (
	"errors"
	"sync"
	"time"

	"github.com/singchia/geminio"
)

// DuplicatePolicy says what happens when a client comes with an id that another
// connection of the same Listener has.
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

// identities knows which connection has which client id. Its methods are safe for
// concurrent use.
type identities struct {
	mu   sync.Mutex
	held map[uint64]*holder
}

// holder is a connection that has an id, or is about to get it.
type holder struct {
	gone chan struct{} // closed when nobody needs the id any more

	// Guarded by identities.mu.
	users   int    // who must release it
	id      uint64 // 0: none
	evict   func() // ends it; must not block. nil before it has begun
	evicted bool   // it is to end as soon as it has begun
}

// newHolder returns a holder that is to be released once.
func newHolder() *holder { return &holder{gone: make(chan struct{}), users: 1} }

// claim gets h an id. Under DuplicateReplaces it ends who has it, and waits until
// that one's end was told, at most for so long and until stop is closed: so that
// whoever follows clients by their ids sees the old one go before the new one comes.
func (t *identities) claim(h *holder, id uint64, policy DuplicatePolicy, patience time.Duration, stop <-chan struct{}) error {
	if policy == DuplicateAllowed {
		return nil
	}
	var late <-chan time.Time
	for {
		other := t.try(h, id)
		switch {
		case other == nil:
			return nil
		case policy == DuplicateRefused:
			return errTaken
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
			return errStillEnding
		case <-stop:
			return geminio.ErrGoingAway
		}
	}
}

// try gets h the id, or returns who has it.
func (t *identities) try(h *holder, id uint64) (other *holder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if other := t.held[id]; other != nil {
		return other
	}
	if t.held == nil {
		t.held = make(map[uint64]*holder)
	}
	t.held[id] = h
	h.id = id
	return nil
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
	if h.id != 0 && t.held[h.id] == h {
		delete(t.held, h.id)
	}
	close(h.gone)
}
