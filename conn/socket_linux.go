package conn

import (
	"io"
	"net"
	"syscall"
	"unsafe"
)

// notSentLowat bounds what the kernel takes before it is sent: what stands in
// its queue cannot be overtaken any more.
const (
	tcpNotSentLowat = 25 // TCP_NOTSENT_LOWAT
	notSentLowat    = 128 << 10
)

// socket serves TCP and unix sockets by non-blocking system calls between the
// waits of the runtime's poller, so that no memory is on loan, and no buffer
// held, while it waits.
type socket struct {
	c   *Conn
	raw syscall.RawConn

	// The reading goroutine's.
	readFn func(fd uintptr) bool // t.onReadable, made once
	sink   Sink
	rerr   error

	// The token holder's.
	writeFn func(fd uintptr) bool // t.onWritable, made once
	batch   *Batch
	wait    bool
	again   bool
	werr    error
}

// newTransport returns the best transport for c's net.Conn.
func newTransport(c *Conn) transport {
	var sc syscall.Conn
	switch nc := c.nc.(type) {
	case *net.TCPConn:
		sc = nc
	case *net.UnixConn:
		if nc.LocalAddr().Network() == "unix" {
			sc = nc
		}
	}
	if sc == nil {
		return &plain{c: c}
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return &plain{c: c}
	}
	t := &socket{c: c, raw: raw}
	t.readFn, t.writeFn = t.onReadable, t.onWritable
	raw.Control(func(fd uintptr) {
		// Refused on unix sockets, and harmless where it is.
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, notSentLowat)
	})
	return t
}

func (t *socket) fill() error { return t.fillSink(nil) }

func (t *socket) fillSink(s Sink) error {
	t.sink, t.rerr = s, nil
	err := t.raw.Read(t.readFn)
	t.sink = nil
	if t.rerr != nil {
		return t.rerr
	}
	return err
}

// onReadable reads once. It returns false to be called again when there is
// something to read.
func (t *socket) onReadable(fd uintptr) bool {
	c := t.c
	for {
		n, errno := t.readOnce(int(fd))
		switch {
		case errno == syscall.EAGAIN:
			c.rest()
			return false
		case errno == syscall.EINTR:
		case errno != 0:
			t.rerr = errno
			return true
		case n == 0:
			t.rerr = io.EOF
			return true
		default:
			c.heard()
			return true
		}
	}
}

func (t *socket) readOnce(fd int) (int, syscall.Errno) {
	c := t.c
	buf := c.buffer()
	if t.sink == nil {
		if c.bulk && len(buf) > spill {
			buf = buf[:spill]
		}
		n, errno := readv(fd, buf, nil)
		if n > 0 {
			c.rb.Wrote(n)
		}
		return n, errno
	}
	space := t.sink.Space(c.left)
	if len(space) < c.left {
		buf = nil // what follows belongs to the sink too
	} else {
		buf = buf[:spill]
	}
	n, errno := readv(fd, space, buf)
	got := max(min(n, len(space)), 0)
	t.sink.Filled(got)
	c.left -= got
	if n > got {
		c.rb.Wrote(n - got)
	}
	return n, errno
}

func (t *socket) lends() bool { return true }

func (t *socket) write(b *Batch, wait bool) (again bool) {
	t.batch, t.wait, t.again, t.werr = b, wait, false, nil
	err := t.raw.Write(t.writeFn)
	t.batch = nil
	if t.werr != nil {
		err = t.werr
	}
	if err != nil {
		t.c.abort(writeError(err))
		return false
	}
	return t.again
}

// onWritable writes until all is written or the socket takes no more.
func (t *socket) onWritable(fd uintptr) bool {
	b := t.batch
	for {
		// The lock is held across a system call that cannot block: so long must
		// whoever reclaims a loan wait.
		b.mu.Lock()
		n, errno := writev(int(fd), b)
		done := errno == 0 && b.advance(n)
		b.mu.Unlock()
		switch {
		case done:
			return true
		case errno == syscall.EAGAIN:
			t.again = !t.wait
			return t.again
		case errno != 0 && errno != syscall.EINTR:
			t.werr = errno
			return true
		}
	}
}

// sysBatch is what writev needs of a batch.
type sysBatch struct {
	iovecs [maxPieces + 2]syscall.Iovec
	used   int
}

func (s *sysBatch) reset() {
	clear(s.iovecs[:s.used])
	s.used = 0
}

// writev writes what b can in one call; b.mu is held.
func writev(fd int, b *Batch) (int, syscall.Errno) {
	pieces := b.pieces[b.first:]
	if len(pieces) == 1 {
		return call(syscall.SYS_WRITE, fd, unsafe.Pointer(&pieces[0][0]), len(pieces[0]))
	}
	v := b.sys.iovecs[:min(len(pieces), len(b.sys.iovecs))]
	b.sys.used = max(b.sys.used, len(v))
	for i := range v {
		v[i].Base = &pieces[i][0]
		v[i].SetLen(len(pieces[i]))
	}
	return call(syscall.SYS_WRITEV, fd, unsafe.Pointer(&v[0]), len(v))
}

// readv reads into a and then, if there is more, into b, which may be empty.
func readv(fd int, a, b []byte) (int, syscall.Errno) {
	if len(b) == 0 {
		return call(syscall.SYS_READ, fd, unsafe.Pointer(&a[0]), len(a))
	}
	v := [2]syscall.Iovec{{Base: &a[0]}, {Base: &b[0]}}
	v[0].SetLen(len(a))
	v[1].SetLen(len(b))
	return call(syscall.SYS_READV, fd, unsafe.Pointer(&v[0]), 2)
}

func call(trap uintptr, fd int, p unsafe.Pointer, n int) (int, syscall.Errno) {
	r, _, errno := syscall.Syscall(trap, uintptr(fd), uintptr(p), uintptr(n))
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}
