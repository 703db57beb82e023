package client

// cursor is where a user is in the sequence of connections: at the last one, or at
// the one before as long as there may be something left of it. RetryEnd.mu guards
// it.
type cursor struct {
	at *link // nil: at the next one that comes
}

// follow is called with a new connection and the one before it.
func (c *cursor) follow(prev, next *link) {
	switch {
	case c.at == nil:
		c.at = next
	case c.at != prev:
		c.at = prev
	}
}

// position returns where c is, or nil and what is closed when a connection comes.
func (r *RetryEnd) position(c *cursor) (*link, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.at, r.connChanged
}

// pass moves c on from l, of which nothing is left.
func (r *RetryEnd) pass(c *cursor, l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.at != l {
		return // somebody else has
	}
	c.at = nil
	if cur := r.cur.Load(); cur != l {
		c.at = cur
	}
}
