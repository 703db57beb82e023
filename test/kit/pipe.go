package kit

import (
	"io"
	"net"
	"sync"
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
// in each direction, and little waits for that: a Write returns when its last bytes are about
// to be carried.
func SlowPipe(rate int) (near, far net.Conn) {
	return NewLink(Path{Rate: rate, Queue: 1 << 10}).Pipe()
}
