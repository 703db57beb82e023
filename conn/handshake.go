package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/packet"
)

// Client performs the handshake as the client. It closes nc on every error. A refusal
// by the server is a *geminio.RefusedError. Apart from the time that callbacks take,
// Client returns within Config.HandshakeTimeout even if a Read, Write or Close of nc
// does not return; the goroutine that called such a method stays until it returns.
func Client(nc net.Conn, cfg *Config) (*Conn, error) {
	return handshake(nc, cfg, geminio.InitiatorSide, (*Conn).greet)
}

// Server performs the handshake as the server. It closes nc on every error. It returns
// within the same time as Client.
func Server(nc net.Conn, cfg *Config) (*Conn, error) {
	return handshake(nc, cfg, geminio.RecipientSide, (*Conn).welcome)
}

// errOver is the error of an exchange after the handshake has ended.
var errOver = errors.New("the handshake is over")

func handshake(nc net.Conn, cfg *Config, side geminio.Side, do func(*Conn, <-chan struct{}) (online bool, err error)) (*Conn, error) {
	if err := Check(nc); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	c := &Conn{base: cfg.Base, cfg: cfg, side: side, start: time.Now()}
	l := &link{nc: nc, clock: cfg.Clock, log: cfg.Log, closed: make(chan struct{})}
	c.link, c.done = l, l.closed
	c.flusher.clock, c.flusher.run = cfg.Clock, c.flushAll
	c.token.Store(tokenTaken) // until Start
	over := make(chan struct{})
	var once sync.Once
	var why error
	giveUp := func(err error) {
		once.Do(func() {
			why = err
			close(over)
			l.close(0)
		})
	}
	deadline := cfg.Clock.AfterFunc(cfg.HandshakeTimeout, func() {
		giveUp(fmt.Errorf("%w: not done after %v", geminio.ErrHandshakeTimeout, cfg.HandshakeTimeout))
	})
	stop := func() bool { return true }
	if cfg.Context != nil {
		stop = context.AfterFunc(cfg.Context, func() { giveUp(net.ErrClosed) })
	}
	online, err := do(c, over)
	deadline.Stop()
	stop()
	once.Do(func() {}) // from now on, giveUp does nothing
	select {
	case <-over:
		err = why
	default:
	}
	switch err {
	case nil:
		l.lost = func(err error) { c.cut(l, err) }
		if c.wire1 != nil {
			c.translate()
		}
		c.io, c.cfg = newTransport(c, l), nil
		return c, nil
	case ErrResumed:
		return nil, err
	}
	l.close(closeGrace)
	<-l.closed
	c.neverBegin()
	if online && cfg.Offline != nil {
		cfg.Offline(c)
	}
	var refused *geminio.RefusedError
	if errors.As(err, &refused) {
		return nil, err
	}
	return nil, fmt.Errorf("handshake: %w", err)
}

// exchange runs a part of the handshake that uses the transport. It returns when the part
// is done or over is closed. If the transport is of a kind whose Read and Write may not
// return when it is closed, the part runs in a goroutine of its own.
func (c *Conn) exchange(over <-chan struct{}, part func() error) error {
	if c.link.prompt() {
		return part()
	}
	result := make(chan error, 1)
	go func() {
		err := errors.New("transport: runtime.Goexit was called")
		defer func() { result <- err }()
		err = part()
	}()
	select {
	case err := <-result:
		return err
	case <-over:
		return errOver
	}
}

// read reads one handshake packet.
func (c *Conn) read(over <-chan struct{}, server bool) (id uint64, body []byte, err error) {
	r := &patientReader{c.link, c.link.read, over}
	if c.link.prompt() {
		id, body, err = readHandshake(r, server)
	} else {
		id, body, err = c.readElsewhere(r, server)
	}
	if err != nil {
		return 0, nil, malformed(err)
	}
	return id, body, nil
}

