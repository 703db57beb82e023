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

const (
	// readBuffer is the buffer for headers and small packets of the peer.
	readBuffer = 4 << 10
	// maxNames is what the names, texts and numbers of a packet may have beside its
	// content, in bytes.
	maxNames = 512 << 10
	// maxPiece is how many raw bytes of the peer are read at once.
	maxPiece = 16 << 10
)

// Transport is the net.Conn over which a Conn speaks wire 2, while a peer at the other
// net.Conn speaks wire 1. Two goroutines read from the peer and write to it; no lock is
// held meanwhile. It has no deadlines.
type Transport struct {
	// Read-only.
	nc    net.Conn // the peer's
	clock clock.Clock
	most  uint32 // the longest body with content that is looked at
	limit uint32 // and the longest that is skipped

	mu       sync.Mutex
	tr       *Translator
	partial  []byte      // of a frame of the Conn
	timer    clock.Timer // calls tick
	at       time.Time   // when it does
	closed   bool        // Close was called
	readable *sync.Cond  // on mu: the Conn waits for frames
	writable *sync.Cond  // on mu: the writer waits for packets
	reading  *sync.Cond  // on mu: the reader waits until packets may be read
}

var _ net.Conn = (*Transport)(nil)

// NewTransport starts a translator between a Conn and the peer at nc, which belongs to
// the Transport from now on. Close ends it.
func NewTransport(nc net.Conn, cfg Config, c clock.Clock) *Transport {
	now := time.Now()
	content := min(uint64(cfg.Offer.MaxMessage)/3*4+maxNames, 1<<31)
	t := &Transport{
		nc: nc, clock: c, tr: NewTranslator(cfg, now),
		most: uint32(content), limit: uint32(max(content, MaxBody)),
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

// tick has the translator do what is due.
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

// Read gives the Conn frames. Its error is io.EOF after an orderly end, a *packet.Error
// if the peer has broken the rules of wire 1, geminio.ErrSilent, or that of the peer's
// net.Conn.
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

// LocalAddr returns that of the peer's net.Conn.
func (t *Transport) LocalAddr() net.Addr { return t.nc.LocalAddr() }

// RemoteAddr returns that of the peer's net.Conn.
func (t *Transport) RemoteAddr() net.Addr { return t.nc.RemoteAddr() }

// SetDeadline returns os.ErrNoDeadline.
func (t *Transport) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline returns os.ErrNoDeadline.
func (t *Transport) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline returns os.ErrNoDeadline.
func (t *Transport) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// do runs f, which changes the translator.
func (t *Transport) do(f func(now time.Time)) {
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
		t.do(func(now time.Time) {
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
	r := bufio.NewReaderSize(heard{t}, readBuffer)
	for t.mayRead() {
		err := t.readPacket(r)
		if err == nil {
			continue
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF // without a DisConn
		}
		t.do(func(now time.Time) {
			if _, bad := err.(*packet.Error); bad {
				t.tr.fail(err)
			} else {
				t.tr.Broken(now, err)
			}
		})
		return
	}
}

// mayRead waits until packets are to be read. It reports false at the end.
func (t *Transport) mayRead() bool {
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

// heard reads from the peer, and says so to the translator.
type heard struct{ t *Transport }

func (h heard) Read(p []byte) (int, error) {
	n, err := h.t.nc.Read(p)
	if n > 0 {
		h.t.mu.Lock()
		h.t.tr.Heard(time.Now())
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
	most := uint32(maxNames)
	if layouts[h.Type].tail == tailContent {
		most = t.most
	}
	if h.Length > most {
		return t.skip(r, h)
	}
	body, err := readBody(r, int(h.Length))
	if err != nil {
		return err
	}
	p, err := Parse(h, body)
	if err == nil {
		t.do(func(now time.Time) { err = t.tr.Packet(now, p) })
	}
	return err
}

// readRaw reads a packet of raw bytes, piece by piece: it may have any length.
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
	for left > 0 && t.mayRead() {
		n, err := r.Read(buf[:min(left, int64(len(buf)))])
		if err != nil {
			return err
		}
		t.do(func(now time.Time) { t.tr.Raw(now, p.Session, buf[:n]) })
		left -= int64(n)
	}
	return nil
}

// skip reads a packet that is too long, without keeping it.
func (t *Transport) skip(r *bufio.Reader, h Header) error {
	l := layouts[h.Type]
	if h.Length > t.limit || !answersSize(h.Type) {
		return &packet.Error{What: l.name, Reason: fmt.Sprintf("length %d exceeds %d", h.Length, t.limit), Err: packet.ErrPacketTooLarge}
	}
	fixed := make([]byte, l.fixed)
	if _, err := io.ReadFull(r, fixed); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, r, int64(h.Length)-int64(l.fixed)); err != nil {
		return err
	}
	t.do(func(now time.Time) { t.tr.TooLarge(now, h, fixed) })
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
