package client

// cursor is the position of Receive, AcceptStream, Read or Write in the sequence of
// connections: the last connection, or the one before it as long as the earlier one may have
// something left. RetryEnd.mu guards it.
type cursor struct {
	at *link // nil stands for the next connection that is made
}

// follow is called with a new connection and the one before it. The cursor moves to the new
// one if it waits for a connection, and falls behind by one connection at most.
func (c *cursor) follow(prev, next *link) {
	switch {
	case c.at == nil:
		c.at = next
	case c.at != prev:
		c.at = prev
	}
}

// position returns the connection at c. If there is none, the returned channel is closed when
// a new connection is made.
func (r *RetryEnd) position(c *cursor) (*link, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.at, r.connChanged
}

// advance moves c from l, which has nothing left, to the next connection.
func (r *RetryEnd) advance(c *cursor, l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.at != l {
		return // another goroutine has moved it
	}
	c.at = nil
	if cur := r.last.Load(); cur != l {
		c.at = cur
	}
}
