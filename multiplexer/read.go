package multiplexer

import (
	"io"
	"runtime"

	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/packet"
)

// Read reads what has come, at least one byte, or waits for it. After the last
// byte of a peer that has closed the dialogue or the connection, and after the end by this
// side, it returns io.EOF; after a reset a *geminio.StreamError; where the connection broke,
// or was closed for a reason, an error that matches geminio.ErrConnectionLost;
// os.ErrDeadlineExceeded after the deadline. A deadline is for what may have to wait: once nothing more can come, Read
// returns what there is, and then the end, whatever the deadline.
func (d *Dialogue) Read(p []byte) (n int, err error) {
	d.rmu.Lock()
	for d.reading && d.unreadable() == nil {
		d.waitRead()
	}
	if err := d.unreadable(); err != nil {
		d.rmu.Unlock()
		return 0, err
	}
	if len(p) == 0 {
		d.rmu.Unlock()
		return 0, nil
	}
	d.reading = true
	if d.recv.Len() == 0 && d.rerr == nil {
		n, err = d.await(p)
	}
	for n < len(p) && d.recv.Len() > 0 && !d.unread {
		// Only this goroutine takes bytes out, and what comes is written behind
		// them: no lock is needed to copy.
		c := d.recv.Head().Bytes()
		d.rmu.Unlock()
		k := copy(p[n:], c)
		d.rmu.Lock()
		n += k
		if !d.unread {
			d.recv.Took(k)
		}
	}
	if n > 0 {
		err = nil
	} else if err == nil {
		err = d.rerr
	}
	d.reading = false
	d.wakeRead()
	due := n > 0 && d.rx[packet.ClassRaw].dueFor(packet.ClassRaw, uint64(n))
	if n > 0 && !due {
		d.rx[packet.ClassRaw].release(uint64(n))
	}
	d.rmu.Unlock()
	if due {
		d.credited(n)
	}
	return n, err
}

// unreadable returns os.ErrDeadlineExceeded if the deadline has passed, unless the
// dialogue has ended: then nobody needs to wait. rmu is held.
func (d *Dialogue) unreadable() error {
	if d.rerr != nil {
		return nil
	}
	return d.in.late()
}

// credited releases n bytes when that is worth a Credit frame.
func (d *Dialogue) credited(n int) {
	m := d.m
	m.mu.Lock()
	due := d.releaseWindow(packet.ClassRaw, uint64(n))
	m.mu.Unlock()
	if due {
		m.c.Push(nil, false)
	}
}

// await offers p to the reading goroutine and waits until it has put something
// there, or the end or the deadline come. rmu is held, but not throughout.
func (d *Dialogue) await(p []byte) (int, error) {
	in := d.receiver()
	in.dst, in.n = p, 0
	for in.lent || in.dst != nil && d.rerr == nil && in.late() == nil {
		d.waitRead()
	}
	n := in.n
	in.dst, in.n = nil, 0
	return n, d.unreadable()
}

// endAwait wakes the Read that waits in await. rmu is held.
func (d *Dialogue) endAwait() {
	d.in.dst = nil
	d.wakeRead()
}

// WriteTo implements io.WriterTo: it writes what comes to w until the end, with
// a buffer that is as large as a frame and no other copy.
func (d *Dialogue) WriteTo(w io.Writer) (total int64, err error) {
	if w == nil {
		return 0, nilarg.New("write to", "writer")
	}
	buf := make([]byte, copyBuffer)
	for {
		n, err := d.Read(buf)
		if n > 0 {
			k, werr := w.Write(buf[:n])
			total += int64(k)
			if werr == nil && k < n {
				werr = io.ErrShortWrite
			}
			if werr != nil {
				return total, werr
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// ReadFrom implements io.ReaderFrom: it sends what it reads from r until the end.
func (d *Dialogue) ReadFrom(r io.Reader) (total int64, err error) {
	if r == nil {
		return 0, nilarg.New("read from", "reader")
	}
	buf := make([]byte, copyBuffer)
	for {
		n, rerr := r.Read(buf)
		if n > 0 {
			k, err := d.Write(buf[:n])
			total += int64(k)
			if err != nil {
				return total, err
			}
		}
		if rerr == io.EOF {
			return total, nil
		}
		if rerr != nil {
			return total, rerr
		}
	}
}

// copyBuffer is the size of the buffers of WriteTo and ReadFrom.
const copyBuffer = 128 << 10

// dataSink takes the payload of a Data frame: into the buffer of a waiting Read,
// or else into the dialogue's queue. The reading goroutine owns it.
type dataSink struct {
	m     *Mux
	d     *Dialogue
	where sinkPlace // of the present loan
}

// worthYielding is for how many bytes it is worth letting their reader run first, so
// that they need not be copied.
const worthYielding = 16 << 10

type sinkPlace uint8

const (
	sinkQueue sinkPlace = iota // d.recv
	sinkRead                   // the buffer of a waiting Read
	sinkTrash                  // nobody wants it
)

// Space implements conn.Sink.
func (s *dataSink) Space(n int) []byte {
	d := s.d
	d.rmu.Lock()
	defer d.rmu.Unlock()
	if n >= worthYielding && d.in != nil && d.in.dst == nil && d.recv.Len() == 0 {
		// Whose buffer was just filled is likely to come back with it.
		d.rmu.Unlock()
		runtime.Gosched()
		d.rmu.Lock()
	}
	if d.deaf {
		s.where = sinkTrash
		return s.m.trash(n)
	}
	if in := d.in; in.waits() && d.recv.Len() == 0 {
		s.where = sinkRead
		in.lent = true
		return in.dst[in.n:min(len(in.dst), in.n+n)]
	}
	s.where = sinkQueue
	space := d.recv.Lend(n)
	return space[:min(len(space), n)]
}

// Received implements conn.Sink.
func (s *dataSink) Received(n int) {
	d := s.d
	if s.where == sinkTrash {
		return
	}
	d.rmu.Lock()
	defer d.rmu.Unlock()
	if s.where == sinkQueue {
		d.recv.Wrote(n)
		if n > 0 && d.in.waits() {
			d.endAwait()
		}
		return
	}
	in := d.in
	in.lent = false
	in.n += n
	switch {
	case in.n == len(in.dst) || d.rerr != nil || in.late() != nil:
		d.endAwait()
	case in.n > 0:
		s.m.pendingReader = d
	}
}

// trash returns memory that may be overwritten.
func (m *Mux) trash(n int) []byte {
	if m.discardBuf == nil {
		m.discardBuf = make([]byte, 4<<10)
	}
	return m.discardBuf[:min(n, len(m.discardBuf))]
}

// wakePending wakes the Read that has got bytes and waits for more only because
// more seemed to be at hand. The reading goroutine calls it before it waits and
// before it turns to anything else.
func (m *Mux) wakePending() {
	if d := m.pendingReader; d != nil {
		m.pendingReader = nil
		d.rmu.Lock()
		if d.in.n > 0 {
			d.endAwait()
		}
		d.rmu.Unlock()
	}
}
