package conn

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// Client shakes hands as the client. It closes nc on every error. A refusal by
// the server is a *geminio.RefusedError.
func Client(nc net.Conn, cfg *Config) (*Conn, error) {
	return handshake(nc, cfg, geminio.InitiatorSide, (*Conn).greet)
}

// Server shakes hands as the server. It closes nc on every error.
func Server(nc net.Conn, cfg *Config) (*Conn, error) {
	return handshake(nc, cfg, geminio.RecipientSide, (*Conn).welcome)
}

func handshake(nc net.Conn, cfg *Config, side geminio.Side, do func(*Conn) (online bool, err error)) (*Conn, error) {
	c := &Conn{nc: nc, cfg: cfg, side: side, start: time.Now(), done: make(chan struct{})}
	c.flush = func() { c.write(nil, true) }
	var late atomic.Bool
	deadline := cfg.Clock.AfterFunc(cfg.HandshakeTimeout, func() {
		late.Store(true)
		nc.Close()
	})
	online, err := do(c)
	deadline.Stop()
	if late.Load() {
		err = fmt.Errorf("%w: not done after %v", geminio.ErrHandshakeTimeout, cfg.HandshakeTimeout)
	}
	if err == nil {
		c.io = newTransport(c)
		return c, nil
	}
	nc.Close()
	if online && cfg.Offline != nil {
		cfg.Offline(c)
	}
	var refused *geminio.RefusedError
	if errors.As(err, &refused) {
		return nil, err
	}
	return nil, fmt.Errorf("handshake: %w", err)
}

// greet is the client's part.
func (c *Conn) greet() (online bool, err error) {
	cfg := c.cfg
	hello, err := packet.AppendConn(nil, packet.Conn{
		PacketID: cfg.PacketID, ClientID: cfg.ClientID, Beat: beatExponent(cfg.Heartbeat),
		Meta: cfg.Meta, Wire2: &cfg.Wire2,
	})
	if err != nil {
		return false, fmt.Errorf("meta of %d bytes: %w: %w", len(cfg.Meta), geminio.ErrTooLarge, err)
	}
	if _, err := c.nc.Write(hello); err != nil {
		return false, err
	}
	id, body, err := readHandshake(c.nc, false)
	if err != nil {
		return false, err
	}
	ack, err := packet.ParseConnAck(id, body)
	switch {
	case err != nil:
		return false, err
	case ack.Refused:
		return false, &geminio.RefusedError{Code: geminio.Code(ack.Code), Text: ack.Error, RetryAfter: ack.Retry}
	case ack.Wire2 == nil:
		return false, fmt.Errorf("%w: the server speaks wire 1 only, this client wire 2", geminio.ErrVersion)
	case ack.ClientID == 0:
		return false, &packet.Error{What: "connack", Reason: "a client id of 0"}
	}
	c.clientID, c.meta, c.peer = ack.ClientID, cfg.Meta, *ack.Wire2
	if cfg.Online == nil {
		return false, nil
	}
	if err := cfg.Online(c); err != nil {
		return false, fmt.Errorf("ConnOnline: %w", err)
	}
	return true, nil
}

// welcome is the server's part.
func (c *Conn) welcome() (online bool, err error) {
	cfg := c.cfg
	id, body, err := readHandshake(c.nc, true)
	if err != nil {
		return false, err
	}
	hello, err := packet.ParseConn(id, body)
	if err != nil {
		return false, err
	}
	if hello.Wire2 == nil {
		return false, c.refuse(hello, geminio.CodeVersion, fmt.Errorf("%w: the client speaks wire 1 only, this server wire 2", geminio.ErrVersion))
	}
	c.meta, c.peer = hello.Meta, *hello.Wire2
	if c.clientID, err = cfg.Admit(hello.ClientID, hello.Meta); err != nil {
		return false, c.refuse(hello, geminio.CodeApplication, err)
	}
	if cfg.Online != nil {
		if err := cfg.Online(c); err != nil {
			return false, c.refuse(hello, geminio.CodeApplication, err)
		}
		online = true
	}
	ack, err := packet.AppendConnAck(nil, packet.ConnAck{PacketID: id, ClientID: c.clientID, Wire2: &cfg.Wire2})
	if err == nil {
		_, err = c.nc.Write(ack)
	}
	return online, err
}

// refuse tells the client why it may not come in, and returns that reason.
func (c *Conn) refuse(hello packet.Conn, code geminio.Code, why error) error {
	no := packet.ConnAck{
		PacketID: hello.PacketID, Refused: true, Code: uint32(code), Error: packet.CutText(why.Error(), packet.MaxText),
	}
	var own *geminio.RefusedError
	if errors.As(why, &own) { // it may say more than a text
		no.Code, no.Retry = cmp.Or(uint32(own.Code), no.Code), own.RetryAfter
	}
	ack, err := packet.AppendConnAck(nil, no)
	if err == nil {
		_, err = c.nc.Write(ack)
	}
	if err != nil {
		return fmt.Errorf("%w (the client was not told: %w)", why, err)
	}
	return fmt.Errorf("client refused: %w", why)
}

// readHandshake reads one handshake packet and not a byte more. What it
// allocates grows with what has come, not with what was announced.
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

// beatExponent is how wire v1 writes a heartbeat: 5*4^e seconds.
func beatExponent(d time.Duration) uint8 {
	e := uint8(0)
	for period := 5 * time.Second; e < 3 && period*4 <= d; period *= 4 {
		e++
	}
	return e
}
