package client

// cursor is the position of Receive, AcceptStream, Read or Write in the sequence of
// connections: the last one, or the one before as long as it may have something left.
// RetryEnd.mu guards it.
type cursor struct {
	at *link // nil: the next connection that is made
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

// position returns the connection where c is. If it is nil, the returned channel is
// closed when there is a new connection.
func (r *RetryEnd) position(c *cursor) (*link, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.at, r.connChanged
}

// pass moves c from l, which has nothing left, to the next connection.
func (r *RetryEnd) pass(c *cursor, l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.at != l {
		return // another goroutine has moved it
	}
	c.at = nil
	if cur := r.cur.Load(); cur != l {
		c.at = cur
	}
}
