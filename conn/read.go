package conn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/chunk"
	"github.com/singchia/geminio/packet"
)

const (
	// spill is how much is read beyond the end of a large payload, in the hope of
	// the next header.
	spill = 1 << 10
	// direct is the shortest rest of a payload that is worth reading straight to
	// where it belongs.
	direct = 4 << 10
	// bulkFrom is from what length a frame is likely to be followed by another of
	// its kind, of which only the header is wanted in the read buffer.
	bulkFrom = 16 << 10
	// maxPings is how many heartbeats the peer may send in a second.
	maxPings = 250
)

// Sink takes the payload of one frame, piece by piece.
type Sink interface {
	// Space lends at least one and at most n bytes to write into.
	Space(n int) []byte
	// Filled ends the loan; its first n bytes were written.
	Filled(n int)
}

// Run reads frames until the connection ends, and gives the upper layer its own.
// The goroutine that calls it is the reading goroutine.
func (c *Conn) Run() {
	for {
		h, err := c.readFrame()
		if err == nil {
			err = c.upper.Frame(h)
		}
		if err != nil {
			c.fail(err)
			if c.rb != nil { // whoever still refers to c need not keep it
				c.rb.Free()
				c.rb = nil
			}
			return
		}
	}
}

// readFrame returns the header of the next frame that is the upper layer's,
// skipping what is left of the one before.
func (c *Conn) readFrame() (packet.Header, error) {
	for {
		if err := c.skip(); err != nil {
			return packet.Header{}, err
		}
		if c.rb == nil || c.rb.Len() == 0 {
			if err := c.io.readNext(); err != nil {
				return packet.Header{}, err
			}
		}
		if err := c.need(packet.HeaderLen); err != nil {
			return packet.Header{}, err
		}
		h, err := packet.ParseHeader(c.rb.Bytes(), c.cfg.Settings.MaxFrame)
		if err != nil {
			return h, err
		}
		c.begin(h)
		switch {
		case h.Type < packet.TypeCredit:
			if err := c.control(h); err != nil {
				return h, err
			}
		case c.wanted(h):
			return h, nil
		}
	}
}

