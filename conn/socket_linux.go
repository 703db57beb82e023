package conn

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// notSentLowat bounds the bytes that the kernel accepts before it sends them, so that
// urgent frames wait only behind that many bytes.
const (
	tcpNotSentLowat = 25 // TCP_NOTSENT_LOWAT
	notSentLowat    = 128 << 10
)

// socket is the transport over TCP and unix sockets. It makes non-blocking system calls
// between the waits of the runtime's poller, so that it holds no buffer while it waits.
type socket struct {
	c     *Conn
	link  *link
	raw   syscall.RawConn
	waker waker

	// The reading goroutine owns these fields; the package comment describes the hints.

	readFn  func(fd uintptr) bool // t.onReadable, made once
	sink    Sink                  // receives what onReadable reads; nil: the read buffer does
	whole   bool                  // onReadable starts at the beginning of a frame
	readErr error                 // the result of onReadable
	recheck time.Duration         // when the read deadline is due; 0: there is none
	armed   time.Duration         // when the last bytes had arrived when it was set
	used    bool                  // bytes have arrived since the goroutine began
	renewIn time.Duration         // the time without bytes after which another goroutine takes its place

	// The holder of the write token owns these fields.

	writeFn  func(fd uintptr) bool // t.onWritable, made once
	batch    *Batch                // the batch that onWritable writes
	wait     bool                  // onWritable waits when the socket is full
	stopped  bool                  // onWritable has stopped instead of waiting
	writeErr error                 // the result of onWritable
}

// newTransport returns the best transport for the net.Conn of l. If a TCP or unix socket is
// beneath the net.Conn, newTransport keeps the send queue of the socket short.
func newTransport(c *Conn, l *link) transport {
	if raw := rawSocket(l.nc); raw != nil {
		t := &socket{c: c, link: l, raw: raw, renewIn: renewFirst}
		t.readFn, t.writeFn = t.onReadable, t.onWritable
		t.waker.init(l.nc, raw)
		raw.Control(shortenQueue)
		return t
	}
	t := &plain{c: c, link: l}
	if raw := rawSocket(l.innermost()); raw != nil {
		raw.Control(shortenQueue)
		if l.prompt() {
			t.waker.init(l.nc, raw)
		}
	}
	return t
}

