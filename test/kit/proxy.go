package kit

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Proxy carries connections to a target. A test can break them, and can replace the target.
// Its methods are safe for concurrent use.
type Proxy struct {
	// Addr is the address on which the proxy listens.
	Addr string

	wg sync.WaitGroup

	mu     sync.Mutex
	target string
	limit  int64
	closed bool
	pairs  map[*proxied]struct{}
}

// proxied is one connection that a Proxy carries.
type proxied struct {
	near, far net.Conn // accepted from the dialing side, and dialed to the target
	limit     int64    // Proxy.limit at its beginning
	half      bool     // CutNear has broken near, and far must stay open; guarded by Proxy.mu
}

// NewProxy returns a proxy to the target, which ends with the test. An empty target refuses
// connections. The proxy listens on a TCP address, or on a Unix socket if that stands in for
// TCP.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := ListenRaw()
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, pairs: make(map[*proxied]struct{})}
	p.wg.Go(func() { p.accept(l) })
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		l.Close()
		p.Cut()
		p.wg.Wait()
	})
	return p
}

// Dial connects to the proxy. It is a client.Dialer.
func (p *Proxy) Dial() (net.Conn, error) { return Dial(p.Addr) }

// SetTarget sets the target of new connections. An empty target refuses them.
func (p *Proxy) SetTarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// SetLimit has new connections carry so many bytes from the target, and discard all bytes
// that follow. Zero means no limit.
func (p *Proxy) SetLimit(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = bytes
}

// Cut resets all connections on both sides, and returns their number.
func (p *Proxy) Cut() int { return p.cut(func() bool { return true }) }

// CutRandomly closes both sides of all connections, each with a reset or without, as r
// decides. It returns the number of connections.
func (p *Proxy) CutRandomly(r *rand.Rand) int {
	return p.cut(func() bool { return r.IntN(2) == 0 })
}

// cut closes both sides of all connections, with a reset where lossy returns true.
func (p *Proxy) cut(lossy func() bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.pairs)
	for c := range p.pairs {
		for _, nc := range []net.Conn{c.near, c.far} {
			if lossy() {
				reset(nc)
			} else {
				nc.Close()
			}
		}
	}
	clear(p.pairs)
	return n
}

// CutNear resets all connections on the dialing side alone, and returns their number. For
// the target they stay open and silent.
func (p *Proxy) CutNear() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		if !c.half {
			c.half = true
			reset(c.near)
			n++
		}
	}
	return n
}

// reset closes nc. Bytes that are on their way over TCP are lost, and the peer reads
// ECONNRESET.
func reset(nc net.Conn) {
	if tcp, ok := nc.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	nc.Close()
}

// accept carries the connections that l accepts.
func (p *Proxy) accept(l net.Listener) {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() {
			if c := p.connect(near); c != nil {
				p.carry(c)
			} else {
				near.Close()
			}
		})
	}
}

// connect connects near to the target. It returns nil if that fails, or if the target was
// replaced or the proxy closed meanwhile.
func (p *Proxy) connect(near net.Conn) *proxied {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	if target == "" {
		return nil
	}
	far, err := DialRaw(target)
	if err != nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.target != target {
		far.Close()
		return nil
	}
	c := &proxied{near: near, far: far, limit: p.limit}
	p.pairs[c] = struct{}{}
	return c
}

// carry copies the bytes of one connection in both directions until it ends.
func (p *Proxy) carry(c *proxied) {
	var wg sync.WaitGroup
	wg.Go(func() {
		io.Copy(c.far, c.near)
		p.mu.Lock()
		defer p.mu.Unlock()
		if !c.half {
			c.far.Close()
		}
	})
	wg.Go(func() {
		if c.limit > 0 {
			io.CopyN(c.near, c.far, c.limit)
			io.Copy(io.Discard, c.far)
		} else {
			io.Copy(c.near, c.far)
		}
		c.near.Close()
		io.Copy(io.Discard, c.far)
		c.far.Close()
	})
	wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pairs, c)
}
