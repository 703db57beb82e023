package conn

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/test/kit"
)

// delayedConn is a net.Conn whose written bytes arrive after a delay, however many they are.
type delayedConn struct {
	net.Conn
	delay time.Duration

	mu     sync.Mutex
	queue  chan delayedBytes
	closed bool
}

// delayedBytes are bytes on their way.
type delayedBytes struct {
	at time.Time
	p  []byte
}

// newDelayedPair returns both ends of a connection in a bubble.
func newDelayedPair(delay time.Duration) (near, far net.Conn) {
	a, b := net.Pipe()
	return newDelayedConn(a, delay), newDelayedConn(b, delay)
}

func newDelayedConn(nc net.Conn, delay time.Duration) *delayedConn {
	c := &delayedConn{Conn: nc, delay: delay, queue: make(chan delayedBytes, 1<<16)}
	go func() {
		for d := range c.queue {
			time.Sleep(time.Until(d.at))
			if _, err := nc.Write(d.p); err != nil {
				for range c.queue {
				}
				return
			}
		}
	}()
	return c
}

func (c *delayedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	c.queue <- delayedBytes{time.Now().Add(c.delay), append([]byte(nil), p...)}
	return len(p), nil
}

func (c *delayedConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		close(c.queue)
	}
	return c.Conn.Close()
}

// The log grows with a long path up to its limit, so that it does not bound the pace. On a
// short path it stays as it is.
func TestLogGrowsWithThePath(t *testing.T) {
	const total = 32 << 20
	transfer := func(t *testing.T, delay time.Duration, most uint64) (took time.Duration, bound uint64) {
		synctest.Test(t, func(t *testing.T) {
			c := &numberedHandler{total: total / 16384, size: 16384, over: make(chan struct{})}
			s := &numberedHandler{total: 0, size: 16384, over: make(chan struct{})}
			p := newSessionPair(t, func() (net.Conn, net.Conn) { return newDelayedPair(delay) })
			p.client.Resume.MaxLog = most
			start := time.Now()
			p.start(func(conn *Conn) FrameHandler { c.c = conn; return c }, func(conn *Conn) FrameHandler { s.c = conn; return s })
			p.c.Kick()
			for s.received() < c.total {
				time.Sleep(time.Millisecond)
			}
			took = time.Since(start)
			p.c.mu.Lock()
			bound = p.c.session.bound
			p.c.mu.Unlock()
			assert.LessOrEqual(t, bound, max(most, MinLog))
			p.finish()
			time.Sleep(time.Second) // until no byte is on its way
		})
		return took, bound
	}
	fixed, _ := transfer(t, 50*time.Millisecond, 0)
	grown, bound := transfer(t, 50*time.Millisecond, 16<<20)
	t.Logf("32 MiB over 100 ms of round trip: %v with a log of 64 KiB, %v if it grows (to %d KiB)", fixed, grown, bound>>10)
	assert.Greater(t, bound, uint64(1<<20))
	assert.Less(t, grown, fixed/5)
}

// Two links in a row may become silent.
func TestTwoSilentLinksInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		links := 0
		wire := func() (net.Conn, net.Conn) {
			links++
			if links < 3 {
				a, b := kit.NewCutPipe(kit.CutSilence, 20_000, 20_000)
				return a, b
			}
			a, b := kit.NewCutPipe(kit.CutFIN, kit.NoCut, kit.NoCut)
			return a, b
		}
		p, c, s := startNumbered(t, wire, 100, 1000)
		for range 2 {
			time.Sleep(time.Minute)
			assert.False(t, p.c.SessionStats().Connected)
			_, err, _ := p.resume()
			require.Equal(t, ErrResumed, err)
		}
		<-c.over
		<-s.over
		c.check(t)
		s.check(t)
		p.finish()
	})
}