// rawSocket returns the socket of nc, or nil if nc is neither a TCP nor a unix stream socket.
func rawSocket(nc net.Conn) syscall.RawConn {
	var sc syscall.Conn
	switch nc := nc.(type) {
	case *net.TCPConn:
		sc = nc
	case *net.UnixConn:
		if nc.LocalAddr().Network() == "unix" {
			sc = nc
		}
	}
	if sc == nil {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// shortenQueue bounds the bytes that the kernel accepts before it sends them. Unix sockets
// refuse the option, which does no harm.
func shortenQueue(fd uintptr) {
	syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, notSentLowat)
}

// lookAgain is the time after which a socket is read again if the last read did not
// prove that it was empty; see the package comment.
const lookAgain = 100 * time.Millisecond

// When no bytes have arrived for a while, a new goroutine takes the place of the reading goroutine. A
// goroutine that has handled frames has a stack of 4 KiB or more, which the runtime does not shrink;
// that of a new one has 2 KiB. The time is renewFirst, and doubles up to renewLast each time that bytes
// have arrived meanwhile, so that a connection in use is rarely disturbed.
const (
	renewFirst = time.Second
	renewLast  = 16 * time.Second
)

func (t *socket) readNext() error { return t.read(nil, true) }

func (t *socket) readMore() error { return t.read(nil, false) }

func (t *socket) readSink(s Sink) error { return t.read(s, false) }

func (t *socket) read(s Sink, whole bool) error {
	for {
		t.sink, t.whole, t.readErr = s, whole, nil
		err := t.raw.Read(t.readFn)
		t.sink = nil
		switch {
		case t.readErr != nil:
			return t.readErr
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return t.c.readError(t.link, err)
		}
		t.recheck = 0
		t.waker.woken()
		switch {
		case !whole || !t.used:
		case t.c.Now()-t.c.LastRead() >= t.renewIn:
			t.used, t.renewIn = false, renewFirst
			return errRenew
		case t.c.LastRead() > t.armed:
			t.renewIn = min(2*t.renewIn, renewLast)
		}
	}
}

// onReadable reads once. With t.whole set, it handles complete frames and continues to
// read until a frame is incomplete or the connection is closed. It returns false if
// the poller must call it again when the socket is readable.
func (t *socket) onReadable(fd uintptr) bool {
	c := t.c
	t.waker.waits.Store(false)
	for {
		n, all, errno := t.readOnce(int(fd))
		switch {
		case errno == syscall.EAGAIN:
			if t.whole && t.used {
				t.wakeAfter(t.renewIn)
			}
			t.beforeWait()
			return false
		case errno == syscall.EINTR:
		case errno != 0:
			t.readErr = t.c.readError(t.link, errno)
			return true
		case n == 0:
			t.readErr = t.c.readError(t.link, io.EOF)
			return true
		default:
			c.noteRead()
			t.used = true
			if !t.whole {
				return true
			}
			if t.readErr = c.takeWhole(); t.readErr != nil || c.rb.Len() > 0 || c.State() == Closed {
				return true
			}
			if all && !c.packetDispatched {
				t.wakeAfter(lookAgain) // no read has proved that the socket is empty
				t.beforeWait()
				return false
			}
		}
	}
}

// wakeAfter has the goroutine read again at the latest when d has passed since the last bytes.
func (t *socket) wakeAfter(d time.Duration) {
	last := t.c.LastRead()
	if at := last + d; t.recheck == 0 || at < t.recheck {
		t.recheck, t.armed = at, last
		t.link.nc.SetReadDeadline(t.c.Time(at))
	}
}

// beforeWait runs before the goroutine waits for the socket.
func (t *socket) beforeWait() {
	t.c.beforeWait()
	t.waker.waits.Store(true)
}

func (t *socket) wakeReader() { t.waker.wake() }

// readOnce makes one read. It reports with all that the read has left room, so that the
// socket is probably empty.
func (t *socket) readOnce(fd int) (n int, all bool, errno syscall.Errno) {
	c := t.c
	if c.packetDispatched {
		c.packetDispatched = false
		runtime.Gosched()
	}
	buf := c.buffer()
	if t.sink == nil {
		if c.bulk && len(buf) > spill {
			buf = buf[:spill]
		}
		if n, errno = readv(fd, buf, nil); n > 0 {
			c.rb.Wrote(n)
		}
		return n, n < len(buf), errno
	}
	space := t.sink.Space(c.left)
	if len(space) < c.left {
		buf = nil // the bytes after space belong to the sink too
	} else {
		buf = buf[:spill]
	}
	n, errno = readv(fd, space, buf)
	got := max(min(n, len(space)), 0)
	t.sink.Received(got)
	c.left -= got
	if n > got {
		c.rb.Wrote(n - got)
	}
	return n, n < len(space)+len(buf), errno
}

func (t *socket) lends() bool { return true }

func (t *socket) write(b *Batch, wait bool) (again bool) {
	t.batch, t.wait, t.stopped, t.writeErr = b, wait, false, nil
	err := t.raw.Write(t.writeFn)
	t.batch = nil
	if t.writeErr != nil {
		err = t.writeErr
	}
	if err != nil {
		t.c.cut(t.link, writeError(err))
		return false
	}
	return t.stopped
}

// onWritable writes until the batch is written or the socket is full.
func (t *socket) onWritable(fd uintptr) bool {
	b := t.batch
	for {
		// The system call does not block. Reclaim waits for it, because the kernel
		// reads borrowed memory meanwhile.
		b.mu.Lock()
		n, errno := writev(int(fd), b)
		done := errno == 0 && b.advance(n)
		b.mu.Unlock()
		switch {
		case done:
			return true
		case errno == syscall.EAGAIN:
			t.stopped = !t.wait
			return t.stopped
		case errno != 0 && errno != syscall.EINTR:
			t.writeErr = errno
			return true
		}
	}
}

// sysBatch holds the arguments of writev for a batch.
type sysBatch struct {
	iovecs [maxPieces + 2]syscall.Iovec
	used   int
}

func (s *sysBatch) reset() {
	clear(s.iovecs[:s.used])
	s.used = 0
}

// writev writes as much of b as one system call takes. The caller holds b.mu.
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

// readv reads into a and then into b, which may be empty.
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
