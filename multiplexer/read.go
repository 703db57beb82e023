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
	h := &d.recv
	h.mu.Lock()
	for h.reading && h.readable() == nil {
		h.wait()
	}
	if err := h.readable(); err != nil {
		h.mu.Unlock()
		return 0, err
	}
	if len(p) == 0 {
		h.mu.Unlock()
		return 0, nil
	}
	h.reading = true
	if h.buf.Len() == 0 && h.err == nil {
		n, err = h.await(p)
	}
	for n < len(p) && h.buf.Len() > 0 && !h.state.stopped() {
		// The lock is not needed to copy: only this goroutine takes bytes out, and the
		// reading goroutine adds bytes behind them.
		c := h.buf.Head().Bytes()
		h.mu.Unlock()
		k := copy(p[n:], c)
		h.mu.Lock()
		n += k
		if !h.state.stopped() {
			h.buf.Took(k)
		}
	}
	if n > 0 {
		err = nil
	} else if err == nil {
		err = h.err
	}
	h.reading = false
	h.wake()
	raw := &h.rx[packet.ClassRaw]
	due := n > 0 && raw.dueFor(packet.ClassRaw, uint64(n))
	if n > 0 && !due {
		raw.release(uint64(n))
	}
	h.mu.Unlock()
	if due {
		d.credited(n)
	}
	return n, err
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

// await offers p to the reading goroutine and waits until that has filled a part of p, the
// half has ended or the deadline has passed. It releases h.mu while it waits.
func (h *recvHalf) await(p []byte) (int, error) {
	r := h.makeReaders()
	r.dst, r.n = p, 0
	for r.lent || r.dst != nil && h.err == nil && h.deadlineErr() == nil {
		h.wait()
	}
	n := r.n
	r.dst, r.n = nil, 0
	return n, h.readable()
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

// sinkPlace is where the payload of a Data frame goes.
type sinkPlace uint8

const (
	sinkQueue   sinkPlace = iota // recvHalf.buf
	sinkRead                     // the buffer of a Read that waits
	sinkDiscard                  // Mux.discardBuf: nothing reads it
)

// Space implements conn.Sink.
func (s *dataSink) Space(n int) []byte {
	h := &s.d.recv
	h.mu.Lock()
	defer h.mu.Unlock()
	if n >= worthYielding && h.readers != nil && h.readers.dst == nil && h.buf.Len() == 0 {
		// The reader whose buffer was just filled is likely to come back with it.
		h.mu.Unlock()
		runtime.Gosched()
		h.mu.Lock()
	}
	if h.state != recvOpen {
		s.where = sinkDiscard
		return s.m.discardSpace(n)
	}
	if h.waiting() && h.buf.Len() == 0 {
		s.where = sinkRead
		r := h.readers
		r.lent = true
		return r.dst[r.n:min(len(r.dst), r.n+n)]
	}
	s.where = sinkQueue
	space := h.buf.Lend(n)
	return space[:min(len(space), n)]
}

// Received implements conn.Sink.
func (s *dataSink) Received(n int) {
	if s.where == sinkDiscard {
		return
	}
	h := &s.d.recv
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.where == sinkQueue {
		h.buf.Wrote(n)
		if n > 0 && h.waiting() {
			h.endAwait()
		}
		return
	}
	r := h.readers
	r.lent = false
	r.n += n
	switch {
	case r.n == len(r.dst) || h.err != nil || h.deadlineErr() != nil:
		h.endAwait()
	case r.n > 0:
		s.m.pendingReader = s.d
	}
}

// discardSpace returns memory for up to n bytes that nothing reads.
func (m *Mux) discardSpace(n int) []byte {
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
		d.recv.mu.Lock()
		if d.recv.readers.n > 0 {
			d.recv.endAwait()
		}
		d.recv.mu.Unlock()
	}
}
