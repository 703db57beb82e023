package wire1

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/singchia/geminio/internal/chunk"
	"github.com/singchia/geminio/internal/clock"
	"github.com/singchia/geminio/packet"
)

// Transport is the net.Conn over which a Conn speaks wire 2 with a peer that speaks wire 1 at
// the other net.Conn. One goroutine reads from the peer and another one writes to it. No lock
// is held during I/O. A Transport has no deadlines.
type Transport struct {
	// These fields are read-only after NewTransport.

	nc         net.Conn // the net.Conn of the peer
	clock      clock.Clock
	maxContent uint32 // the longest body with content that is parsed, bytes
	maxSkipped uint32 // the longest body that is skipped, bytes

	// mu guards the fields below.
	mu sync.Mutex

	tr       *Translator
	partial  []byte      // the beginning of a frame of the Conn
	timer    clock.Timer // calls tick; nil before first use
	at       time.Time   // the time of the timer; zero if it is not set
	closed   bool        // Close was called
	readable *sync.Cond  // signals frames for the Conn
	writable *sync.Cond  // signals packets for the peer
	reading  *sync.Cond  // signals that packets may be read from the peer
}

const (
	// readBuffer is the size of the buffer for headers and small packets of the peer, in
	// bytes.
	readBuffer = 4 << 10
	// maxNames bounds the names, texts and numbers of a packet in addition to its
	// content, in bytes.
	maxNames = 512 << 10
	// maxPiece is the largest number of raw bytes that are read from the peer at once.
	maxPiece = 16 << 10
)

var _ net.Conn = (*Transport)(nil)

// NewTransport returns a Transport between a Conn and the peer at nc, and starts its
// goroutines. The Transport owns nc. Close ends the goroutines.
func NewTransport(nc net.Conn, cfg Config, c clock.Clock) *Transport {
	now := time.Now()
	content := min(uint64(cfg.Offer.MaxMessage)/3*4+maxNames, 1<<31)
	t := &Transport{
		nc: nc, clock: c, tr: NewTranslator(cfg, now),
		maxContent: uint32(content), maxSkipped: uint32(max(content, MaxBody)),
	}
	t.readable, t.writable, t.reading = sync.NewCond(&t.mu), sync.NewCond(&t.mu), sync.NewCond(&t.mu)
	t.mu.Lock()
	t.changed(now)
	t.mu.Unlock()
	go t.readPeer()
	go t.writePeer()
	return t
}

// changed wakes the goroutines that wait for a change, and sets the timer for tick. The
// caller holds t.mu.
func (t *Transport) changed(now time.Time) {
	over := t.closed || t.tr.Err() != nil
	if over || t.tr.frames.Len() > 0 {
		t.readable.Signal()
	}
	if over || t.tr.packets.Len() > 0 {
		t.writable.Signal()
	}
	if over || t.tr.Reading() {
		t.reading.Signal()
	}
	if over {
		if t.timer != nil {
			t.timer.Stop()
		}
		return
	}
	// A timer that fires too early sets itself again.
	if at := t.tr.Wake(); t.at.IsZero() || at.Before(t.at) {
		t.at = at
		if t.timer == nil {
			t.timer = t.clock.AfterFunc(at.Sub(now), t.tick)
		} else {
			t.timer.Reset(at.Sub(now))
		}
	}
}

// tick runs the timeouts of the translator that are due.
func (t *Transport) tick() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.at = time.Time{}
	if !now.Before(t.tr.Wake()) {
		t.tr.Tick(now)
	}
	t.changed(now)
}

// Read reads frames for the Conn. Its error is io.EOF after an orderly end, a *packet.Error if
// the peer has violated wire 1, geminio.ErrSilent, or an error of the net.Conn of the peer.
func (t *Transport) Read(p []byte) (n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		for n < len(p) {
			c := t.tr.frames.Head()
			if c == nil {
				break
			}
			k := copy(p[n:], c.Bytes())
			t.tr.frames.Took(k)
			n += k
		}
		switch {
		case n > 0 || len(p) == 0:
			return n, nil
		case t.closed:
			return 0, net.ErrClosed
		case t.tr.Err() != nil:
			return 0, t.tr.Err()
		}
		t.readable.Wait()
	}
}

// Write passes frames of the Conn to the translator. It never waits, because the Conn has
// credit for them. After the end, Write discards its argument; Read returns the error.
func (t *Transport) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return 0, net.ErrClosed
	}
	b := p
	if len(t.partial) > 0 {
		t.partial = append(t.partial, p...)
		b = t.partial
	}
	now := time.Now()
	for len(b) >= packet.HeaderLen {
		h, err := packet.ParseHeader(b, packet.DefaultMaxFrame)
		n := packet.HeaderLen + int(h.Length)
		if err == nil && len(b) < n {
			break
		}
		if err == nil {
			err = t.tr.Frame(now, h, b[packet.HeaderLen:n])
		}
		if err != nil {
			err = fmt.Errorf("BUG: the translator cannot take what the Conn sends: %w", err)
			t.tr.fail(err)
			t.changed(now)
			return 0, err
		}
		b = b[n:]
	}
	t.partial = append(t.partial[:0], b...)
	t.changed(now)
	return len(p), nil
}

// Close closes the peer's net.Conn, and ends the goroutines of the Transport.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	t.changed(time.Now())
	t.mu.Unlock()
	return t.nc.Close()
}

// NetConn returns the connection beneath the peer's net.Conn, nil if there is none.
func (t *Transport) NetConn() (under net.Conn) {
	if w, ok := t.nc.(interface{ NetConn() net.Conn }); ok {
		under = w.NetConn()
	}
	return under
}

