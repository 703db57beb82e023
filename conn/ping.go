package conn

// This file measures the round trip on demand.

import (
	"context"
	"slices"
	"time"
)

// pingPause is the least time between two Pings for RoundTrip. The peer accepts a limited number
// in a second.
const pingPause = 10 * time.Millisecond

// pingWaiter is a call of RoundTrip. Conn.mu guards it until done is closed.
type pingWaiter struct {
	later bool // the Ping that is awaited has a larger value than after
	after uint64
	rtt   time.Duration
	done  chan struct{} // closed when rtt is set
}

// RoundTrip has a Ping sent at the beginning of the next batch, and returns the round trip when the
// peer has answered it. It returns ctx.Err() if ctx is done first, and false if ended is closed
// first. Calls at the same time share a Ping. If the session loses its link, the Ping is sent again
// on the next one.
func (c *Conn) RoundTrip(ctx context.Context, ended <-chan struct{}) (rtt time.Duration, ok bool, err error) {
	w := &pingWaiter{done: make(chan struct{})}
	c.mu.Lock()
	w.later, w.after = c.pingSent, c.lastPing
	c.pinging = append(c.pinging, w)
	c.mu.Unlock()
	c.askPing()
	select {
	case <-w.done:
		return w.rtt, true, nil
	case <-ended:
		c.forgetPing(w)
		return 0, false, nil
	case <-ctx.Done():
		c.forgetPing(w)
		return 0, false, ctx.Err()
	}
}

// askPing asks for a Ping if a call of RoundTrip needs one, at once or after pingPause.
func (c *Conn) askPing() {
	if c.planPing(c.Now()) {
		c.Kick()
	}
}

// planPing is askPing without the Kick, which the result asks for.
func (c *Conn) planPing(now time.Duration) (due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pinging) == 0 || c.pingerTimer || c.State() >= Closing {
		return false
	}
	if left := c.pingerPing + pingPause - now; c.pingerPing > 0 && left > 0 {
		c.pingerTimer = true
		c.base.Clock.AfterFunc(left, func() {
			c.mu.Lock()
			c.pingerTimer = false
			c.mu.Unlock()
			c.askPing()
		})
		return false
	}
	c.pingerPing, c.pingDue = max(now, 1), true
	return true
}

// forgetPing removes w.
func (c *Conn) forgetPing(w *pingWaiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pinging = slices.DeleteFunc(c.pinging, func(other *pingWaiter) bool { return other == w })
}

// answerPings ends the calls of RoundTrip that wait for a Ping with the value. The caller holds
// c.mu.
func (c *Conn) answerPings(value uint64, rtt time.Duration) {
	c.pinging = slices.DeleteFunc(c.pinging, func(w *pingWaiter) bool {
		if w.later && value <= w.after {
			return false
		}
		w.rtt = rtt
		close(w.done)
		return true
	})
}
