package kit

import (
	"io"
	"net"
	"sync"
)

// LinkProxy carries TCP connections on the loopback interface over a Link.
type LinkProxy struct {
	// Addr is the address on which the proxy listens.
	Addr string

	link     *Link
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  []net.Conn
}

// socketBuffer returns the size of the buffers of the sockets of a LinkProxy, bytes. They are
// small, so that bytes wait for the path in the queue of the Link, and not in the kernel. They
// hold the bytes of two milliseconds, since each buffer costs the wake-up of a thread, which
// takes tenths of a millisecond when the processors sleep.
func (p Path) socketBuffer() int { return max(p.Rate/500, 32<<10) }

// NewLinkProxy returns a proxy to the TCP address target, whose connections have the path of
// l. The caller closes it.
func NewLinkProxy(l *Link, target string) (*LinkProxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &LinkProxy{Addr: listener.Addr().String(), link: l, target: target, listener: listener}
	p.wg.Go(p.accept)
	return p, nil
}

// Close ends all connections, and returns when the goroutines of the proxy have ended.
func (p *LinkProxy) Close() error {
	p.mu.Lock()
	p.closed = true
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	err := p.listener.Close()
	p.wg.Wait()
	return err
}

func (p *LinkProxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() {
			far, err := net.Dial("tcp", p.target)
			if err != nil {
				near.Close()
				return
			}
			p.carry(near, far)
		})
	}
}

// carry connects near and far by a Pipe of the link.
func (p *LinkProxy) carry(near, far net.Conn) {
	a, b := p.link.Pipe()
	conns := []net.Conn{near, a, b, far}
	p.mu.Lock()
	p.conns = append(p.conns, conns...)
	if p.closed {
		for _, c := range conns {
			c.Close()
		}
	}
	p.mu.Unlock()
	p.link.mu.Lock()
	size := p.link.path.socketBuffer()
	p.link.mu.Unlock()
	for _, c := range []net.Conn{near, far} {
		c.(*net.TCPConn).SetReadBuffer(size)
		c.(*net.TCPConn).SetWriteBuffer(size)
	}
	p.wg.Go(func() { pump(a, near) })
	p.wg.Go(func() { pump(b, far) })
	p.wg.Go(func() { pump(far, b) })
	pump(near, a)
}

// pump copies from one connection to the other until an end or an error, which it passes on.
func pump(to, from net.Conn) {
	buf := make([]byte, 64<<10)
	if _, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buf); err != nil {
		to.Close()
		from.Close()
		return
	}
	to.(interface{ CloseWrite() error }).CloseWrite()
}
