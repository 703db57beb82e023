package conn

// This file reads frames from the read buffer and passes them to the layer above. The reading
// goroutine runs all of it.

import (
	"errors"
	"io"
	"net"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/chunk"
	"github.com/singchia/geminio/packet"
)

const (
	// spill is how many bytes are read beyond the end of a large payload. They are
	// likely to contain the next header.
	spill = 1 << 10
	// direct is the shortest rest of a payload that is read straight into the Sink.
	direct = 4 << 10
	// bulkFrom is the shortest payload that sets the hint bulk; see the package comment.
	bulkFrom = 16 << 10
)

// Sink receives the payload of one frame, piece by piece.
type Sink interface {
	// Space returns at least one and at most n bytes to write into.
	Space(n int) []byte
	// Received reports that the first n bytes of the last Space have arrived.
	Received(n int)
}

// Run reads frames until the connection ends, and passes those of the layer above to
// its Frame method. The goroutine that calls Run is the reading goroutine. If a function of the user
// that must not do so ends the goroutine, the connection ends too.
//
// If Run returns true, the connection has not ended, and the caller calls Run again in a new goroutine:
// nothing has arrived for a while, and the present goroutine has a large stack.
func (c *Conn) Run() (again bool) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			panic(v) // a fault of the library, which may hold locks that abort takes
		}
		c.abort(errReaderExited)
		c.readerEnded()
	}()
	for {
		h, err := c.readFrame()
		if err == nil {
			err = c.upper.Frame(h)
		}
		if err == errRenew {
			returned = true
			return true
		}
		if err != nil {
			c.received.publish()
			c.fail(err)
			c.readerEnded()
			if c.rb != nil { // c may be referenced for long; the buffer need not be
				c.rb.Free()
				c.rb = nil
			}
			returned = true
			return false
		}
	}
}

// errRenew has Run return true.
var errRenew = errors.New("the reading goroutine is to be replaced")

// errReaderExited ends a connection whose reading goroutine was ended.
var errReaderExited = errors.New("a function of the user ended the goroutine that reads the connection")

// readFrame returns the header of the next frame for the layer above. It skips the
// rest of the present frame.
func (c *Conn) readFrame() (packet.Header, error) {
	for {
		if err := c.skip(); err != nil {
			return packet.Header{}, err
		}
		if c.rb == nil || c.rb.Len() == 0 {
			if err := c.readNext(); err != nil {
				return packet.Header{}, err
			}
		}
		if err := c.need(packet.HeaderLen); err != nil {
			return packet.Header{}, err
		}
		h, err := packet.ParseHeader(c.rb.Bytes(), c.base.Settings.MaxFrame)
		if err != nil {
			return h, err
		}
		if c.session != nil && h.Type.IsLink() && h.Length == packet.PingLen && c.rb.Len() < packet.HeaderLen+packet.PingLen {
			// A link frame is lost with its link, so it is taken as a whole. The next
			// link may have other bytes here.
			c.makeRoom(packet.HeaderLen + packet.PingLen)
			if err := c.readMore(); err != nil {
				return h, err
			}
			continue
		}
		c.begin(h)
		switch {
		case h.Type.IsControl():
			if err := c.control(h); err != nil {
				return h, err
			}
		case c.wanted(h):
			return h, nil
		}
	}
}

// takeWhole passes complete frames in the read buffer to the layer above. It stops
// at a frame that is incomplete or belongs to this package; readFrame handles that one.
func (c *Conn) takeWhole() error {
	for c.rb.Len() >= packet.HeaderLen {
		h, err := packet.ParseHeader(c.rb.Bytes(), c.base.Settings.MaxFrame)
		if err != nil || h.Type.IsControl() || c.rb.Len() < packet.HeaderLen+int(h.Length) {
			return nil
		}
		c.begin(h)
		if c.wanted(h) {
			if err := c.upper.Frame(h); err != nil {
				return err
			}
		}
		c.Skip(c.left)
	}
	if c.rb.Len() == 0 {
		c.noteReceived()
	}
	return nil
}

// begin takes the header of a frame off the read buffer.
func (c *Conn) begin(h packet.Header) {
	c.rb.Took(packet.HeaderLen)
	c.left = int(h.Length)
	c.received.add(h)
	if c.session != nil && !h.Type.IsLink() {
		c.session.received += packet.HeaderLen + uint64(h.Length)
	}
	c.packetDispatched = c.packetDispatched || h.Type.IsPacket()
	c.bulk = h.Length >= bulkFrom
	if !c.workSeen && !isCeremony(h.Type) {
		c.workSeen = true
		c.worked.Store(true)
	}
}

// isCeremony reports whether every connection exchanges frames of type t when it
// begins or ends. Such frames do not prove that the connection works.
func isCeremony(t packet.Type) bool {
	switch t {
	case packet.TypeRegister, packet.TypeRegistered, packet.TypeGoAway, packet.TypeClose:
		return true
	}
	return false
}

// wanted reports whether a frame is passed to the layer above.
func (c *Conn) wanted(h packet.Header) bool { return h.Type.Known() && c.State() < Closing }

// fail ends the connection after a read error or, if err is a *packet.Error, after a
// violation of the wire. It is the last call of the reading goroutine.
func (c *Conn) fail(err error) {
	var bad *packet.Error
	switch {
	case err == errClosed:
		// The peer has sent Close, and c.close was called.
	case errors.As(err, &bad):
		c.violation(err)
	case errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed):
		c.abort(io.ErrUnexpectedEOF)
	default:
		c.abort(err)
	}
}

