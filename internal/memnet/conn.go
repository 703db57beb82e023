package memnet

import (
	"net"
	"time"
)

// Conn is one end of a Link. It is a net.Conn whose methods are safe for concurrent use. Write
// returns when the buffer has taken all bytes.
//
// Close discards bytes that were not read, and the peer still gets the bytes that were written
// before. Read and Write return net.ErrClosed after Close of this end. After Close of the peer
// Write returns syscall.EPIPE.
type Conn struct {
	link          *Link
	rx, tx        *direction
	local, remote net.Addr
	over          bool // closed or cut; guarded by the lock of the Link
}

var _ net.Conn = (*Conn)(nil)

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) { return c.rx.read(p) }

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) { return c.tx.write(p) }

// Close implements net.Conn. It may be called more than once.
func (c *Conn) Close() error {
	c.link.mu.Lock()
	n := c.end()
	if n > 0 {
		c.rx.fail(&c.rx.readErr, net.ErrClosed)
		c.tx.end(noReader)
	}
	c.link.unlock(n)
	return nil
}

// CloseWrite ends the bytes of this end. The peer reads those that were written before, and then
// io.EOF.
func (c *Conn) CloseWrite() error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.over {
		return net.ErrClosed
	}
	c.tx.end(noMoreData)
	return nil
}

// end marks c as closed or cut. It returns 1 the first time, and 0 after that. The caller holds
// the lock of the Link.
func (c *Conn) end() int {
	if c.over {
		return 0
	}
	c.over = true
	c.rx.readDeadline.stop()
	c.tx.writeDeadline.stop()
	return 1
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadlines(t, true, true) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, true, false) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, false, true) }

func (c *Conn) setDeadlines(t time.Time, read, write bool) error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.over {
		return net.ErrClosed
	}
	if read {
		c.rx.readDeadline.set(c.rx, t)
	}
	if write {
		c.tx.writeDeadline.set(c.tx, t)
	}
	return nil
}

// Addr is an address of a connection in memory. Its network is "memory".
type Addr string

// Network implements net.Addr.
func (Addr) Network() string { return "memory" }

// String implements net.Addr.
func (a Addr) String() string { return string(a) }
