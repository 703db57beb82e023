package proc

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy carries TCP connections to a target, so that tests can break them, and can
// have another process in the place of one that has died. All methods are safe for
// concurrent use.
type Proxy struct {
	Addr string // where it listens

	wg     sync.WaitGroup
	mu     sync.Mutex
	target string
	most   int64 // see SetMost; 0: all
	pairs  map[*pair]struct{}
}

// pair is one connection that is carried.
type pair struct {
	near, far *net.TCPConn
	most      int64
	orphan    bool // near was cut, and far is not to know; guarded by Proxy.mu
}

// NewProxy makes a proxy to the target; "" is nowhere. It ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, pairs: make(map[*pair]struct{})}
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.carry(c.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.SetTarget("") // what is being connected finds nothing
		p.Cut()
		p.wg.Wait()
	})
	return p
}

// SetTarget chooses where new connections go; "" is nowhere.
func (p *Proxy) SetTarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// SetMost has new connections carry so many bytes to those who dialled, and lose what comes
// after that; 0: they carry all.
func (p *Proxy) SetMost(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = bytes
}

// Cut breaks all connections, on both sides, and returns how many there were.
func (p *Proxy) Cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		reset(c.near)
		reset(c.far)
	}
	return len(p.pairs)
}

// CutNear breaks all connections on the side of those who dialled. The target does
// not learn of it: for it they are there and silent. It returns how many there were.
func (p *Proxy) CutNear() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	cut := 0
	for c := range p.pairs {
		if !c.orphan {
			c.orphan = true
			reset(c.near)
			cut++
		}
	}
	return cut
}

// reset closes a connection without a goodbye.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

// connect connects near to the target; nil if it is not there.
func (p *Proxy) connect(near *net.TCPConn) *pair {
	p.mu.Lock()
	defer p.mu.Unlock()
	far, err := net.Dial("tcp", p.target)
	if err != nil {
		return nil
	}
	c := &pair{near: near, far: far.(*net.TCPConn), most: p.most}
	p.pairs[c] = struct{}{}
	return c
}

// carry carries one connection.
func (p *Proxy) carry(near *net.TCPConn) {
	defer near.Close()
	c := p.connect(near)
	if c == nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() {
		io.Copy(c.far, c.near)
		p.mu.Lock()
		defer p.mu.Unlock()
		if !c.orphan {
			c.far.Close()
		}
	})
	both.Go(func() {
		if c.most > 0 {
			io.CopyN(c.near, c.far, c.most)
			io.Copy(io.Discard, c.far)
		} else {
			io.Copy(c.near, c.far)
		}
		c.near.Close()
		io.Copy(io.Discard, c.far)
		c.far.Close()
	})
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pairs, c)
}