// errClosed ends Run after the peer's Close frame.
var errClosed = errors.New("closed by peer")

// control handles the frames of this package.
func (c *Conn) control(h packet.Header) error {
	p, err := c.Payload()
	if err != nil {
		return err
	}
	switch h.Type {
	case packet.TypePing:
		v, err := packet.ParsePing(h.Type, p)
		if err != nil {
			return err
		}
		return c.onPing(v)
	case packet.TypePong:
		v, err := packet.ParsePing(h.Type, p)
		if err != nil {
			return err
		}
		c.onPong(v)
	case packet.TypeReceived:
		v, err := packet.ParsePing(h.Type, p)
		if err != nil {
			return err
		}
		return c.onReceived(v)
	case packet.TypeGoAway:
		n, err := packet.ParseReason(h.Type, p)
		if err != nil {
			return err
		}
		c.mu.Lock()
		if c.State() < Closing {
			c.setState(Draining)
		}
		c.pongHeld, c.peerGoAway = true, true
		c.mu.Unlock()
		c.upper.GoAway(n)
	case packet.TypeClose:
		n, err := packet.ParseReason(h.Type, p)
		if err != nil {
			return err
		}
		cause := io.EOF
		if n.Code != uint32(geminio.CodeOK) {
			cause = &geminio.RemoteError{Code: geminio.Code(n.Code), Text: n.Text}
		}
		c.close(cause, packet.Reason{}, true)
		return errClosed
	}
	return nil
}

// Payload returns the rest of the present frame's payload. The slice is valid until the
// next call of a reading method.
func (c *Conn) Payload() ([]byte, error) {
	n := c.left
	if n == 0 {
		return nil, nil
	}
	if n > chunk.MaxSize {
		s := &sliceSink{p: make([]byte, n)}
		err := c.ReadPayload(s)
		return s.p, err
	}
	if err := c.need(n); err != nil {
		return nil, err
	}
	p := c.rb.Bytes()[:n:n]
	c.rb.Took(n)
	c.left = 0
	return p, nil
}

// Peek returns the next n bytes of the present frame's payload without taking them.
// The payload must have at least n more bytes.
func (c *Conn) Peek(n int) ([]byte, error) {
	if err := c.need(n); err != nil {
		return nil, err
	}
	return c.rb.Bytes()[:n:n], nil
}

// Skip takes the next n bytes, which Peek has returned.
func (c *Conn) Skip(n int) {
	c.rb.Took(n)
	c.left -= n
}

// Buffered reports whether the rest of the present frame's payload is in the read
// buffer, so that Payload does not wait.
func (c *Conn) Buffered() bool {
	return c.left == 0 || c.rb != nil && c.rb.Len() >= c.left
}

// Left returns how many bytes of the present frame's payload were not yet taken.
func (c *Conn) Left() int { return c.left }

// ReadPayload moves the rest of the present frame's payload to s. It reads long rests
// straight into the space of s. It does not wait between Space and Received.
func (c *Conn) ReadPayload(s Sink) error {
	for c.left > 0 {
		if c.rb != nil && c.rb.Len() > 0 {
			n := copy(s.Space(c.left), c.rb.Bytes()[:min(c.left, c.rb.Len())])
			s.Received(n)
			c.Skip(n)
			continue
		}
		var err error
		if c.left >= direct {
			err = c.readSink(s)
		} else {
			err = c.readMore()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// skip discards the rest of the present frame.
func (c *Conn) skip() error {
	for c.left > 0 {
		if c.rb == nil || c.rb.Len() == 0 {
			if err := c.readMore(); err != nil {
				return err
			}
			continue // a new link may have brought nothing yet
		}
		c.Skip(min(c.left, c.rb.Len()))
	}
	return nil
}

// need reads until the read buffer has at least n bytes.
func (c *Conn) need(n int) error {
	for c.rb == nil || c.rb.Len() < n {
		c.makeRoom(n)
		if err := c.readMore(); err != nil {
			return err
		}
	}
	return nil
}

// makeRoom makes room for n bytes in the read buffer, including the bytes that are
// in it.
func (c *Conn) makeRoom(n int) {
	if c.rb != nil && len(c.rb.Space()) < n-c.rb.Len() {
		c.rb.Compact()
	}
}

// buffer returns the free space of the read buffer.
func (c *Conn) buffer() []byte {
	if c.rb == nil {
		c.rb = chunk.Get(chunk.MaxSize)
	} else if c.rb.Len() == 0 {
		c.rb.Compact()
	}
	return c.rb.Space()
}

// beforeWait frees an empty read buffer before the reading goroutine waits.
func (c *Conn) beforeWait() {
	if c.rb != nil && c.rb.Len() == 0 {
		c.rb.Free()
		c.rb = nil
	}
	if c.State() < Closing {
		c.upper.Idle()
	}
}

// noteRead records that bytes have arrived.
func (c *Conn) noteRead() { c.lastRead.Store(int64(c.Now())) }

// sliceSink fills a slice.
type sliceSink struct {
	p []byte
	n int
}

func (s *sliceSink) Space(n int) []byte { return s.p[s.n : s.n+n] }
func (s *sliceSink) Received(n int)     { s.n += n }
