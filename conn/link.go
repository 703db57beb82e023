package conn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"reflect"
	"sync"
	"time"

	"github.com/singchia/geminio/internal/clock"
	"github.com/singchia/geminio/internal/guard"
)

const (
	// maxEmptyReads is how many Reads in a row may return nothing and no error.
	maxEmptyReads = 100
	// closeGrace is how long link waits for a Close that does not return, after it has
	// closed the connection beneath the net.Conn as well.
	closeGrace = 250 * time.Millisecond
	// maxBeneath bounds how many net.Conns may be wrapped around each other.
	maxBeneath = 16
)

// link is the net.Conn of a Conn. A user may bring a net.Conn of any kind, which may
// break the rules of that interface: it may panic, end the goroutine of the caller,
// move an impossible number of bytes, return an error whose methods panic, or block in
// Close. link makes an error of each of these, so that such a net.Conn costs its own
// connection and nothing else. Its methods are safe for concurrent use.
type link struct {
	nc    net.Conn
	clock clock.Clock
	log   *slog.Logger
	// lost is called with the error of a Read or Write that has ended the goroutine
	// instead of returning. It may be nil.
	lost func(error)
	// closed is closed when Close of nc has returned, or when link has waited for it
	// long enough.
	closed chan struct{}
	// early is a Read that has begun during the handshake; nil if there is none. The
	// goroutine that reads owns it.
	early *earlyRead

	// writeErr is the error of the first Write that has failed. Its bytes may be missing, so
	// nothing is written after it. The goroutine that writes owns it.
	writeErr error

	mu    sync.Mutex
	state linkState
	timer clock.Timer // enters the next state if Close does not return
}

// linkState is the state of a link. It only grows.
type linkState uint8

const (
	// linkOpen: the net.Conn works. close leaves it.
	linkOpen linkState = iota
	// linkClosing: a goroutine has called Close of the net.Conn. The return of
	// Close, or cut, leaves it.
	linkClosing
	// linkCut: another goroutine has closed the connection beneath the net.Conn. The
	// return of Close, or the end of closeGrace, leaves it.
	linkCut
	// linkClosed: closed is closed.
	linkClosed
)

// errNoConn is the error of a net.Conn that is nil.
var errNoConn = errors.New("the net.Conn is nil")

// isNil reports whether nc is nil or a nil pointer.
func isNil(nc net.Conn) bool {
	if nc == nil {
		return true
	}
	v := reflect.ValueOf(nc)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

// Check returns an error if nc is nil or a nil pointer.
func Check(nc net.Conn) error {
	if isNil(nc) {
		return errNoConn
	}
	return nil
}

// Discard closes a net.Conn for which no Conn was made. It waits for Close for a
// short while only. A net.Conn that is nil is left alone.
func Discard(nc net.Conn) {
	if isNil(nc) {
		return
	}
	l := &link{nc: nc, clock: clock.Runtime(), log: slog.New(slog.DiscardHandler), closed: make(chan struct{})}
	l.close(closeGrace)
	<-l.closed
}

// prompt reports whether Read and Write of the net.Conn are known to return when it is
// closed.
func (l *link) prompt() bool { return isPrompt(l.nc) }

func isPrompt(nc net.Conn) bool {
	switch nc := nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	case *tls.Conn:
		return isPrompt(nc.NetConn())
	}
	return false
}

// read reads at least one byte.
func (l *link) read(p []byte) (int, error) {
	if e := l.early; e != nil && len(p) > 0 {
		n, err := e.take(p)
		l.early = nil
		return n, err
	}
	return l.readNow(p)
}

// readNow is read without the Read that has begun during the handshake.
func (l *link) readNow(p []byte) (int, error) {
	for range maxEmptyReads {
		n, err := l.readOnce(p)
		switch {
		case n < 0 || n > len(p):
			return 0, fmt.Errorf("transport: Read returned %d bytes for a buffer of %d", n, len(p))
		case n > 0:
			return n, nil // an error comes again with the next Read
		case err != nil:
			return 0, l.safe(err)
		}
	}
	return 0, io.ErrNoProgress
}

func (l *link) readOnce(p []byte) (n int, err error) {
	returned := false
	defer func() {
		if !returned {
			n, err = 0, l.broke("Read", recover())
		}
	}()
	n, err = l.nc.Read(p)
	returned = true
	return n, err
}

// write writes all of p.
func (l *link) write(p []byte) error {
	if l.writeErr != nil {
		return l.writeErr
	}
	n, err := l.writeOnce(p)
	switch {
	case err != nil:
		l.writeErr = l.safe(err)
	case n != len(p):
		l.writeErr = fmt.Errorf("transport: Write returned %d for %d bytes: %w", n, len(p), io.ErrShortWrite)
	}
	return l.writeErr
}

func (l *link) writeOnce(p []byte) (n int, err error) {
	returned := false
	defer func() {
		if !returned {
			n, err = 0, l.broke("Write", recover())
		}
	}()
	n, err = l.nc.Write(p)
	returned = true
	return n, err
}

// closeWrite ends the writing direction of a net.Conn that can do so.
func (l *link) closeWrite() {
	if w, ok := l.nc.(interface{ CloseWrite() error }); ok {
		l.call("CloseWrite", w.CloseWrite) // the error does not matter: the peer has the Close frame
	}
}