// LocalAddr returns the local address of the peer's net.Conn.
func (t *Transport) LocalAddr() net.Addr { return t.nc.LocalAddr() }

// RemoteAddr returns the remote address of the peer's net.Conn.
func (t *Transport) RemoteAddr() net.Addr { return t.nc.RemoteAddr() }

// SetDeadline returns os.ErrNoDeadline.
func (t *Transport) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline returns os.ErrNoDeadline.
func (t *Transport) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline returns os.ErrNoDeadline.
func (t *Transport) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// update calls f, which changes the translator, with t.mu held.
func (t *Transport) update(f func(now time.Time)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	f(now)
	t.changed(now)
}

// writePeer writes packets to the peer, until the end.
func (t *Transport) writePeer() {
	for {
		t.mu.Lock()
		for t.tr.packets.Len() == 0 && !t.closed && t.tr.Err() == nil {
			t.writable.Wait()
		}
		c := t.tr.packets.Pop()
		t.mu.Unlock()
		if c == nil {
			return
		}
		n, err := t.nc.Write(c.Bytes())
		if err == nil && n < c.Len() {
			err = io.ErrShortWrite
		}
		c.Free()
		t.update(func(now time.Time) {
			t.tr.Sent(now, n)
			if err != nil {
				t.tr.Broken(now, err)
			}
		})
		if err != nil {
			return
		}
	}
}

// readPeer reads packets from the peer, until the end.
func (t *Transport) readPeer() {
	r := bufio.NewReaderSize(receivingReader{t}, readBuffer)
	for t.waitReading() {
		err := t.readPacket(r)
		if err == nil {
			continue
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF // there was no DisConn
		}
		t.update(func(now time.Time) {
			if _, bad := err.(*packet.Error); bad {
				t.tr.fail(err)
			} else {
				t.tr.Broken(now, err)
			}
		})
		return
	}
}

// waitReading waits until packets may be read from the peer. It returns false at the end of the
// connection.
func (t *Transport) waitReading() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		switch {
		case t.closed || t.tr.Err() != nil || t.tr.cause != nil:
			return false
		case t.tr.Reading():
			return true
		}
		t.reading.Wait()
	}
}

// receivingReader reads from the peer and reports it to the translator.
type receivingReader struct{ t *Transport }

// Read implements io.Reader.
func (h receivingReader) Read(p []byte) (int, error) {
	n, err := h.t.nc.Read(p)
	if n > 0 {
		h.t.mu.Lock()
		h.t.tr.Received(time.Now())
		h.t.mu.Unlock()
	}
	return n, err
}

// readPacket reads one packet and passes it to the translator. Its allocations grow with
// the bytes that have arrived, not with the announced length.
func (t *Transport) readPacket(r *bufio.Reader) error {
	var room [HeaderLen]byte
	if _, err := io.ReadFull(r, room[:]); err != nil {
		return err
	}
	h, err := ParseHeader(room[:])
	if err != nil {
		return err
	}
	if h.Type == TypeStream {
		return t.readRaw(r, h)
	}
	limit := uint32(maxNames)
	if layouts[h.Type].tail == tailContent {
		limit = t.maxContent
	}
	if h.Length > limit {
		return t.skip(r, h)
	}
	body, err := readBody(r, int(h.Length))
	if err != nil {
		return err
	}
	p, err := Parse(h, body)
	if err == nil {
		t.update(func(now time.Time) { err = t.tr.Packet(now, p) })
	}
	return err
}

// readRaw reads a packet of raw bytes, which may have any length, in pieces.
func (t *Transport) readRaw(r *bufio.Reader, h Header) error {
	var room [8]byte
	if _, err := io.ReadFull(r, room[:]); err != nil {
		return err
	}
	p := Packet{Type: h.Type}
	p.parseFixed(room[:])
	left := int64(h.Length) - int64(len(room)) // an int may have 32 bits
	c := chunk.Get(int(min(left, maxPiece)))
	defer c.Free()
	buf := c.Space()
	for left > 0 && t.waitReading() {
		n, err := r.Read(buf[:min(left, int64(len(buf)))])
		if err != nil {
			return err
		}
		t.update(func(now time.Time) { t.tr.Raw(now, p.Session, buf[:n]) })
		left -= int64(n)
	}
	return nil
}

// skip reads and discards a packet that is too long.
func (t *Transport) skip(r *bufio.Reader, h Header) error {
	l := layouts[h.Type]
	if h.Length > t.maxSkipped || !answersSize(h.Type) {
		return &packet.Error{What: l.name, Reason: fmt.Sprintf("length %d exceeds %d", h.Length, t.maxSkipped), Err: packet.ErrPacketTooLarge}
	}
	fixed := make([]byte, l.fixed)
	if _, err := io.ReadFull(r, fixed); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, r, int64(h.Length)-int64(l.fixed)); err != nil {
		return err
	}
	t.update(func(now time.Time) { t.tr.TooLarge(now, h, fixed) })
	return nil
}

// answersSize reports whether a packet of type typ that is too long is answered with an
// error. Other packets that are too long end the connection.
func answersSize(typ Type) bool {
	switch typ {
	case TypeSession, TypeMessage, TypeRequest, TypeResponse, TypeRegister:
		return true
	}
	return false
}

// readBody reads n bytes.
func readBody(r io.Reader, n int) ([]byte, error) {
	const first = 64 << 10
	body := make([]byte, min(n, first))
	for read := 0; ; {
		k, err := io.ReadFull(r, body[read:])
		if read += k; err != nil || read == n {
			return body, err
		}
		body = append(body, make([]byte, min(n-read, read))...)
	}
}
