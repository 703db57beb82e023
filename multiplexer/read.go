package multiplexer

// This file has Read, and the sink that moves the payloads of Data frames to Reads or to the
// queue of received bytes.

import (
	"io"
	"runtime"

	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/packet"
)

// Read reads at least one byte that has arrived, and waits if there is none. When no bytes
// are left and none can arrive, it returns
//
//   - io.EOF if the peer has ended its raw bytes or has closed the dialogue or the
//     connection, or if this side has closed or reset the dialogue,
//   - a *geminio.StreamError if the peer has reset the dialogue,
//   - an error that matches geminio.ErrConnectionLost if the connection broke or was closed
//     for a reason.
//
// As long as bytes can arrive, Read returns os.ErrDeadlineExceeded after the deadline, also
// if there are bytes that it could return.
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
		d.releaseRead(n)
	}
	return n, err
}

// releaseRead releases n bytes that Read has returned, and has a Credit frame sent if the
// peer can be given enough.
func (d *Dialogue) releaseRead(n int) {
	m := d.m
	m.mu.Lock()
	due := d.releaseWindow(packet.ClassRaw, uint64(n))
	m.mu.Unlock()
	if due {
		m.c.Push(nil, false)
	}
}

// await offers p to the reading goroutine. It waits until the reading goroutine has filled a
// part of p, the half has ended or the deadline has passed. h.mu is held, but not while it
// waits.
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

// WriteTo implements io.WriterTo. It writes raw bytes to w as they arrive, until Read returns
// io.EOF. Its error is that of w or of Read; it is nil at io.EOF.
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

// ReadFrom implements io.ReaderFrom. It writes the bytes of r, until r returns io.EOF.
// Its error is that of r or of Write; it is nil at io.EOF.
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

// copyBuffer is the size of the buffers of WriteTo and ReadFrom, bytes.
const copyBuffer = 128 << 10

// dataSink receives the payload of one Data frame after the other, as conn.Sink. The payload
// goes into the buffer of a Read that waits, or else into recvHalf.buf. The reading goroutine
// owns it.
type dataSink struct {
	d       *Dialogue // the dialogue of the present frame
	where   sinkPlace // the place of the last result of Space
	pending *Dialogue // its Read has bytes and was not woken yet; nil: none
	discard []byte    // memory for bytes that are discarded
}

// worthYielding is the number of bytes from which the reading goroutine lets their reader run
// first: if the reader calls Read again meanwhile, they go into its buffer without a copy.
const worthYielding = 16 << 10

// sinkPlace is where the payload of a Data frame goes.
type sinkPlace uint8

const (
	sinkQueue   sinkPlace = iota // recvHalf.buf
	sinkRead                     // the buffer of a Read that waits
	sinkDiscard                  // dataSink.discard
)

// Space implements conn.Sink. It returns memory for up to n bytes of the payload.
func (s *dataSink) Space(n int) []byte {
	h := &s.d.recv
	h.mu.Lock()
	defer h.mu.Unlock()
	if n >= worthYielding && h.readers != nil && h.readers.dst == nil && h.buf.Len() == 0 {
		// The reader whose buffer was just filled is likely to call Read again.
		h.mu.Unlock()
		runtime.Gosched()
		h.mu.Lock()
	}
	if h.state != recvOpen {
		s.where = sinkDiscard
		return s.discardSpace(n)
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

// Received implements conn.Sink. The first n bytes of the memory from Space are filled.
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
		s.pending = s.d
	}
}

// discardSpace returns memory for up to n bytes that are discarded.
func (s *dataSink) discardSpace(n int) []byte {
	if s.discard == nil {
		s.discard = make([]byte, 4<<10)
	}
	return s.discard[:min(n, len(s.discard))]
}

// wakePending wakes the Read of the pending reader, whose buffer is filled in part: it was
// not woken at once, because more bytes were likely to be at hand. The reading goroutine
// calls wakePending before it waits, and before it handles anything but a Data frame of the
// same dialogue.
func (s *dataSink) wakePending() {
	if d := s.pending; d != nil {
		s.pending = nil
		d.recv.mu.Lock()
		if d.recv.readers.n > 0 {
			d.recv.endAwait()
		}
		d.recv.mu.Unlock()
	}
}
