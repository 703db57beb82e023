package e2e

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/test/rig"
)

// proxy passes connections on to a server, and can break them at any byte.
type proxy struct {
	l      net.Listener
	target string
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // both sides of all
	shut  bool
	cuts  int // connections that were broken
}

func newProxy(t testing.TB, target string) *proxy {
	l, err := rig.ListenRaw()
	require.NoError(t, err)
	p := &proxy{l: l, target: target, conns: make(map[net.Conn]struct{})}
	p.wg.Go(p.run)
	t.Cleanup(func() {
		p.mu.Lock()
		p.shut = true
		p.mu.Unlock()
		l.Close()
		p.cut(nil)
		p.wg.Wait()
	})
	return p
}

// dial is a client.Dialer.
func (p *proxy) dial() (net.Conn, error) { return rig.Dial(p.l.Addr().String()) }

func (p *proxy) run() {
	for {
		near, err := p.l.Accept()
		if err != nil {
			return
		}
		far, err := rig.DialRaw(p.target)
		if err != nil {
			near.Close()
			continue
		}
		p.mu.Lock()
		if p.shut {
			near.Close()
			far.Close()
		} else {
			p.conns[near], p.conns[far] = struct{}{}, struct{}{}
			p.wg.Go(func() { p.pass(far, near) })
			p.wg.Go(func() { p.pass(near, far) })
		}
		p.mu.Unlock()
	}
}

// pass copies what comes from src, and closes both when that ends.
func (p *proxy) pass(dst, src net.Conn) {
	io.Copy(dst, src)
	p.mu.Lock()
	delete(p.conns, src)
	delete(p.conns, dst)
	p.mu.Unlock()
	src.Close()
	dst.Close()
}

// cut breaks all connections, some of them so that what is on its way is lost.
func (p *proxy) cut(r *rand.Rand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		lost := r == nil || r.IntN(2) == 0
		if tcp, ok := c.(*net.TCPConn); ok && lost {
			tcp.SetLinger(0)
		}
		c.Close()
		p.cuts++
	}
	clear(p.conns)
}

// cutAtRandom breaks all connections n times, at random moments, up to pause after
// the one before has been followed by a new connection.
func (p *proxy) cutAtRandom(t testing.TB, r *rand.Rand, n int, pause time.Duration, online <-chan struct{}) {
	for range n {
		rig.Await(t, rig.Forever, "reconnect", online)
		if d := time.Duration(r.Int64N(int64(pause))); d > pause/8 { // sometimes at once
			time.Sleep(d) // not a hope: the moment is what is random
		}
		p.cut(r)
	}
}
