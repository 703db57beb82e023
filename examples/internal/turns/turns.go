package turns

import "sync"

// Turns orders the Ends with the same client id: each waits for the previous one. The
// zero value is ready to use. All methods are safe for concurrent use.
type Turns struct {
	mu   sync.Mutex
	last map[uint64]chan struct{} // closed when the last End is done
}

// Take takes the next turn of a client id. The caller calls it for the Ends of a Listener in
// the order of AcceptEnd. The function wait returns when the previous turn is done. The caller
// must call done at the end of its turn.
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