// readElsewhere is readHandshake in another goroutine. It returns errOver when r.over is closed.
func (c *Conn) readElsewhere(r *patientReader, server bool) (uint64, []byte, error) {
	type read struct {
		id   uint64
		body []byte
	}
	done := make(chan read, 1)
	err := c.exchange(r.over, func() error {
		id, body, err := readHandshake(r, server)
		done <- read{id, body}
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	got := <-done
	return got.id, got.body, nil
}

// malformed returns the error of a handshake whose peer has sent something other than a handshake packet.
// Errors of the transport are returned as they are.
func malformed(err error) error {
	var bad *packet.Error
	if errors.As(err, &bad) {
		return fmt.Errorf("%w: %w", geminio.ErrProtocol, err)
	}
	return err
}

// send writes one handshake packet.
func (c *Conn) send(over <-chan struct{}, b []byte) error {
	return c.exchange(over, func() error { return c.link.write(b) })
}

// emptyPause is how long patientReader waits after io.ErrNoProgress.
const emptyPause = 5 * time.Millisecond

// patientReader reads from a link until over is closed. It tries again, after a pause,
// when the link has returned io.ErrNoProgress.
type patientReader struct {
	link *link
	read func(p []byte) (int, error) // of the link
	over <-chan struct{}
}

// Read implements io.Reader.
func (r *patientReader) Read(p []byte) (int, error) {
	for {
		n, err := r.read(p)
		if err != io.ErrNoProgress {
			return n, err
		}
		select {
		case <-r.over:
			return 0, err
		case <-r.link.closed:
			return 0, net.ErrClosed
		case <-time.After(emptyPause):
		}
	}
}

// greet performs the client's part of the handshake.
func (c *Conn) greet(over <-chan struct{}) (online bool, err error) {
	cfg := c.cfg
	offer := cfg.offer()
	attempt, err := c.beginResume(over)
	if err != nil {
		return false, err
	}
	defer attempt.giveUp()
	var methods []string
	if cfg.Methods != nil {
		methods = cfg.offeredMethods()
	}
	hello, err := packet.AppendConn(nil, packet.Conn{
		PacketID: cfg.PacketID, ClientID: cfg.ClientID, HeartbeatExponent: beatExponent(cfg.Heartbeat),
		Meta: cfg.Meta, Metadata: cfg.Metadata, Methods: methods, Settings: &offer, Resume: attempt.request(),
	})
	if err != nil {
		return false, fmt.Errorf("meta and metadata of %d bytes: %w: %w", len(cfg.Meta)+len(cfg.Metadata), geminio.ErrTooLarge, err)
	}
	if err := c.send(over, hello); err != nil {
		return false, err
	}
	id, body, err := c.read(over, false)
	if err != nil {
		return false, err
	}
	ack, err := packet.ParseConnAck(id, body)
	switch {
	case err != nil:
		return false, malformed(err)
	case ack.Refused:
		return false, &geminio.RefusedError{Code: geminio.Code(ack.Code), Text: ack.Error, RetryAfter: ack.Retry}
	case ack.ClientID == 0:
		return false, malformed(&packet.Error{What: "connack", Reason: "a client id of 0"})
	}
	if ack.Resumed != nil {
		return false, attempt.resumed(c, ack.Resumed)
	}
	if err := packet.CheckMetadata("connack", ack.Metadata, packet.MaxHandshakeContent); err != nil {
		return false, malformed(err)
	}
	if ack.Settings == nil {
		err = c.acceptWire1(Wire1Peer{Side: c.side, HeartbeatExponent: beatExponent(cfg.Heartbeat)})
	} else {
		c.peer = ack.Settings
		if methods != nil && ack.Methods != nil {
			c.methods = &Methods{Own: methods, Peer: ack.Methods}
		}
	}
	if err != nil {
		return false, err
	}
	c.clientID, c.meta, c.metadata = ack.ClientID, cfg.Meta, ack.Metadata
	if ack.Ticket != nil && c.resumes() {
		c.keepSession(ack.Ticket)
	}
	if cfg.Online != nil {
		if err = cfg.Online(c); err != nil {
			err = fmt.Errorf("ConnOnline: %w", err)
			c.decline(over)
		}
		online = err == nil
	}
	if err == nil && cfg.Prepare != nil {
		if err = cfg.Prepare(c, over); err != nil {
			c.leave(over, guard.Describe(cfg.Log, err))
			err = fmt.Errorf("prepare: %w", err)
		}
	}
	attempt.ended(ack.Ended) // not before decline: the end of the session may end cfg.Context
	return online, err
}

// leave tells the server why the client does not use the connection.
func (c *Conn) leave(over <-chan struct{}, why packet.Reason) {
	if c.wire1 == nil {
		c.send(over, packet.AppendReason(nil, packet.TypeClose, 0, why))
	}
}

// decline tells the server that the client does not use the connection: otherwise the
// server would keep its session.
func (c *Conn) decline(over <-chan struct{}) {
	if c.session != nil {
		c.send(over, packet.AppendReason(nil, packet.TypeClose, 0, packet.Reason{}))
	}
}

// welcome performs the server's part of the handshake.
func (c *Conn) welcome(over <-chan struct{}) (online bool, err error) {
	cfg := c.cfg
	id, body, err := c.read(over, true)
	if err != nil {
		return false, err
	}
	hello, err := packet.ParseConn(id, body)
	if err != nil {
		return false, malformed(err)
	}
	own := cfg.offer()
	offer := &own
	if hello.Settings == nil {
		if err := c.acceptWire1(Wire1Peer{Side: c.side, PacketID: id, HeartbeatExponent: hello.HeartbeatExponent}); err != nil {
			return false, c.refuse(over, hello, packet.Reason{Code: uint32(geminio.CodeVersion), Text: err.Error()}, err)
		}
		offer = nil
	} else {
		c.peer = hello.Settings
	}
	c.meta, c.metadata = hello.Meta, hello.Metadata
	if err := packet.CheckMetadata("conn", hello.Metadata, packet.MaxHandshakeContent); err != nil {
		return false, c.refuse(over, hello, packet.Reason{Code: uint32(geminio.CodeProtocol), Text: err.Error()}, malformed(err))
	}
	var client identification
	ended, err := c.resume(over, &hello, offer, &client)
	if err == nil && hello.Resume != nil && hello.Resume.Only {
		said := packet.Reason{Code: uint32(geminio.CodeClosed), Text: ErrSessionEnded.Error()}
		err = c.refuse(over, hello, said, ErrSessionEnded)
	}
	if err == nil {
		err = c.identify(over, &hello, &client, false)
	}
	if err != nil {
		return false, err
	}
	if c.clientID, err = cfg.Admit(c, client.id, hello.ClientID, over); err != nil {
		return false, c.refuse(over, hello, guard.Describe(cfg.Log, err), err)
	}
	select {
	case <-over: // the client has gone: Online is not called
		return false, errOver
	default:
	}
	if cfg.Online != nil {
		if err := cfg.Online(c); err != nil {
			return false, c.refuse(over, hello, guard.Describe(cfg.Log, err), err)
		}
		online = true
	}
	if cfg.Prepare != nil {
		if err := cfg.Prepare(c, over); err != nil {
			return online, c.refuse(over, hello, guard.Describe(cfg.Log, err), err)
		}
	}
	answer := packet.ConnAck{PacketID: id, ClientID: c.clientID, Settings: offer, Ended: ended}
	if offer != nil {
		answer.Metadata = cfg.Metadata
		if hello.Methods != nil && cfg.Methods != nil {
			answer.Methods = cfg.offeredMethods()
			c.methods = &Methods{Own: answer.Methods, Peer: hello.Methods}
		}
	}
	if offer != nil && c.resumes() {
		answer.Ticket = newTicket(cfg.Resume.Keep)
		c.keepSession(answer.Ticket)
		if f := cfg.Resume.Issued; f != nil {
			f(c)
		}
	}
	ack, err := packet.AppendConnAck(nil, answer)
	if err == nil {
		err = c.send(over, ack)
	}
	return online, err
}

// ErrClientRefused matches the error of a server's handshake that has refused the client.
var ErrClientRefused = errors.New("client refused")

// refuse tells the client why it is refused, and returns why as an error.
func (c *Conn) refuse(over <-chan struct{}, hello packet.Conn, said packet.Reason, why error) error {
	no := packet.ConnAck{
		PacketID: hello.PacketID, Refused: true, Code: said.Code, Retry: said.Retry,
		Error: packet.CutText(said.Text, packet.MaxText),
	}
	ack, err := packet.AppendConnAck(nil, no)
	if err == nil {
		err = c.send(over, ack)
	}
	if err != nil {
		return fmt.Errorf("%w: %w (the client was not told: %w)", ErrClientRefused, why, err)
	}
	return fmt.Errorf("%w: %w", ErrClientRefused, why)
}

// readHandshake reads one handshake packet and no byte after it. Its allocations grow
// with the bytes that have arrived, not with the announced length.
func readHandshake(r io.Reader, server bool) (id uint64, body []byte, err error) {
	var header [packet.HandshakeHeaderLen]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, noEOF(err)
	}
	id, n, err := packet.ParseHandshakeHeader(header[:], server)
	if err != nil {
		return 0, nil, err
	}
	body, err = io.ReadAll(io.LimitReader(r, int64(n)))
	if err == nil && len(body) < n {
		err = io.ErrUnexpectedEOF
	}
	return id, body, err
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// beatExponent returns the exponent e by which wire 1 announces a heartbeat d: the
// largest with 5*4^e seconds <= d.
func beatExponent(d time.Duration) uint8 {
	e := uint8(0)
	for period := 5 * time.Second; e < 3 && period*4 <= d; period *= 4 {
		e++
	}
	return e
}