// takeWhole gives the upper layer the frames that stand in the read buffer as a
// whole. It stops at one that is not, or that is not the upper layer's: readFrame
// goes on from there.
func (c *Conn) takeWhole() error {
	for c.rb.Len() >= packet.HeaderLen {
		h, err := packet.ParseHeader(c.rb.Bytes(), c.cfg.Settings.MaxFrame)
		if err != nil || h.Type < packet.TypeCredit || c.rb.Len() < packet.HeaderLen+int(h.Length) {
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
	return nil
}

// begin takes the header of a frame, which stands in the read buffer.
func (c *Conn) begin(h packet.Header) {
	c.rb.Took(packet.HeaderLen)
	c.left = int(h.Length)
	c.packetDispatched = c.packetDispatched || h.Type.IsPacket()
	c.bulk = h.Length >= bulkFrom
	if !c.workSeen && !isCeremony(h.Type) {
		c.workSeen = true
		c.worked.Store(true)
	}
}

// isCeremony tells whether frames of a type are sent at the beginning and the end of
// every connection, also of one that is good for nothing.
func isCeremony(t packet.Type) bool {
	switch t {
	case packet.TypeRegister, packet.TypeRegistered, packet.TypeGoAway, packet.TypeClose:
		return true
	}
	return false
}

// wanted tells whether a frame is for the upper layer.
func (c *Conn) wanted(h packet.Header) bool { return h.Type.Known() && c.State() < Closing }

// fail ends the connection after an error of reading or, if it is a *packet.Error,
// after a violation of the wire. The reading goroutine calls it last.
func (c *Conn) fail(err error) {
	var bad *packet.Error
	switch {
	case err == errClosed:
		// The peer has closed in an orderly way: c.close was called.
	case errors.As(err, &bad):
		c.violation(err)
	case errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed):
		c.abort(io.ErrUnexpectedEOF)
	default:
		c.abort(err)
	}
}

// errClosed ends the reading after the peer's Close frame.
var errClosed = errors.New("closed by peer")

// violation closes the connection because the peer broke a rule of the wire,
// and tells it which. What the peer still sends is read and thrown away
// meanwhile, lest the Close frame be lost to a reset.
func (c *Conn) violation(err error) {
	err = fmt.Errorf("%w: %w", geminio.ErrProtocol, err)
	c.cfg.Log.Warn("closing the connection", "client", c.clientID, "err", err)
	c.Close(err, packet.Reason{Code: uint32(geminio.CodeProtocol), Text: err.Error()})
	for {
		if c.rb != nil {
			c.rb.Took(c.rb.Len())
		}
		if c.io.readMore() != nil {
			c.abort(err)
			return
		}
	}
}

// control handles the connection's own frames.
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
	case packet.TypeGoAway:
		n, err := packet.ParseReason(h.Type, p)
		if err != nil {
			return err
		}
		c.mu.Lock()
		if c.State() < Closing {
			c.setState(Draining)
		}
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

func (c *Conn) onPing(value uint64) error {
	now := c.Now()
	if now >= c.pingCountEnd {
		c.pingCount, c.pingCountEnd = 0, now+time.Second
	}
	if c.pingCount++; c.pingCount > maxPings {
		return &packet.Error{What: "ping", Reason: fmt.Sprintf("more than %d in a second", maxPings)}
	}
	c.mu.Lock()
	c.pongValue, c.pongDue = value, true
	c.mu.Unlock()
	c.upper.OnPing()
	c.Kick()
	return nil
}

func (c *Conn) onPong(value uint64) {
	c.mu.Lock()
	if !c.pingSent || value > c.lastPing {
		c.mu.Unlock()
		return // not an answer to any Ping of ours
	}
	c.probing = false
	acked := c.goAwayAckPending && value >= c.goAwayPing
	c.goAwayAckPending = c.goAwayAckPending && !acked
	c.mu.Unlock()
	if acked {
		c.upper.OnGoAwayAcked()
	}
	took := max(c.Now()-time.Duration(value), 1) // a coarse clock may not have moved
	if old := c.RTT(); old == 0 || took < old {
		c.rtt.Store(int64(took))
	}
}

// Payload returns the rest of the present frame's payload, which is valid until
// the next call of a reading method.
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

// Peek returns the next n bytes of the present frame's payload, which has at
// least as many, without taking them.
func (c *Conn) Peek(n int) ([]byte, error) {
	if err := c.need(n); err != nil {
		return nil, err
	}
	return c.rb.Bytes()[:n:n], nil
}

// Skip takes the next n bytes, which Peek has shown.
func (c *Conn) Skip(n int) {
	c.rb.Took(n)
	c.left -= n
}

// Buffered tells whether the rest of the present frame's payload has been read
// already, so that Payload costs nothing.
func (c *Conn) Buffered() bool {
	return c.left == 0 || c.rb != nil && c.rb.Len() >= c.left
}

// Left returns how many bytes of the present frame's payload are still to be
// taken.
func (c *Conn) Left() int { return c.left }

// ReadPayload moves the rest of the present frame's payload to s, reading large
// rests straight into the space that s lends. It never waits while it holds a
// loan.
func (c *Conn) ReadPayload(s Sink) error {
	for c.left > 0 {
		if c.rb != nil && c.rb.Len() > 0 {
			n := copy(s.Space(c.left), c.rb.Bytes()[:min(c.left, c.rb.Len())])
			s.Filled(n)
			c.Skip(n)
			continue
		}
		var err error
		if c.left >= direct {
			err = c.io.readSink(s)
		} else {
			err = c.io.readMore()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// skip throws the rest of the present frame away.
func (c *Conn) skip() error {
	for c.left > 0 {
		if c.rb == nil || c.rb.Len() == 0 {
			if err := c.io.readMore(); err != nil {
				return err
			}
		}
		c.Skip(min(c.left, c.rb.Len()))
	}
	return nil
}

// need reads until at least n bytes stand in the read buffer.
func (c *Conn) need(n int) error {
	for c.rb == nil || c.rb.Len() < n {
		if c.rb != nil && len(c.rb.Space()) < n-c.rb.Len() {
			c.rb.Compact()
		}
		if err := c.io.readMore(); err != nil {
			return err
		}
	}
	return nil
}

// buffer returns the space to read into.
func (c *Conn) buffer() []byte {
	if c.rb == nil {
		c.rb = chunk.Get(chunk.MaxSize)
	} else if c.rb.Len() == 0 {
		c.rb.Compact()
	}
	return c.rb.Space()
}

// rest is called before waiting for the transport.
func (c *Conn) beforeWait() {
	if c.rb != nil && c.rb.Len() == 0 {
		c.rb.Free()
		c.rb = nil
	}
	if c.State() < Closing {
		c.upper.Idle()
	}
}

// heard is called when bytes have come. It returns the time.
func (c *Conn) noteRead() time.Duration {
	now := c.Now()
	c.lastRead.Store(int64(now))
	return now
}

// sliceSink fills a slice.
type sliceSink struct {
	p []byte
	n int
}

func (s *sliceSink) Space(n int) []byte { return s.p[s.n : s.n+n] }
func (s *sliceSink) Filled(n int)       { s.n += n }
