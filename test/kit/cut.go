package kit

import (
	"io"
	"math"
	"net"
	"sync"
	"syscall"
)

// CutMode is how the transport of NewCutPipe ends.
type CutMode int

// The ways in which a transport ends.
const (
	CutFIN     CutMode = iota // both sides read io.EOF
	CutRST                    // both sides read ECONNRESET
	CutSilence                // nothing arrives any more
)

// String returns the name of m.
func (m CutMode) String() string { return [...]string{"FIN", "RST", "silence"}[m] }

// cutPipe is a transport that ends after a number of bytes of one direction.
type cutPipe struct {
	mode CutMode
	once sync.Once
	dead chan struct{} // closed when the transport has ended
	ends [2]*CutEnd
}

// CutEnd is an end of a transport of NewCutPipe.
type CutEnd struct {
	net.Conn
	w    *cutPipe
	mu   sync.Mutex
	left int // bytes until the cut
	sent int
}

// NewCutPipe returns the ends of a transport that is cut after so many bytes of the first or
// second end.
func NewCutPipe(mode CutMode, first, second int) (a, b *CutEnd) {
	near, far := net.Pipe()
	w := &cutPipe{mode: mode, dead: make(chan struct{})}
	w.ends = [2]*CutEnd{{Conn: near, w: w, left: first}, {Conn: far, w: w, left: second}}
	return w.ends[0], w.ends[1]
}

// NoCut is a number of bytes for NewCutPipe that no test reaches.
const NoCut = math.MaxInt

func (w *cutPipe) cut() {
	w.once.Do(func() {
		close(w.dead)
		if w.mode != CutSilence {
			w.ends[0].Conn.Close()
			w.ends[1].Conn.Close()
		}
	})
}

func (e *CutEnd) isDead() bool {
	select {
	case <-e.w.dead:
		return true
	default:
		return false
	}
}

// Write implements net.Conn.
func (e *CutEnd) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isDead() && e.w.mode == CutSilence {
		return len(p), nil
	}
	now := p[:min(len(p), e.left)]
	n, err := e.Conn.Write(now)
	e.left -= n
	e.sent += n
	if err != nil {
		return n, e.failed(err)
	}
	if e.left == 0 {
		e.w.cut()
		if e.w.mode == CutSilence {
			return len(p), nil
		}
		if n < len(p) {
			return n, e.failed(io.ErrClosedPipe)
		}
	}
	return n, nil
}

// Read implements net.Conn.
func (e *CutEnd) Read(p []byte) (int, error) {
	for {
		n, err := e.Conn.Read(p)
		if n > 0 && e.isDead() && e.w.mode == CutSilence {
			continue
		}
		if err != nil && e.w.mode == CutFIN && e.isDead() {
			return n, io.EOF
		}
		return n, e.failed(err)
	}
}

// failed returns the error that a cut transport gives.
func (e *CutEnd) failed(err error) error {
	if err != nil && e.w.mode == CutRST && e.isDead() {
		return syscall.ECONNRESET
	}
	return err
}

// Sent returns how many bytes this end has written that were not lost.
func (e *CutEnd) Sent() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sent
}
