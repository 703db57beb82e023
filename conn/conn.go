package conn

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/chunk"
	"github.com/singchia/geminio/internal/clock"
	"github.com/singchia/geminio/packet"
)

// FrameHandler is the layer above a Conn.
type FrameHandler interface {
	// Frame takes a frame that is the upper layer's. Payload and the methods like it
	// give what it carries; what is left of it is skipped. An error ends the
	// connection: a *packet.Error because the peer broke a rule of the wire. The
	// reading goroutine calls it; it must not block.
	Frame(h packet.Header) error
	// Fill adds frames to b as long as b has room, and tells whether more is
	// ready, or after End still to come. The holder of the write token calls it, with the
	// lock of b; it must not block, and what takes further locks is for b.After.
	Fill(b *Batch) (more bool)
	// Idle is called by the reading goroutine before it waits.
	Idle()
	// Beat is called for every heartbeat of the peer that is answered, by the
	// reading goroutine.
	OnPing()
	// OnHeartbeat is called at each heartbeat of this side.
	OnHeartbeat()
	// GoAway is called when the peer wants no new work, by the reading goroutine.
	GoAway(packet.Reason)
	// OnGoAwayAcked is called when all that the peer has sent before it knew of this side's
	// GoAway has come, by the reading goroutine.
	OnGoAwayAcked()
	// End is called once, when the connection stops being of use: on leaving
	// Open or Draining, with the cause. It must not block. With deliver set, what
	// Fill gives afterwards is still written, and then, when Fill has no more, the
	// Close frame; else Fill must give nothing more.
	End(cause error, deliver bool)
}

// Config is what a Conn has to know. All fields must be set, but for those that
// say otherwise.
type Config struct {
	Clock            clock.Clock
	Log              *slog.Logger
	HandshakeTimeout time.Duration   // for the whole handshake
	Heartbeat        time.Duration   // a Ping goes out this often; two without a byte from the peer are death
	Linger           time.Duration   // how long closing may take
	Settings         packet.Settings // what this side offers

	// Online is called when the ids are known: at the server before it answers,
	// at the client after the answer has come. An error ends the handshake.
	Online func(*Conn) error
	// Offline is called if the handshake fails after Online.
	Offline func(*Conn)

	// ClientID and Meta are the client's: its wish, and what it wants known.
	ClientID uint64
	Meta     []byte
	// PacketID is the client's: the number of its handshake packet.
	PacketID uint64

	// Context has the handshake given up when it ends, with net.ErrClosed. nil never
	// ends.
	Context context.Context

	// Translate returns the transport over which this side speaks wire 2 with a peer that
	// speaks wire 1 alone, and what is offered in that peer's place. The transport takes
	// nc over. nil refuses such peers, with geminio.ErrVersion.
	Translate func(nc net.Conn, peer Wire1Peer) (net.Conn, packet.Settings)

	// Admit is the server's: it chooses the client's id, never 0, or refuses.
	// The Conn has the client's meta and session already. over is closed when the
	// handshake is given up; what Admit returns then comes to nothing.
	Admit func(c *Conn, wanted uint64, over <-chan struct{}) (uint64, error)
}

// Conn is one connection to one peer. Its reading methods belong to one
// goroutine; all others are safe for concurrent use.
type Conn struct {
	// Read-only after the handshake.
	link     link
	io       transport
	cfg      *Config
	upper    FrameHandler
	side     geminio.Side
	clientID uint64
	meta     []byte
	peer     packet.Settings // what the peer offered
	wire1    *Wire1Peer      // nil: the peer speaks wire 2
	start    time.Time
	flush    func() // write(nil, true), made once: it is started often

	// The reading goroutine's.
	rb               *chunk.Chunk // what was read and not yet used; nil at rest
	left             int          // bytes of the present frame's payload that are still to be read
	bulk             bool         // the last frames were large ones
	packetDispatched bool         // a packet came: whom it has woken is let run before the next read
	pingCount        int          // pings of the peer in the present second
	pingCountEnd     time.Duration
	workSeen         bool // what worked says

	// The write token: free, taken, or taken with new work.
	token   atomic.Uint32
	current atomic.Pointer[Batch] // what its holder is writing

	worked   atomic.Bool  // the peer has sent something that is no ceremony
	lastRead atomic.Int64 // when a byte last came, since start
	rtt      atomic.Int64 // the shortest round trip seen; 0: none yet
	state    atomic.Uint32

	mu               sync.Mutex
	cause            error          // why it ended; set once, on entering Closing or Closed
	pingDue          bool           // a Ping is to be sent
	probing          bool           // Probe was called, and no Pong has come since
	pongValue        uint64         // the value of the last Ping,
	pongDue          bool           // which is to be answered
	goAway           *packet.Reason // to be sent
	lastPing         uint64         // the value of the last Ping of this side,
	pingSent         bool           // if there was one
	goAwayPing       uint64         // and of the one that was sent behind goAway,
	goAwayAckPending bool           // if its answer has not come
	closeFrame       packet.Reason  // to be sent after everything else,
	closeState       closeState     // once closing
	peerClosed       bool           // the peer has sent Close
	heartbeatTimer   clock.Timer
	nextPing         time.Duration
	linger           clock.Timer
	lingerEnd        time.Duration // when it fires
}

