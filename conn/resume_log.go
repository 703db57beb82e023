package conn

// This file has the log of a session: the sent bytes that the peer may not have.

import (
	"fmt"
	"time"

	"github.com/singchia/geminio/internal/chunk"
	"github.com/singchia/geminio/packet"
)

// fillSession is fillBatchLocked for a connection with a session. Link frames stand
// together in one piece, which is not logged.
func (c *Conn) fillSession(b *Batch) (more bool) {
	s := c.session
	c.mu.Lock()
	if c.closeState > closeDue || c.State() == Closed {
		c.mu.Unlock()
		return false
	}
	if s.phase == linkDown {
		closing := c.closeState == closeDue && s.quiet == nil
		c.mu.Unlock()
		return closing && c.fillLog(b)
	}
	goAway := c.appendGoAway(b)
	if goAway {
		b.seal()
	}
	c.appendPings(b, goAway)
	received := s.position.Load()
	if due := received - s.reported.Load(); due > 0 && (due >= reportBeside || s.reportDue.Load()) {
		s.reportDue.Store(false)
		s.reported.Store(received)
		b.Buf = packet.AppendPing(b.Buf, packet.TypeReceived, received)
	}
	linkBytes := len(b.Buf) - b.cut
	if linkBytes > 0 {
		b.seal()
		b.linkPiece = len(b.pieces) - 1
	}
	room := s.room()
	s.paused = room <= 0
	s.full = s.full || s.paused
	state, peerClosed := c.closeState, c.peerClosed
	c.mu.Unlock()
	if room > 0 {
		b.limit = min(MaxBatch, room+b.Size())
		more = c.upper.AppendFrames(b)
	}
	if state == closeDue && !more && (room > 0 || peerClosed) {
		c.fillClose(b)
	}
	c.countSent(b, linkBytes)
	return more
}

// room returns how many bytes the log has room for. The caller holds Conn.mu.
func (s *session) room() int { return int(s.bound) - int(s.sent-s.acked) }

// countSent completes b and adds its bytes to the position sent, except the
// linkBytes bytes of link frames.
func (c *Conn) countSent(b *Batch, linkBytes int) {
	s := c.session
	b.seal()
	b.whole = append(b.whole[:0], b.pieces...)
	if n := b.size - linkBytes; n > 0 {
		c.mu.Lock()
		if s.sent == s.acked {
			s.ackMoved = c.Now()
		}
		s.sent += uint64(n)
		c.mu.Unlock()
	}
}

// fillLog fills b for the log and not for a link, because the connection closes and has
// no link. If it had no link when Close was called, the peer has received everything, and
// HoldClose is not in effect, fillLog ends the session.
func (c *Conn) fillLog(b *Batch) (more bool) {
	s := c.session
	c.mu.Lock()
	room := s.room()
	c.mu.Unlock()
	if room > 0 {
		b.limit = min(MaxBatch, room)
		more = c.upper.AppendFrames(b)
		b.logOnly = true
		c.countSent(b, 0)
	}
	if b.size > 0 {
		return more
	}
	c.mu.Lock()
	delivered := s.closed && s.holds == 0 && s.phase == linkDown && s.sent == s.acked && !more
	c.mu.Unlock()
	if delivered {
		told := b.after
		b.after = func() {
			if told != nil {
				told()
			}
			c.terminate(false)
		}
	}
	return false
}

// logBatch moves b to the log. Chunks are moved, other bytes copied. It holds b.mu, since
// Reclaim replaces pieces: once Reclaim has returned, the memory that was lent may change.
func (c *Conn) logBatch(b *Batch) {
	s := c.session
	if s == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c.mu.Lock()
	acked := s.acked
	c.mu.Unlock()
	s.logMu.Lock()
	defer s.logMu.Unlock()
	s.trim(acked)
	s.mark()
	next := 0 // of b.chunks
	for i, p := range b.whole {
		if i == b.linkPiece {
			continue
		}
		var owned *chunk.Chunk
		if next < len(b.chunkPieces) && b.chunkPieces[next] == i {
			owned, b.chunks[next] = b.chunks[next], nil
			next++
		}
		start := s.logEnd
		s.logEnd += uint64(len(p))
		if start < acked { // then the log is empty
			known := int(min(acked-start, uint64(len(p))))
			p = p[known:]
			if owned != nil {
				owned.Took(known)
			}
		}
		switch {
		case owned == nil:
			s.log.Append(p)
		case len(p) == 0:
			owned.Free()
		default:
			s.log.Push(owned)
		}
	}
}

// trim removes the bytes before the position acked. The caller holds s.logMu.
func (s *session) trim(acked uint64) {
	for !s.replaying && s.log.Len() > 0 {
		start := s.logEnd - uint64(s.log.Len())
		if start >= acked {
			break
		}
		s.log.Took(int(min(uint64(s.log.Head().Len()), acked-start)))
	}
	s.unmark()
}

// growLog lets the log grow if it was full and half of it was acknowledged in less than
// two round trips: then the log, not the path, is likely to bound the pace. The caller
// holds Conn.mu.
func (s *session) growLog(now, rtt time.Duration) {
	if s.acked-s.growFrom < s.bound/2 {
		return
	}
	if s.full && now-s.growSince < 2*rtt {
		s.bound = min(2*s.bound, s.maxBound)
	}
	s.full, s.growFrom, s.growSince = false, s.acked, now
}

// replay writes the log to the new link, and then new batches. It has the write token.
func (c *Conn) replay() {
	s := c.session
	c.mu.Lock()
	acked := s.acked
	c.mu.Unlock()
	b := newBatch(c.io.lends())
	s.logMu.Lock()
	s.trim(acked)
	s.replaying = true
	for part := range s.log.Chunks() {
		if part.Len() > 0 {
			b.add(part.Bytes())
		}
	}
	s.logMu.Unlock()
	size := b.Size()
	if size > 0 {
		c.io.write(b, true)
	}
	b.free()
	c.mu.Lock()
	s.stats.Replayed += uint64(size)
	acked = s.acked
	c.mu.Unlock()
	s.logMu.Lock()
	s.replaying = false
	s.trim(acked)
	s.logMu.Unlock()
	c.batchWritten()
	c.write(nil, true)
}

// onReceived handles the report of the peer that it has received the bytes up to a
// position.
func (c *Conn) onReceived(position uint64) error {
	s := c.session
	if s == nil {
		return &packet.Error{What: "received", Reason: "the feature resume is not in use"}
	}
	c.mu.Lock()
	if position > s.sent {
		sent := s.sent
		c.mu.Unlock()
		return &packet.Error{What: "received", Reason: fmt.Sprintf("position %d, only %d bytes were sent", position, sent)}
	}
	if position <= s.acked {
		c.mu.Unlock()
		return nil
	}
	s.acked, s.ackMoved, s.stalls = position, c.Now(), 0
	s.growLog(c.Now(), c.RTT())
	paused := s.paused
	s.paused = false
	c.mu.Unlock()
	s.logMu.Lock()
	s.trim(position)
	s.logMu.Unlock()
	if paused {
		c.Kick()
	}
	return nil
}
