package conn

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
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
	whole  bool // what is read begins with a frame: whole ones are taken at once
	rerr   error
	again  time.Duration // when the socket is looked at again, though it has said nothing
	waits  atomic.Bool   // it waits for something to read

	// The token holder's.
	writeFn func(fd uintptr) bool // t.onWritable, made once
	batch   *Batch
	wait    bool
	stopped bool
	werr    error
	peekFn  func(fd uintptr) // t.peek, made once
	peeked  int32            // how much there was to read
}

// newTransport returns the best transport for c's net.Conn.
func newTransport(c *Conn) transport {
	var sc syscall.Conn
	switch nc := c.link.nc.(type) {
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
	t.readFn, t.writeFn, t.peekFn = t.onReadable, t.onWritable, t.peek
	raw.Control(func(fd uintptr) {
		// Refused on unix sockets, and harmless where it is.
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, notSentLowat)
	})
	return t
}

// lookAgain is after how long a socket is looked at again that was left without
// having said that it is empty.
const lookAgain = 100 * time.Millisecond

func (t *socket) readNext() error { return t.read(nil, true) }

func (t *socket) readMore() error { return t.read(nil, false) }

func (t *socket) readSink(s Sink) error { return t.read(s, false) }

func (t *socket) read(s Sink, whole bool) error {
	for {
		t.sink, t.whole, t.rerr = s, whole, nil
		err := t.raw.Read(t.readFn)
		t.sink = nil
		switch {
		case t.rerr != nil:
			return t.rerr
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
		t.again = 0
		t.c.link.nc.SetReadDeadline(time.Time{})
	}
}

// onReadable reads once, or on and on where whole frames come, until the connection is
// closed. It returns false to be called again when there is something to read.
func (t *socket) onReadable(fd uintptr) bool {
	c := t.c
	t.waits.Store(false)
	for {
		n, all, errno := t.readOnce(int(fd))
		switch {
		case errno == syscall.EAGAIN:
			t.beforeWait()
			return false
		case errno == syscall.EINTR:
		case errno != 0:
			t.rerr = errno
			return true
		case n == 0:
			t.rerr = io.EOF
			return true
		default:
			now := c.noteRead()
			if !t.whole {
				return true
			}
			if t.rerr = c.takeWhole(); t.rerr != nil || c.rb.Len() > 0 || c.State() == Closed {
				return true
			}
			if all && !c.packetDispatched {
				t.waitUnlessReadable(now)
				return false
			}
		}
	}
}

// restFor is called before waiting for something to read when all that there was has
// been read, and was whole frames.
//
// If there was a packet, those whom it has woken are let run, and then the socket is
// read again: what they have said may have its answer already, and who waits with others
// is handed more at once. Otherwise the socket is not asked whether it is empty, which
// would cost a system call: the poller will tell what comes next. The end of the stream
// may have come together with these bytes, though, and would not be told again. So the
// socket is looked at again after a while.
func (t *socket) waitUnlessReadable(now time.Duration) {
	if now >= t.again {
		t.again = now + lookAgain
		t.c.link.nc.SetReadDeadline(time.Now().Add(lookAgain))
	}
	t.beforeWait()
}

// rest is called before waiting for something to read.
func (t *socket) beforeWait() {
	t.c.beforeWait()
	t.waits.Store(true)
}

// look implements transport. While all processors are busy, the runtime asks its
// poller every ten milliseconds only; so long would answers wait behind bulk.
func (t *socket) wakeReader() {
	if !t.waits.Load() {
		return
	}
	t.raw.Control(t.peekFn)
	if t.peeked > 0 {
		t.c.link.nc.SetReadDeadline(past)
	}
}

var past = time.Unix(1, 0)

// peek looks how much there is to read.
func (t *socket) peek(fd uintptr) {
	t.peeked = 0
	syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCINQ, uintptr(unsafe.Pointer(&t.peeked)))
}

// readOnce reads what there is, or as much of it as there is room for. all tells
// that there was room left.
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
		buf = nil // what follows belongs to the sink too
	} else {
		buf = buf[:spill]
	}
	n, errno = readv(fd, space, buf)
	got := max(min(n, len(space)), 0)
	t.sink.Filled(got)
	c.left -= got
	if n > got {
		c.rb.Wrote(n - got)
	}
	return n, n < len(space)+len(buf), errno
}

func (t *socket) lends() bool { return true }

func (t *socket) write(b *Batch, wait bool) (again bool) {
	t.batch, t.wait, t.stopped, t.werr = b, wait, false, nil
	err := t.raw.Write(t.writeFn)
	t.batch = nil
	if t.werr != nil {
		err = t.werr
	}
	if err != nil {
		t.c.abort(writeError(err))
		return false
	}
	return t.stopped
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
			t.stopped = !t.wait
			return t.stopped
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