// closeState tells how far this side is with its Close frame.
type closeState uint8

const (
	closeNone closeState = iota
	closeDue
	closeBatched // it is in a batch
	closeSent
)

// ClientID returns the id that the client got in the handshake.
func (c *Conn) ClientID() uint64 { return c.clientID }

// Meta returns what the client wanted known.
func (c *Conn) Meta() []byte { return c.meta }

// Side tells which side this is.
func (c *Conn) Side() geminio.Side { return c.side }

// LocalAddr returns the transport's local address, never nil.
func (c *Conn) LocalAddr() net.Addr { return c.link.localAddr() }

// RemoteAddr returns the transport's remote address, never nil.
func (c *Conn) RemoteAddr() net.Addr { return c.link.remoteAddr() }

// Peer returns what the peer offered in the handshake.
func (c *Conn) Peer() packet.Settings { return c.peer }

// Session returns what tells the connections of one client that reconnects from
// those of others; nil if the client does not.
func (c *Conn) Session() []byte {
	if c.side == geminio.InitiatorSide {
		return c.cfg.Settings.Session
	}
	return c.peer.Session
}

// Local returns what this side offered in the handshake.
func (c *Conn) Local() packet.Settings { return c.cfg.Settings }

// HandshakeTimeout returns the time of a handshake of the configuration.
func (c *Conn) HandshakeTimeout() time.Duration { return c.cfg.HandshakeTimeout }

// Clock returns the clock of the configuration.
func (c *Conn) Clock() clock.Clock { return c.cfg.Clock }

// Log returns the logger of the configuration.
func (c *Conn) Log() *slog.Logger { return c.cfg.Log }

// Done is closed when the transport is closed. A transport whose Close does not return
// is not waited for beyond the time for lingering and a quarter of a second; the
// goroutine that has called its Close stays until it returns.
func (c *Conn) Done() <-chan struct{} { return c.link.closed }

// Worked tells whether the peer has sent anything after the handshake other than
// registrations, their answers, GoAway and Close.
func (c *Conn) Worked() bool { return c.worked.Load() }

// RTT returns the shortest round trip seen, or 0 before the first.
func (c *Conn) RTT() time.Duration { return time.Duration(c.rtt.Load()) }

// Now returns the time since the connection began.
func (c *Conn) Now() time.Duration { return time.Since(c.start) }

// Start lets the connection work for upper. Run is called next.
func (c *Conn) Start(upper FrameHandler) {
	c.upper = upper
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setState(Open)
	c.lastRead.Store(int64(c.Now()))
	c.nextPing = c.Now() + c.cfg.Heartbeat
	c.heartbeatTimer = c.cfg.Clock.AfterFunc(c.cfg.Heartbeat, c.onHeartbeatTimer)
}

// onHeartbeatTimer sends a Ping when it is time for one, and ends the connection when two
// heartbeats have passed without a byte.
func (c *Conn) onHeartbeatTimer() {
	now := c.Now()
	death := time.Duration(c.lastRead.Load()) + 2*c.cfg.Heartbeat
	if now >= death {
		c.abort(geminio.ErrSilent)
		return
	}
	ping := false
	c.mu.Lock()
	if c.State() < Closing {
		if now >= c.nextPing {
			c.pingDue, ping = true, true
			c.nextPing = now + c.cfg.Heartbeat
		}
		c.heartbeatTimer.Reset(min(c.nextPing, death) - now)
	}
	c.mu.Unlock()
	if ping {
		c.upper.OnHeartbeat()
		c.Kick()
	}
}

// Probe has the round trip measured, once for all who ask before the answer has
// come: many Pings in a second would break the rules.
func (c *Conn) Probe() {
	c.mu.Lock()
	first := !c.probing
	c.pingDue = c.pingDue || first
	c.probing = true
	c.mu.Unlock()
	if first {
		c.Kick()
	}
}