// localAddr returns the local address of the net.Conn, never nil.
func (l *link) localAddr() net.Addr { return l.address("LocalAddr", l.nc.LocalAddr) }

// remoteAddr returns the remote address of the net.Conn, never nil.
func (l *link) remoteAddr() net.Addr { return l.address("RemoteAddr", l.nc.RemoteAddr) }

// RemoteAddr returns the remote address of nc, never nil.
func RemoteAddr(log *slog.Logger, nc net.Conn) net.Addr {
	if Check(nc) != nil {
		return unknownAddr{}
	}
	l := &link{nc: nc, log: log}
	return l.remoteAddr()
}

func (l *link) address(method string, f func() net.Addr) (a net.Addr) {
	l.call(method, func() error { a = f(); return nil })
	if a == nil {
		return unknownAddr{}
	}
	return a
}

// unknownAddr is the address of a net.Conn that gives none.
type unknownAddr struct{}

func (unknownAddr) Network() string { return "unknown" }
func (unknownAddr) String() string  { return "unknown" }

// close closes the net.Conn. It does not wait. If Close has not returned after patience,
// link closes the connection beneath as well. After a further closeGrace, link enters
// linkClosed; the goroutine that called Close stays until it returns.
func (l *link) close(patience time.Duration) {
	if !l.beginClose(patience) {
		return
	}
	// Close may wait until no goroutine uses the net.Conn, and the caller may be such a
	// goroutine.
	go l.closeNetConn()
	if patience <= 0 {
		l.cut()
	}
}

// closeAfterUse is close for a caller that is not within a method of the net.Conn. It closes a socket in
// the caller's goroutine: nothing is left to be sent, so Close waits only until the other goroutines
// have left their methods of the socket.
func (l *link) closeAfterUse(patience time.Duration) {
	switch l.nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		if l.beginClose(patience) {
			l.closeNetConn()
		}
	default:
		l.close(patience)
	}
}

// beginClose enters linkClosing. It reports false if close was called before.
func (l *link) beginClose(patience time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != linkOpen {
		return false
	}
	l.state = linkClosing
	if patience > 0 {
		l.timer = l.clock.AfterFunc(patience, l.cut)
	}
	return true
}

// closeNetConn calls Close of the net.Conn.
func (l *link) closeNetConn() {
	defer l.finish()
	if err := l.call("Close", l.nc.Close); err != nil && !errors.Is(err, net.ErrClosed) {
		l.log.Debug("closing the transport", "err", err)
	}
}

// cut closes the connection beneath the net.Conn, for instance the TCP connection beneath
// a TLS connection, whose Close sends close_notify and may block.
func (l *link) cut() {
	l.mu.Lock()
	first := l.state == linkClosing
	if first {
		l.state = linkCut
		l.timer = l.clock.AfterFunc(closeGrace, func() {
			if l.finish() {
				l.log.Warn("the transport's Close has not returned")
			}
		})
	}
	l.mu.Unlock()
	if _, wraps := l.nc.(wrapper); first && wraps {
		go l.call("Close", l.closeBeneath)
	}
}

// wrapper is a net.Conn around another one, such as *tls.Conn.
type wrapper interface{ NetConn() net.Conn }

// beneath returns the net.Conn that nc wraps, or nil if there is none.
func beneath(nc net.Conn) net.Conn {
	if w, wraps := nc.(wrapper); wraps {
		if under := w.NetConn(); !isNil(under) {
			return under
		}
	}
	return nil
}

// innermost returns the net.Conn beneath all others, or nil if a NetConn method fails.
func (l *link) innermost() (nc net.Conn) {
	l.call("NetConn", func() error {
		under := l.nc
		for range maxBeneath {
			next := beneath(under)
			if next == nil {
				break
			}
			under = next
		}
		nc = under
		return nil
	})
	return nc
}

// closeBeneath closes the innermost net.Conn.
func (l *link) closeBeneath() error {
	nc := l.innermost()
	if nc == nil || nc == l.nc {
		return nil
	}
	return nc.Close()
}

// finish enters linkClosed. It reports whether it did.
func (l *link) finish() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == linkClosed {
		return false
	}
	l.state = linkClosed
	if l.timer != nil {
		l.timer.Stop()
	}
	close(l.closed)
	return true
}

// call calls a method of the net.Conn. If the method calls runtime.Goexit, the goroutine
// of the caller ends.
func (l *link) call(method string, f func() error) (err error) {
	guard.Run(l.log, theTransports+method, func() { err = f() }, func(failed error) {
		if failed != nil {
			err = failed
		}
	})
	return l.safe(err)
}

// broke returns the error for a Read or Write that has not returned. The value v is that
// of the panic, or nil if the method has ended the goroutine.
func (l *link) broke(method string, v any) error {
	if v != nil {
		return guard.Panicked(l.log, theTransports+method, v)
	}
	err := guard.Exited(l.log, theTransports+method)
	if l.lost != nil {
		l.lost(err)
	}
	return err
}

const theTransports = "the transport's "

// safe returns err, or another error if methods of err panic.
func (l *link) safe(err error) error { return guard.Check(l.log, err) }
