package conn

// This file counts the frames and bytes of a Conn, and takes snapshots of it.

import (
	"sync/atomic"
	"time"

	"github.com/singchia/geminio/packet"
)

// Traffic counts frames of one direction, and their bytes with the headers. Link frames do not
// count. A frame that is written again on another link counts once.
type Traffic struct{ Bytes, Frames uint64 }

// sentCounter counts the frames of the batches. The holder of the write token adds to it.
type sentCounter struct{ frames, bytes atomic.Uint64 }

// receivedCounter counts the frames that have begun to arrive. The reading goroutine owns now,
// and publishes it before it reads.
type receivedCounter struct {
	now           Traffic
	frames, bytes atomic.Uint64
}

// add counts a frame whose header has arrived.
func (n *receivedCounter) add(h packet.Header) {
	if !h.Type.IsLink() {
		n.now.Frames++
		n.now.Bytes += packet.HeaderLen + uint64(h.Length)
	}
}

// publish makes the present counts visible to other goroutines.
func (n *receivedCounter) publish() {
	if n.frames.Load() != n.now.Frames {
		n.frames.Store(n.now.Frames)
		n.bytes.Store(n.now.Bytes)
	}
}

// countFrames counts the frames of b, which is sealed and was not counted. Each header is in one
// piece, but a payload may be spread over several.
func (c *Conn) countFrames(b *Batch) {
	var sum Traffic
	skip := 0 // bytes of the present frame that the next pieces have
	for _, p := range b.pieces {
		for len(p) > skip {
			p = p[skip:]
			var typ packet.Type
			typ, skip = packet.FrameSize(p)
			if !typ.IsLink() {
				sum.Frames++
				sum.Bytes += uint64(skip)
			}
		}
		skip -= len(p)
	}
	if sum.Frames > 0 {
		c.sent.frames.Add(sum.Frames)
		c.sent.bytes.Add(sum.Bytes)
	}
}

// Observer is told when a session loses its link and when it continues. Its methods must not block.
type Observer interface {
	// Interrupted reports that the link was lost for a cause. lasted is the time since the
	// connection began or was last resumed.
	Interrupted(cause error, lasted time.Duration)
	// Resumed reports that the connection has another link. lasted is the time without a link.
	Resumed(lasted time.Duration)
}

// Observe sets the Observer. It is called before Start, at most once.
func (c *Conn) Observe(o Observer) { c.observer = o }

// Snapshot is the state of a Conn at one moment.
type Snapshot struct {
	State            State
	Interrupted      bool      // the session has no link; only before Closing
	Begin            time.Time // when Start was called; zero before
	Since            time.Time // when State or Interrupted has changed last
	Cause            error     // why the connection has ended; nil before
	LastInterruption error     // why the last lost link was lost; nil if none was
	LastRead         time.Time // when the last byte has arrived
	Sent, Received   Traffic
	SessionStats
}

// Snapshot returns the present state.
func (c *Conn) Snapshot() Snapshot {
	s := Snapshot{SessionStats: c.SessionStats()}
	s.Sent = Traffic{Bytes: c.sent.bytes.Load(), Frames: c.sent.frames.Load()}
	s.Received = Traffic{Bytes: c.received.bytes.Load(), Frames: c.received.frames.Load()}
	s.LastRead = c.Time(time.Duration(c.lastRead.Load()))
	c.mu.Lock()
	defer c.mu.Unlock()
	s.State, s.Cause = c.State(), c.cause
	if c.began > 0 {
		s.Begin = c.Time(c.began)
	}
	s.Since = c.Time(c.changed)
	if c.session != nil {
		s.Interrupted = c.session.phase == linkDown && s.State < Closing
		s.LastInterruption = c.session.lost
	}
	return s
}

// Time returns the time at which Now has returned d.
func (c *Conn) Time(d time.Duration) time.Time { return c.start.Add(d) }

// SpeaksWire1 reports whether the peer speaks only wire 1.
func (c *Conn) SpeaksWire1() bool { return c.wire1 != nil }

// LastRead returns the time of the last byte, as by Now.
func (c *Conn) LastRead() time.Duration { return time.Duration(c.lastRead.Load()) }

// change notes that the state has changed, and returns the time since the last change. The
// caller holds c.mu.
func (c *Conn) change() (lasted time.Duration) {
	now := c.Now()
	lasted = now - c.changed
	c.changed = now
	return lasted
}
