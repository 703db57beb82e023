package conn

// This file has the log of a session: the sent bytes that the peer may not have.

import (
	"fmt"
	"slices"
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
	c.appendReceived(b)
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
		b.limit = min(b.limit, room+b.Size())
		more = c.upper.AppendFrames(b)
	}
	if state == closeDue && !more && (room > 0 || peerClosed) {
		c.fillClose(b)
	}
	c.countSent(b, linkBytes)
	return more
}

// appendReceived adds the Received frame if it is due. The caller holds c.mu.
func (c *Conn) appendReceived(b *Batch) {
	s := c.session
	received := s.position.Load()
	if due := received - s.reported.Load(); due > 0 && (due >= reportBeside || s.reportDue.Load()) {
		s.reportDue.Store(false)
		s.reported.Store(received)
		b.Buf = packet.AppendPing(b.Buf, packet.TypeReceived, received)
	}
}

// room returns how many bytes the log has room for. The caller holds Conn.mu.
func (s *session) room() int { return int(s.bound) - int(s.sent-s.acked) }

// countSent completes b and adds its bytes to the position sent, except the
// linkBytes bytes of link frames.
func (c *Conn) countSent(b *Batch, linkBytes int) {
	s := c.session
	b.seal()
	c.countFrames(b)
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
		b.limit = min(b.limit, room)
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

// replay writes the log to the new link, with link frames in between, and then new batches. It
// has the write token.
func (c *Conn) replay() {
	s := c.session
	c.mu.Lock()
	from := s.acked
	c.mu.Unlock()
	for first := true; ; first = false {
		b := newBatch(c.io.lends())
		to, ok := c.fillReplay(b, from, first)
		if ok {
			c.io.write(b, true)
		}
		b.free()
		if !ok {
			break
		}
		c.mu.Lock()
		s.stats.Replayed += to - from
		c.mu.Unlock()
		from = to
		c.io.wakeReader()
	}
	c.batchWritten()
	c.write(nil, true)
}

// fillReplay fills b with the bytes of the log from a position on, up to a frame, and returns the
// position of the end. Link frames precede the bytes, unless the position may be within a frame. If
// nothing is left to write, or the link is lost, fillReplay returns false.
func (c *Conn) fillReplay(b *Batch, from uint64, first bool) (to uint64, ok bool) {
	s := c.session
	c.mu.Lock()
	ok = s.phase == linkUp && c.State() < Closed
	acked := s.acked
	c.mu.Unlock()
	s.logMu.Lock()
	defer s.logMu.Unlock()
	s.replaying = false
	s.trim(acked)
	start := s.logEnd - uint64(s.log.Len())
	from = max(from, start)
	if !ok || from == s.logEnd {
		return from, false
	}
	to = s.frameBefore(from, from+MaxBatch)
	if !first {
		c.mu.Lock()
		c.appendPingsAmid(b)
		c.appendReceived(b)
		c.mu.Unlock()
	}
	s.replaying = true
	for part := range s.log.Chunks() {
		p := part.Bytes()
		end := start + uint64(len(p))
		if start < to && end > from {
			b.add(p[max(from, start)-start : min(to, end)-start])
		}
		start = end
	}
	return to, true
}

// frameBefore returns the position of the last frame between from and to that has a mark, or of the
// first one after to. The caller holds s.logMu.
func (s *session) frameBefore(from, to uint64) uint64 {
	last := s.logEnd
	if last <= to {
		return last
	}
	for _, m := range slices.Backward(s.marks) {
		if m <= from {
			break
		}
		if last = m; m <= to {
			break
		}
	}
	return last
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
	rtt := c.RTT()
	s.growLog(c.Now(), rtt)
	paused := s.paused
	s.paused = false
	c.mu.Unlock()
	s.logMu.Lock()
	s.trim(position)
	s.logMu.Unlock()
	if paused {
		if rtt == 0 {
			c.Probe() // a side that only sends has not measured the path
		}
		c.Kick()
	}
	return nil
}
