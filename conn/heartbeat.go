package conn

// This file sends and answers Pings, and measures the round trip.

import (
	"fmt"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// maxPings is how many Pings the peer may send in a second.
const maxPings = 1000

// onHeartbeatTimer sends a Ping when one is due. It ends the connection when two
// heartbeats have passed without a byte from the peer.
func (c *Conn) onHeartbeatTimer() {
	now := c.Now()
	silentAt := time.Duration(c.lastRead.Load()) + 2*c.base.Heartbeat
	c.mu.Lock()
	l := c.link
	if s := c.session; s != nil && s.phase == linkDown {
		c.mu.Unlock()
		return
	}
	stalled := c.stalled(now)
	c.mu.Unlock()
	switch {
	case now >= silentAt:
		c.cut(l, geminio.ErrSilent)
		return
	case stalled:
		c.onStall(l)
		return
	}
	ping := false
	c.mu.Lock()
	if c.State() < Closing {
		if now >= c.nextPing {
			c.pingDue, ping = true, true
			c.nextPing = now + c.base.Heartbeat
		}
		c.heartbeatTimer.Reset(min(c.nextPing, silentAt) - now)
	}
	c.mu.Unlock()
	if ping {
		c.upper.OnHeartbeat()
		c.Kick()
	}
}

// stopHeartbeat stops the timer. The caller holds c.mu.
func (c *Conn) stopHeartbeat() {
	if c.heartbeatTimer != nil {
		c.heartbeatTimer.Stop()
	}
}

// Probe has a Ping sent at the beginning of the next batch. The peer accepts only a limited
// number in a second, which the caller observes.
func (c *Conn) Probe() {
	c.mu.Lock()
	c.pingDue = true
	c.mu.Unlock()
	c.Kick()
}

// onPing answers a Ping of the peer. The reading goroutine calls it.
func (c *Conn) onPing(value uint64) error {
	now := c.Now()
	if now >= c.pingCountEnd {
		c.pingCount, c.pingCountEnd = 0, now+time.Second
	}
	if c.pingCount++; c.pingCount > maxPings {
		return &packet.Error{What: "ping", Reason: fmt.Sprintf("more than %d in a second", maxPings)}
	}
	c.mu.Lock()
	c.pongValue, c.pongDue = value, true
	c.mu.Unlock()
	c.upper.OnPing()
	c.Kick()
	return nil
}

// onPong handles the answer to a Ping of this side. The reading goroutine calls it.
func (c *Conn) onPong(value uint64) {
	c.mu.Lock()
	if !c.pingSent || value > c.lastPing {
		c.mu.Unlock()
		return // this side has sent no such Ping
	}
	rtt := max(c.Now()-time.Duration(value), 1) // the clock may be too coarse to have moved
	c.answerPings(value, rtt)
	acked := c.goAwayAckPending && value >= c.goAwayPing
	c.goAwayAckPending = c.goAwayAckPending && !acked
	c.mu.Unlock()
	if acked {
		c.upper.OnGoAwayAcked()
	}
	c.rtt.Store(int64(rtt))
	c.upper.OnPong(value)
}
