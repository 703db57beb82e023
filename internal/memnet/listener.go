package memnet

import (
	"context"
	"net"
	"sync"
)

// Listener is a net.Listener in memory: Accept returns the connections that Give gets. Its
// methods are safe for concurrent use.
type Listener struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

// Listen returns a Listener in which so many connections can wait for Accept.
func Listen(addr net.Addr, backlog int) *Listener {
	return &Listener{addr: addr, conns: make(chan net.Conn, backlog), done: make(chan struct{})}
}

// Give passes nc to Accept. It waits for room in the backlog, until ctx ends, or until Close. Then
// it returns an error, net.ErrClosed after Close, and nc stays with the caller.
func (l *Listener) Give(ctx context.Context, nc net.Conn) error {
	if l.closed() {
		return net.ErrClosed
	}
	select {
	case l.conns <- nc:
		if l.closed() {
			l.discard()
		}
		return nil
	case <-l.done:
		return net.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Accept implements net.Listener. After Close it returns net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	if l.closed() {
		return nil, net.ErrClosed
	}
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It closes the connections that wait for Accept. It may be called
// more than once.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.done) })
	l.discard()
	return nil
}

// discard closes the connections that wait for Accept.
func (l *Listener) discard() {
	for {
		select {
		case nc := <-l.conns:
			nc.Close()
		default:
			return
		}
	}
}

func (l *Listener) closed() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return l.addr }
