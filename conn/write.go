package conn

import "runtime"

// The states of the write token.
const (
	tokenFree  uint32 = iota
	tokenTaken        // somebody writes
	tokenAgain        // and must look for more before giving it up
)

// acquireWrite takes the token, or makes sure that its holder looks once more.
func (c *Conn) acquireWrite() bool {
	for {
		switch c.token.Load() {
		case tokenFree:
			if c.token.CompareAndSwap(tokenFree, tokenTaken) {
				return true
			}
		case tokenTaken:
			if c.token.CompareAndSwap(tokenTaken, tokenAgain) {
				return false
			}
		default:
			return false
		}
	}
}

// releaseWrite gives the token up, unless there may be new work.
func (c *Conn) releaseWrite() bool {
	if c.token.CompareAndSwap(tokenTaken, tokenFree) {
		return true
	}
	c.token.Store(tokenTaken)
	return false
}

// Kick sees to it that what Fill would give is written, by another goroutine.
// It never blocks.
func (c *Conn) Kick() {
	if c.acquireWrite() {
		go c.flush()
	}
}

// Writer is a goroutine that has made something ready and wants it written.
type Writer interface {
	// Sent tells whether all that it made ready is in some batch.
	Sent() bool
}

// Push writes in the caller's goroutine, if nobody else writes already and the
// transport is a socket, so that it need not wait for it: until w is satisfied,
// or for one batch if w is nil. On other transports it is Kick. With gather set
// the caller first lets others run that may have something to add.
func (c *Conn) Push(w Writer, gather bool) {
	if !c.acquireWrite() {
		return
	}
	if !c.io.lends() {
		go c.flush()
		return
	}
	if gather {
		runtime.Gosched()
	}
	c.write(w, false)
}

// write writes batches; its caller holds the token. With all set it goes on
// until there is nothing to write and waits for the transport where it must.
// Otherwise it leaves the rest to another goroutine when w is satisfied or when
// the transport would have it wait.
func (c *Conn) write(w Writer, all bool) {
	for {
		b := newBatch(c.io.lends())
		c.current.Store(b)
		more := c.fillBatch(b)
		if b.Size() == 0 {
			c.current.Store(nil)
			b.free()
			if c.releaseWrite() {
				return
			}
			continue
		}
		if c.io.write(b, all) {
			go c.finish(b)
			return
		}
		c.finished(b)
		switch {
		case !more && c.releaseWrite():
			return
		case all || w != nil && !w.Sent():
			c.io.wakeReader()
			runtime.Gosched()
		default:
			go c.flush()
			return
		}
	}
}

// finish writes the rest of b, which had to wait, and what comes after.
func (c *Conn) finish(b *Batch) {
	c.io.write(b, true)
	c.finished(b)
	c.write(nil, true)
}

func (c *Conn) finished(b *Batch) {
	c.current.Store(nil)
	b.endLoans()
	b.free()
	c.batchWritten()
}

// fill makes a batch: the connection's own frames, then the upper layer's, then
// the Close frame, after which nothing comes.
func (c *Conn) fillBatch(b *Batch) (more bool) {
	more = c.fillBatchLocked(b)
	if f := b.after; f != nil {
		b.after = nil
		f()
	}
	return more
}

func (c *Conn) fillBatchLocked(b *Batch) (more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	bye := c.fillControl(b)
	if bye > closeDue {
		return false
	}
	more = c.upper.Fill(b)
	if bye == closeDue && !more {
		c.fillClose(b)
	}
	b.seal()
	return more
}

// Reclaim makes sure that what from has lent to the present batch is not read
// any more: it is copied. It returns how many loans it has ended; of others,
// Written is being called. No lock may be held that Fill takes.
func (c *Conn) Reclaim(from BufferOwner) int {
	if b := c.current.Load(); b != nil {
		return b.reclaim(from)
	}
	return 0
}
