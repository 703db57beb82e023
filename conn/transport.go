package conn

import (
	"errors"
	"io"
	"net"
)

// transport moves bytes between a Conn and its net.Conn.
type transport interface {
	// next is fill between two frames, when the read buffer is empty. It may give
	// whole frames to the upper layer, and then wait for more.
	readNext() error
	// fill waits until at least one more byte stands in the read buffer.
	readMore() error
	// readSink waits until at least one more byte of the present payload is in s
	// or in the read buffer, which is empty.
	readSink(s Sink) error
	// lends tells whether write can take borrowed memory, and need not wait.
	lends() bool
	// write writes b. It reports whether it stopped because it would have to
	// wait, which it does only if wait is not set. An error ends the connection
	// and counts as written.
	write(b *Batch, wait bool) (again bool)
	// look has the reading goroutine woken if there is something to read. The holder
	// of the write token calls it when it goes on writing.
	wakeReader()
}

// plain serves every net.Conn by its own methods. The read buffer is given back
// between frames all the same: what wakes a resting connection is read into a
// few bytes.
type plain struct {
	c     *Conn
	first [64]byte
}

func (t *plain) readNext() error { return t.readMore() }

func (t *plain) readMore() error {
	c := t.c
	c.beforeWait()
	var n int
	var err error
	if c.rb == nil && !c.bulk {
		if n, err = c.link.read(t.first[:]); n > 0 {
			copy(c.buffer(), t.first[:n])
			c.rb.Wrote(n)
		}
	} else if n, err = c.link.read(c.buffer()); n > 0 {
		c.rb.Wrote(n)
		c.bulk = c.bulk || n > direct
	}
	if n > 0 {
		c.noteRead()
	}
	return err
}

func (t *plain) readSink(Sink) error { return t.readMore() }

func (t *plain) lends() bool { return false }

func (t *plain) wakeReader() {}

func (t *plain) write(b *Batch, _ bool) bool {
	for _, p := range b.pieces {
		if err := t.c.link.write(p); err != nil {
			t.c.abort(writeError(err))
			break
		}
	}
	return false
}

// writeError names an end of the transport the same, whichever side noticed.
func writeError(err error) error {
	if errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed) {
		return io.ErrUnexpectedEOF
	}
	return err
}
