package kit

import (
	"io"
	"net"
	"sync"
	"time"
)

// PipeListener is a net.Listener in memory: Dial makes its connections with net.Pipe. Its
// methods are safe for concurrent use. A test in a synctest bubble must make it there.
type PipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

// NewPipeListener returns a PipeListener that listens.
func NewPipeListener() *PipeListener {
	return &PipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

// Dial connects to the listener, and returns after Accept has returned the other end. After
// Close it returns io.ErrClosedPipe.
func (l *PipeListener) Dial() (net.Conn, error) {
	near, far := net.Pipe()
	if err := l.Give(far); err != nil {
		return nil, err
	}
	return near, nil
}

// Give returns after Accept has returned nc. After Close it returns io.ErrClosedPipe.
func (l *PipeListener) Give(nc net.Conn) error {
	select {
	case l.conns <- nc:
		return nil
	case <-l.done:
		return io.ErrClosedPipe
	}
}

// Accept implements net.Listener. After Close it returns net.ErrClosed.
func (l *PipeListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It may be called more than once.
func (l *PipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *PipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// SlowPipe returns the two ends of a connection in memory. It carries rate bytes in a second
// in each direction.
func SlowPipe(rate int) (near, far net.Conn) {
	near, far = net.Pipe()
	return &slowConn{near, rate}, &slowConn{far, rate}
}

// slowConn is an end of a SlowPipe.
type slowConn struct {
	net.Conn
	rate int // bytes in a second
}

// slowPiece is the number of bytes that a slowConn delivers at a time.
const slowPiece = 1 << 10

// Write implements net.Conn.
func (c *slowConn) Write(p []byte) (total int, err error) {
	for len(p) > 0 && err == nil {
		n := min(len(p), slowPiece)
		time.Sleep(time.Duration(n) * time.Second / time.Duration(c.rate))
		n, err = c.Conn.Write(p[:n])
		total += n
		p = p[n:]
	}
	return total, err
}
