package kit

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Link makes connections over emulated paths. Pipe makes them in memory: in a synctest bubble
// the times are exact. A LinkProxy makes them of TCP connections. No byte is lost or changed.
// Each connection has a path of its own. The methods are safe for concurrent use.
type Link struct {
	mu   sync.Mutex
	path Path
	ways []*way // of all connections
}

// NewLink returns a Link whose connections have the path p.
func NewLink(p Path) *Link { return &Link{path: p} }

// Set replaces the path of all connections, also of those that exist. Bytes that are on the
// path arrive as before.
func (l *Link) Set(p Path) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.path = p
	for _, w := range l.ways {
		w.change(func() { w.lane.set(w.now(), p) })
	}
}

// Cut breaks all connections. Bytes that have not arrived are lost, and both ends get
// syscall.ECONNRESET.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.ways {
		w.change(func() { w.reset = true })
	}
	l.ways = nil
}

// Pipe returns the two ends of a new connection in memory. A test in a synctest bubble must
// make it there.
func (l *Link) Pipe() (near, far net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, b := newWay(l.path), newWay(l.path)
	l.ways = append(l.ways, a, b)
	return &linkConn{out: a, in: b}, &linkConn{out: b, in: a}
}

// way is one direction of a connection.
type way struct {
	start time.Time

	mu      sync.Mutex // guards the fields below
	changed sync.Cond
	lane    lane
	writing bool        // a Write has its turn
	ended   bool        // the writer has ended the bytes
	gone    bool        // the reader has closed
	reset   bool        // Link.Cut has broken the connection
	reader  *time.Timer // wakes when a piece arrives
	writer  *time.Timer // wakes when the queue has room
}

func newWay(p Path) *way {
	w := &way{start: time.Now(), lane: lane{path: p}}
	w.changed.L = &w.mu
	wake := func() { w.change(func() {}) }
	w.reader = time.AfterFunc(time.Hour, wake)
	w.writer = time.AfterFunc(time.Hour, wake)
	w.reader.Stop()
	w.writer.Stop()
	return w
}

func (w *way) now() time.Duration { return time.Since(w.start) }

// change calls f with w.mu held, and wakes all that wait.
func (w *way) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	w.changed.Broadcast()
}

// wait waits until w has changed, or until the time at. w.mu is held, but not while it waits.
func (w *way) wait(t *time.Timer, at time.Duration) {
	t.Reset(at - w.now())
	w.changed.Wait()
	t.Stop()
}

// linkConn is one end of a connection in memory.
type linkConn struct {
	out, in *way
	readBy  limit // guarded by in.mu
	writeBy limit // guarded by out.mu
}

// limit is a deadline.
type limit struct {
	at    time.Time
	timer *time.Timer
}

func (d *limit) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// set sets the deadline t. wake is called when it passes.
func (d *limit) set(t time.Time, wake func()) {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.at, d.timer = t, nil
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), wake)
	}
}

// Read implements net.Conn.
func (c *linkConn) Read(p []byte) (int, error) {
	w := c.in
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case w.gone:
			return 0, net.ErrClosed
		case c.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		}
		if n := w.lane.take(w.now(), p); n > 0 {
			w.changed.Broadcast()
			return n, nil
		}
		at, some := w.lane.arrivalAt()
		switch {
		case w.reset:
			return 0, syscall.ECONNRESET
		case some:
			w.wait(w.reader, at)
		case w.ended:
			return 0, io.EOF
		default:
			w.changed.Wait()
		}
	}
}

// Write implements net.Conn. It returns when all bytes are in the queue of the path.
func (c *linkConn) Write(p []byte) (total int, err error) {
	w := c.out
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.writing {
		w.changed.Wait()
	}
	w.writing = true
	defer func() {
		w.writing = false
		w.changed.Broadcast()
	}()
	for {
		switch {
		case w.ended:
			return total, net.ErrClosed
		case w.reset:
			return total, syscall.ECONNRESET
		case w.gone:
			return total, syscall.EPIPE
		case c.writeBy.passed():
			return total, os.ErrDeadlineExceeded
		}
		n := w.lane.add(w.now(), p)
		w.changed.Broadcast()
		total += n
		if p = p[n:]; len(p) == 0 {
			return total, nil
		}
		w.wait(w.writer, w.lane.roomAt())
	}
}

// CloseWrite ends the bytes of this end. The other end reads io.EOF behind them.
func (c *linkConn) CloseWrite() error {
	c.out.change(func() { c.out.ended = true })
	return nil
}

// Close implements net.Conn. Bytes that were written still arrive.
func (c *linkConn) Close() error {
	c.CloseWrite()
	c.in.change(func() { c.in.gone = true })
	c.SetDeadline(time.Time{})
	return nil
}

// LocalAddr implements net.Conn.
func (c *linkConn) LocalAddr() net.Addr { return &net.UnixAddr{Name: "link"} }

// RemoteAddr implements net.Conn.
func (c *linkConn) RemoteAddr() net.Addr { return &net.UnixAddr{Name: "link"} }

// SetDeadline implements net.Conn.
func (c *linkConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *linkConn) SetReadDeadline(t time.Time) error {
	c.in.change(func() { c.readBy.set(t, func() { c.in.change(func() {}) }) })
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *linkConn) SetWriteDeadline(t time.Time) error {
	c.out.change(func() { c.writeBy.set(t, func() { c.out.change(func() {}) }) })
	return nil
}