// GoAway tells the peer that this side wants no new work.
func (c *Conn) GoAway(n packet.Reason) {
	c.mu.Lock()
	if c.State() < Closing {
		c.setState(Draining)
		c.goAway = &n
		c.pingDue = true // whose answer says that the peer has acked
	}
	c.mu.Unlock()
	c.Kick()
}

// Close ends the connection for the given cause: everything that the upper
// layer has ready is written, then a Close frame with the notice. It does not
// wait for that; Done tells when it is over, at most the time of lingering later.
func (c *Conn) Close(cause error, bye packet.Reason) {
	c.close(cause, bye, false)
}

func (c *Conn) close(cause error, bye packet.Reason, byPeer bool) {
	c.mu.Lock()
	c.peerClosed = c.peerClosed || byPeer
	over := c.peerClosed && c.closeState == closeSent
	first := c.setState(Closing)
	if first {
		c.cause, c.closeFrame = cause, bye
		c.stopHeartbeat()
		c.lingerEnd = c.Now() + c.cfg.Linger
		c.linger = c.cfg.Clock.AfterFunc(c.cfg.Linger, func() { c.abort(cause) })
	}
	c.mu.Unlock()
	if first {
		c.upper.End(cause, !byPeer)
		c.mu.Lock()
		c.closeState = closeDue // not sooner: until now the upper layer could add what goes before
		c.mu.Unlock()
		c.Kick()
	}
	if over {
		c.terminate(true)
	}
}

// Amend replaces the notice of the Close frame, if that says that all is well and is not
// yet in a batch.
func (c *Conn) Amend(bye packet.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closeFrame.Code == 0 {
		c.closeFrame = bye
	}
}

// abort ends the connection without a word.
func (c *Conn) abort(cause error) {
	c.mu.Lock()
	first := c.State() < Closing
	if first {
		c.cause = cause
		c.setState(Closing)
		c.stopHeartbeat()
	}
	c.mu.Unlock()
	if first {
		c.upper.End(cause, false)
	}
	c.terminate(false)
}

// terminate enters Closed and closes the transport. After an orderly end, the transport
// has what is left of the time for lingering for a goodbye of its own.
func (c *Conn) terminate(orderly bool) {
	c.mu.Lock()
	first := c.setState(Closed)
	if first && c.linger != nil {
		c.linger.Stop()
	}
	patience := time.Duration(0)
	if orderly {
		patience = c.lingerEnd - c.Now()
	}
	c.mu.Unlock()
	if first {
		c.link.close(patience)
	}
}

func (c *Conn) stopHeartbeat() {
	if c.heartbeatTimer != nil {
		c.heartbeatTimer.Stop()
	}
}

// Cause returns why the connection ended, or nil if it has not.
func (c *Conn) Cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// fillControl adds the connection's own frames that go before all others. It
// returns how far this side is with its Close frame, after which it adds nothing.
func (c *Conn) fillControl(b *Batch) closeState {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closeState > closeDue {
		return c.closeState
	}
	if c.pongDue {
		c.pongDue = false
		b.Buf = packet.AppendPing(b.Buf, packet.TypePong, c.pongValue)
	}
	away := c.goAway != nil
	if away {
		b.Buf = packet.AppendReason(b.Buf, packet.TypeGoAway, 0, *c.goAway)
		c.goAway = nil
	}
	if c.pingDue {
		c.pingDue = false
		value := uint64(c.Now())
		if c.pingSent {
			value = max(value, c.lastPing+1)
		}
		c.lastPing, c.pingSent = value, true
		if away {
			c.goAwayPing, c.goAwayAckPending = c.lastPing, true
		}
		b.Buf = packet.AppendPing(b.Buf, packet.TypePing, c.lastPing)
	}
	return c.closeState
}

// fillClose adds the Close frame.
func (c *Conn) fillClose(b *Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closeState == closeDue {
		c.closeState = closeBatched
		b.Buf = packet.AppendReason(b.Buf, packet.TypeClose, 0, c.closeFrame)
	}
}

// wrote is called by the holder of the token after each batch.
func (c *Conn) batchWritten() {
	c.mu.Lock()
	said := c.closeState == closeBatched
	if said {
		c.closeState = closeSent
	}
	over := said && c.peerClosed
	c.mu.Unlock()
	switch {
	case over:
		c.terminate(true)
	case said:
		c.link.closeWrite()
	}
}
