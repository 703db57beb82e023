package conn

// This file ends a connection: GoAway, Close, the Close frame, and the end of the transport.

import (
	"time"

	"github.com/singchia/geminio/packet"
)

// closeState is how far this side has got with its Close frame.
type closeState uint8

const (
	// closeNone: Close was not called, or FrameHandler.End has not returned yet.
	// close leaves it.
	closeNone closeState = iota
	// closeDue: the Close frame follows when AppendFrames has no more. fillClose leaves it.
	closeDue
	// closeBatched: a batch contains the Close frame. batchWritten leaves it.
	closeBatched
	// closeSent: the Close frame is written.
	closeSent
)

// GoAway tells the peer that this side wants no new work. It may be called again for
// another call of OnGoAwayAcked.
func (c *Conn) GoAway(reason packet.Reason) {
	c.mu.Lock()
	if c.State() < Closing {
		c.setState(Draining)
		c.goAwayFrame = &reason
		c.pingDue = true // the Pong tells that the peer knows of the GoAway
	}
	c.mu.Unlock()
	c.Kick()
}

// AckGoAway acknowledges the GoAway of the peer: the Pong for the Ping behind it goes in the
// next batch. The layer above calls AckGoAway when AppendFrames has given everything that
// was begun before the GoAway arrived, in AppendFrames or later.
func (c *Conn) AckGoAway() {
	c.mu.Lock()
	due := c.pongHeld && c.pongDue
	c.pongHeld = false
	c.mu.Unlock()
	if due {
		c.Kick()
	}
}

// Close ends the connection for the given cause. The Conn writes everything that the
// layer above has ready, and then a Close frame with the reason. Close does not wait
// for that. The channel of Done is closed when the connection has ended, at most
// Config.Linger later.
func (c *Conn) Close(cause error, reason packet.Reason) {
	c.close(cause, reason, false)
}

func (c *Conn) close(cause error, reason packet.Reason, byPeer bool) {
	c.mu.Lock()
	c.peerClosed = c.peerClosed || byPeer
	bothClosed := c.peerClosed && c.closeState == closeSent
	first := c.setState(Closing)
	if first {
		if s := c.session; s != nil {
			s.closed = !byPeer && s.phase == linkDown
		}
		c.cause, c.closeFrame = cause, reason
		c.stopHeartbeat()
		c.lingerEnd = c.Now() + c.base.Linger
		c.lingerTimer = c.base.Clock.AfterFunc(c.base.Linger, func() { c.abort(cause) })
	}
	c.mu.Unlock()
	if first {
		c.upper.End(cause, !byPeer)
		c.mu.Lock()
		if c.closeState == closeNone { // not before End: the layer above could still add frames
			c.closeState = closeDue
		}
		c.mu.Unlock()
		c.Kick()
	}
	if bothClosed {
		c.terminate(true)
	}
}

// HoldClose has a Close without a link wait for a link although the peer has received
// everything: the peer is to learn of the end. ReleaseClose or Config.Linger ends that.
func (c *Conn) HoldClose() { c.hold(1) }

// ReleaseClose takes back a call of HoldClose.
func (c *Conn) ReleaseClose() {
	if c.hold(-1) {
		c.Kick() // may end the session
	}
}

// hold changes the number of holds. It reports whether there are none.
func (c *Conn) hold(n int) (none bool) {
	s := c.session
	if s == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.holds += n
	return s.holds == 0
}

// Amend replaces the reason of the Close frame, if its code is 0 and no batch contains
// the frame yet.
func (c *Conn) Amend(reason packet.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closeFrame.Code == 0 {
		c.closeFrame = reason
	}
}

// abort ends the connection without a Close frame.
func (c *Conn) abort(cause error) {
	c.mu.Lock()
	first := c.State() < Closing
	if first {
		c.cause = cause
		c.setState(Closing)
		c.stopHeartbeat()
	}
	c.mu.Unlock()
	if first {
		c.upper.End(cause, false)
	}
	c.terminate(false)
}

// terminate enters Closed and closes the transport. After an orderly end, the Close of
// the transport may use the rest of Config.Linger, for instance for the close_notify of
// TLS.
func (c *Conn) terminate(orderly bool) {
	c.mu.Lock()
	first := c.setState(Closed)
	if first && c.lingerTimer != nil {
		c.lingerTimer.Stop()
	}
	l := c.link
	patience := time.Duration(0)
	if orderly {
		patience = c.lingerEnd - c.Now()
	}
	c.mu.Unlock()
	if !first {
		return
	}
	c.flusher.end()
	if orderly {
		l.closeAfterUse(patience) // the reading goroutine has handled the Close frame, and the other one is written
	} else {
		l.close(0)
	}
	if c.session != nil {
		c.endSession()
		go func() {
			<-l.closed
			close(c.done)
		}()
	}
}

// Cause returns why the connection ended, or nil if it has not ended.
func (c *Conn) Cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// fillClose adds the Close frame to b.
func (c *Conn) fillClose(b *Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closeState == closeDue {
		c.closeState = closeBatched
		b.Buf = packet.AppendReason(b.Buf, packet.TypeClose, 0, c.closeFrame)
	}
}

// batchWritten advances closeState after a batch was written. The holder of the write
// token calls it.
func (c *Conn) batchWritten() {
	c.mu.Lock()
	sent := c.closeState == closeBatched
	if sent {
		c.closeState = closeSent
	}
	bothClosed := sent && c.peerClosed
	if s := c.session; s != nil { // the Close frame may wait in the log
		bothClosed = c.closeState == closeSent && c.peerClosed && s.phase == linkUp
		sent = false // Received frames may follow
	}
	l := c.link
	c.mu.Unlock()
	switch {
	case bothClosed:
		c.terminate(true)
	case sent:
		l.closeWrite()
	}
}
