package turns

import "sync"

// Turns has those wait who come with the same client id, each for the one before. The
// zero value is ready. All methods are safe for concurrent use.
type Turns struct {
	mu   sync.Mutex
	last map[uint64]chan struct{} // closed when the last one who came is done
}

// Take is called in the order of the turns, with each End that a Listener has
// accepted. The function wait returns when the one before is done; done is to be
// called in the end.
func (t *Turns) Take(clientID uint64) (wait, done func()) {
	mine := make(chan struct{})
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.last[clientID]
	if t.last == nil {
		t.last = make(map[uint64]chan struct{})
	}
	t.last[clientID] = mine
	wait = func() {
		if before != nil {
			<-before
		}
	}
	done = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		close(mine)
		if t.last[clientID] == mine {
			delete(t.last, clientID)
		}
	}
	return wait, done
}
