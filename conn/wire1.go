package conn

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/singchia/geminio"
)

// Wire1Peer describes a peer that speaks only wire 1: its handshake has offered no
// settings of wire 2.
type Wire1Peer struct {
	Side              geminio.Side // this side, not that of the peer
	PacketID          uint64       // the number of the peer's handshake packet; 0 on the client, where it repeats this side's
	HeartbeatExponent uint8        // the exponent e of the heartbeat that the client has announced, 5*4^e seconds
}

// acceptWire1 records that the peer speaks only wire 1. It returns an error if this
// side does not serve such peers.
func (c *Conn) acceptWire1(p Wire1Peer) error {
	if c.cfg.Translate != nil {
		offer := c.cfg.Wire1Offer()
		c.wire1, c.peer = &p, &offer
		return nil
	}
	peer, own := "client", "server"
	if c.side == geminio.InitiatorSide {
		peer, own = own, peer
	}
	return fmt.Errorf("%w: the %s speaks wire 1 only, this %s wire 2", geminio.ErrVersion, peer, own)
}

// translate replaces the net.Conn by that of Config.Translate.
func (c *Conn) translate() {
	under := &link{
		nc: c.link.nc, clock: c.link.clock, log: c.link.log, lost: c.abort, closed: make(chan struct{}),
	}
	c.link.nc = c.cfg.Translate(c.cfg, guarded{under}, *c.wire1)
}

// guarded is a link as a net.Conn. If Read or Write of the link's net.Conn panics or
// ends the goroutine, the method of guarded returns an error. It has no deadlines.
type guarded struct{ l *link }

// Read implements net.Conn.
func (g guarded) Read(p []byte) (int, error) { return g.l.read(p) }

// Write implements net.Conn.
func (g guarded) Write(p []byte) (int, error) {
	if err := g.l.write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close implements net.Conn.
func (g guarded) Close() error { return g.l.call("Close", g.l.nc.Close) }

// NetConn returns the connection beneath the link's net.Conn, or nil if there is none.
func (g guarded) NetConn() net.Conn { return beneath(g.l.nc) }

// LocalAddr implements net.Conn.
func (g guarded) LocalAddr() net.Addr { return g.l.localAddr() }

// RemoteAddr implements net.Conn.
func (g guarded) RemoteAddr() net.Addr { return g.l.remoteAddr() }

// SetDeadline returns os.ErrNoDeadline.
func (g guarded) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline returns os.ErrNoDeadline.
func (g guarded) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline returns os.ErrNoDeadline.
func (g guarded) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
