package conn

// This file has the write token, and makes and writes batches.

import (
	"runtime"

	"github.com/singchia/geminio/packet"
)

// The states of the write token, by which one goroutine at a time makes and writes
// batches.
const (
	// tokenFree: no goroutine writes. acquireWrite leaves it.
	tokenFree uint32 = iota
	// tokenTaken: a goroutine writes. releaseWrite or a second acquireWrite leaves it.
	tokenTaken
	// tokenAgain: a goroutine writes and must look for new work before it releases
	// the token. releaseWrite leaves it for tokenTaken.
	tokenAgain
)

// acquireWrite acquires the write token. If another goroutine holds it, acquireWrite
// returns false, and the holder looks for new work once more.
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

// releaseWrite releases the write token. It returns false, and the caller keeps the
// token, if there may be new work.
func (c *Conn) releaseWrite() bool {
	if c.token.CompareAndSwap(tokenTaken, tokenFree) {
		return true
	}
	c.token.Store(tokenTaken)
	return false
}

// Kick has the flusher write what AppendFrames gives. It never blocks.
func (c *Conn) Kick() {
	if c.acquireWrite() {
		c.flusher.start()
	}
}

// Writer is a goroutine that has made something ready and wants it written.
type Writer interface {
	// Sent reports whether batches contain everything that the Writer made ready.
	Sent() bool
}

// Push writes in the caller's goroutine until w.Sent reports true, or one batch if w is
// nil. If another goroutine writes, Push leaves the work to that goroutine. On
// transports other than sockets a write may have to wait, so there Push leaves it to the
// flusher, as Kick does. With gather set, other goroutines run first, so that their frames join
// the batch; see the package comment.
func (c *Conn) Push(w Writer, gather bool) {
	if !c.acquireWrite() {
		return
	}
	if !c.io.lends() {
		c.gather = gather
		c.flusher.start()
		return
	}
	if gather {
		runtime.Gosched()
	}
	c.write(w, false)
}

// flushAll writes until nothing is left. The flusher calls it, for which another goroutine has
// acquired the token.
func (c *Conn) flushAll() {
	if b := c.rest; b != nil {
		c.rest = nil
		c.io.write(b, true)
		c.finished(b)
	}
	if c.gather {
		c.gather = false
		runtime.Gosched()
	}
	c.write(nil, true)
}

// write writes batches. The caller holds the token. With all set, write returns when
// nothing is left to write, and waits for the transport where necessary. Without it,
// write leaves the rest to the flusher when w.Sent reports true or when the transport
// would block.
func (c *Conn) write(w Writer, all bool) {
	for {
		b := newBatch(c.io.lends())
		c.current.Store(b)
		more := c.fillBatch(b)
		if b.Size() == 0 {
			c.current.Store(nil)
			b.free()
			if c.handOver() || c.releaseWrite() {
				return
			}
			continue
		}
		if !b.logOnly && c.io.write(b, all) {
			c.rest = b
			c.flusher.start()
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
			c.flusher.start()
			return
		}
	}
}

// finished frees b after it was written.
func (c *Conn) finished(b *Batch) {
	c.logBatch(b)
	c.current.Store(nil)
	b.endLoans()
	b.free()
	c.batchWritten()
}

// fillBatch makes a batch of the connection's own frames, those of the layer above
// and, last of all, the Close frame. It reports whether more is ready.
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
	if c.session != nil {
		return c.fillSession(b)
	}
	state := c.fillControl(b)
	if state > closeDue {
		return false
	}
	more = c.upper.AppendFrames(b)
	if state == closeDue && !more {
		c.fillClose(b)
	}
	b.seal()
	c.countFrames(b)
	return more
}

// fillControl adds the connection's own frames, which precede all others. It returns
// the state of the Close frame; once a batch contains that, fillControl adds nothing.
func (c *Conn) fillControl(b *Batch) closeState {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closeState > closeDue {
		return c.closeState
	}
	c.appendPings(b, c.appendGoAway(b))
	return c.closeState
}

// appendGoAway adds the GoAway if it is due, and reports whether it was. The caller holds
// c.mu.
func (c *Conn) appendGoAway(b *Batch) (due bool) {
	if c.goAwayFrame == nil {
		return false
	}
	b.Buf = packet.AppendReason(b.Buf, packet.TypeGoAway, 0, *c.goAwayFrame)
	c.goAwayFrame = nil
	return true
}

// appendPings adds the Pong and the Ping that are due. With goAway set, the Ping is the one
// behind a GoAway. The caller holds c.mu.
func (c *Conn) appendPings(b *Batch, goAway bool) {
	if c.pongDue && !c.pongHeld {
		c.pongDue = false
		b.Buf = packet.AppendPing(b.Buf, packet.TypePong, c.pongValue)
	}
	if c.pingDue {
		c.pingDue = false
		value := uint64(c.Now())
		if c.pingSent {
			value = max(value, c.lastPing+1)
		}
		c.lastPing, c.pingSent = value, true
		if goAway {
			c.goAwayPing, c.goAwayAckPending = c.lastPing, true
		}
		b.Buf = packet.AppendPing(b.Buf, packet.TypePing, c.lastPing)
		b.ping, b.pings = c.lastPing, true
	}
}

// appendPingsAmid is appendPings amid the log of a session. A Ping behind a GoAway of this side, or
// a Pong for one of the peer, would overtake frames in the log that have to be before it. These
// wait for the end of the log. The caller holds c.mu.
func (c *Conn) appendPingsAmid(b *Batch) {
	ping, pong := c.pingDue, c.pongDue
	c.pingDue = ping && c.goAwayFrame == nil && !c.goAwayAckPending
	c.pongDue = pong && !c.peerGoAway
	ping, pong = ping && !c.pingDue, pong && !c.pongDue
	c.appendPings(b, false)
	c.pingDue, c.pongDue = c.pingDue || ping, c.pongDue || pong
}

// Reclaim ends the loans of from to the present batch: the bytes that are not yet
// written are copied. It returns how many loans it has ended. For other loans, Written
// is called or has been called. The caller must not hold a lock that AppendFrames takes.
func (c *Conn) Reclaim(from BufferOwner) int {
	if b := c.current.Load(); b != nil {
		return b.reclaim(from)
	}
	return 0
}
