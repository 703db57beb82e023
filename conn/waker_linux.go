package conn

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// waker wakes the reading goroutine of a net.Conn when bytes have arrived at its socket; the
// package comment says why. The zero value does nothing.
type waker struct {
	nc    net.Conn        // the net.Conn that is read
	raw   syscall.RawConn // the socket of nc, or the one beneath nc
	waits atomic.Bool     // the reading goroutine waits, or is about to

	// The holder of the write token owns these fields.

	peekFn func(fd uintptr) // w.peek, made once
	peeked int32            // how many bytes peek found
}

func (w *waker) init(nc net.Conn, raw syscall.RawConn) {
	w.nc, w.raw, w.peekFn = nc, raw, w.peek
}

// past is a read deadline that wakes the reading goroutine.
var past = time.Unix(1, 0)

// wake wakes the reading goroutine if it waits although there is something to read. A Read
// of nc then returns os.ErrDeadlineExceeded.
func (w *waker) wake() {
	if w.nc == nil || !w.waits.Load() {
		return
	}
	w.raw.Control(w.peekFn)
	if w.peeked > 0 {
		w.nc.SetReadDeadline(past)
	}
}

// woken removes the deadline that wake has set. It reports whether wake can have set one.
func (w *waker) woken() bool {
	if w.nc == nil {
		return false
	}
	w.nc.SetReadDeadline(time.Time{})
	return true
}

// peek sets w.peeked to the number of bytes that can be read.
func (w *waker) peek(fd uintptr) {
	w.peeked = 0
	syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCINQ, uintptr(unsafe.Pointer(&w.peeked)))
}
