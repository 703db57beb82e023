package conn

import (
	"errors"
	"io"
	"net"
	"os"
)

// transport moves bytes between a Conn and its net.Conn.
type transport interface {
	// readNext is readMore between two frames, when the read buffer is empty. It may
	// pass complete frames to the layer above and then wait for more.
	readNext() error
	// readMore waits until the read buffer has at least one more byte.
	readMore() error
	// readSink waits until at least one more byte of the present payload is in s or
	// in the read buffer. The caller has emptied the read buffer.
	readSink(s Sink) error
	// lends reports whether write can stop instead of waiting, so that a batch may
	// contain borrowed memory.
	lends() bool
	// write writes b. Without wait, it returns true instead of waiting. An error
	// ends the connection, and b then counts as written.
	write(b *Batch, wait bool) (again bool)
	// wakeReader wakes the reading goroutine if there is something to read. The
	// holder of the write token calls it between two batches.
	wakeReader()
}

// plain is the transport over any net.Conn. It waits between frames with a small buffer, so that
// an idle connection holds no chunk: a longer TLS record needs a second Read. It writes each
// batch with one Write.
type plain struct {
	c     *Conn
	link  *link
	waker waker
	first [512]byte
}

func (t *plain) readNext() error { return t.readMore() }

func (t *plain) readMore() error {
	c := t.c
	c.beforeWait()
	var n int
	var err error
	if c.rb == nil && !c.bulk {
		if n, err = t.read(t.first[:]); n > 0 {
			copy(c.buffer(), t.first[:n])
			c.rb.Wrote(n)
		}
	} else if n, err = t.read(c.buffer()); n > 0 {
		c.rb.Wrote(n)
		c.bulk = c.bulk || n > direct
	}
	if n > 0 {
		c.noteRead()
	}
	return c.readError(t.link, err)
}

// read reads at least one byte. It reads again when wakeReader has woken it.
func (t *plain) read(p []byte) (n int, err error) {
	for {
		t.waker.waits.Store(true)
		n, err = t.link.read(p)
		t.waker.waits.Store(false)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !t.waker.woken() {
			return n, err
		}
	}
}

func (t *plain) readSink(Sink) error { return t.readMore() }

func (t *plain) lends() bool { return false }

func (t *plain) wakeReader() { t.waker.wake() }

func (t *plain) write(b *Batch, _ bool) bool {
	if err := t.writeAll(b); err != nil {
		t.c.cut(t.link, writeError(err))
	}
	return false
}

// writeAll writes b with one Write, unless its bytes are those of a log.
func (t *plain) writeAll(b *Batch) error {
	if len(b.Buf) == b.size {
		return t.link.write(b.Buf)
	}
	for _, p := range b.pieces {
		if err := t.link.write(p); err != nil {
			return err
		}
	}
	return nil
}

// writeError returns the error for a failed write. If the transport is closed, that
// is io.ErrUnexpectedEOF, as for a read.
func writeError(err error) error {
	if errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed) {
		return io.ErrUnexpectedEOF
	}
	return err
}
