package conn

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/chunk"
	"github.com/singchia/geminio/internal/clock"
	"github.com/singchia/geminio/internal/pairs"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/packet"
)

// FrameHandler is the layer above a Conn. None of its methods may block.
type FrameHandler interface {
	// Frame handles a frame of the layer above. It takes the payload with
	// Payload and the methods like it; the Conn skips the rest. An error ends
	// the connection; a *packet.Error means that the peer violated the wire.
	// The reading goroutine calls Frame.
	Frame(h packet.Header) error
	// AppendFrames adds frames to b while b has room. It reports whether more is ready
	// or, after End, may still become ready. The holder of the write token calls
	// it with the lock of b held. Work that takes further locks goes to b.After.
	AppendFrames(b *Batch) (more bool)
	// Idle runs in the reading goroutine before it waits.
	Idle()
	// OnPing runs in the reading goroutine for every Ping of the peer that this
	// side answers.
	OnPing()
	// OnPong runs in the reading goroutine when the peer has answered the Ping with the
	// value, and so has received everything that this side had sent before it.
	OnPong(value uint64)
	// OnLink runs when a session continues over another transport, before any frame of
	// the layer above passes over it. Pings of the transport before are not answered.
	OnLink()
	// OnHeartbeat runs when a heartbeat of this side is due.
	OnHeartbeat()
	// GoAway runs in the reading goroutine when the peer wants no new work. No Pong is
	// sent from then on until Conn.AckGoAway is called.
	GoAway(packet.Reason)
	// OnGoAwayAcked runs in the reading goroutine when the peer has answered the Ping
	// behind this side's last GoAway. By then, everything that the peer began before
	// it received the GoAway has arrived at this side, and everything that
	// AppendFrames gave before Conn.GoAway was called has arrived at the peer.
	OnGoAwayAcked()
	// NotReceived reports a packet that the peer has certainly not received
	// completely: h is the header of its last frame, and number its number. When the
	// peer has ended a session, NotReceived runs for the packets of the session,
	// before End and in any goroutine.
	NotReceived(h packet.Header, number uint64)
	// End runs once, when the connection leaves Open or Draining, with the
	// cause. With deliver set, the Conn still writes what AppendFrames gives and, when
	// AppendFrames has no more, the Close frame. Without it, AppendFrames must give nothing.
	End(cause error, deliver bool)
}

// Base is the part of a Config that a Conn keeps. Conns may share it: it is not changed. All fields are
// required.
type Base struct {
	Clock            clock.Clock
	Log              *slog.Logger
	HandshakeTimeout time.Duration   // bounds the whole handshake
	Heartbeat        time.Duration   // time between two Pings; after two without a byte from the peer the connection ends
	Linger           time.Duration   // bounds the time in Closing
	Settings         packet.Settings // offered by this side
}

// Config configures a Conn. All fields are required unless their comments say
// otherwise.
type Config struct {
	*Base

	// Methods returns the methods that this side registers with the handshake, as far as they fit
	// and the peer takes them; see Conn.Methods. The client calls it before it sends anything, the
	// server after Prepare. nil: the handshake registers no methods. Optional.
	Methods func() []string

	// Online is called when both ids are known: on the server before it answers,
	// on the client after the answer. An error ends the handshake. Optional.
	Online func(*Conn) error
	// Offline is called if the handshake fails after Online succeeded. Optional.
	Offline func(*Conn)

	// Prepare is called after Online. An error ends the handshake, and is told to the peer. over
	// is closed when the handshake has ended early. The layer above may use the Conn from then
	// on; nothing is sent before Start. Optional.
	Prepare func(c *Conn, over <-chan struct{}) error

	// ClientID is the id that the client asks for; 0 asks for any. Client only.
	ClientID uint64
	// Meta describes the client to the server. Client only, optional.
	Meta []byte
	// Metadata is sent to the peer with the handshake. It is valid. Optional.
	Metadata pairs.List
	// PacketID numbers the handshake packet of the client. Client only.
	PacketID uint64

	// Context ends the handshake with net.ErrClosed when it is done. A nil Context
	// is never done.
	Context context.Context

	// Translate returns a transport over which this side speaks wire 2 with a peer
	// that speaks only wire 1, with the settings of Wire1Offer on behalf of that peer. The
	// transport owns nc, and may hold Wire1Budget bytes. cfg is this Config. If
	// Translate is nil, such peers are refused with geminio.ErrVersion.
	Translate   func(cfg *Config, nc net.Conn, peer Wire1Peer) net.Conn
	Wire1Offer  func() packet.Settings
	Wire1Budget uint64

	// Resume lets sessions survive the loss of their transports. nil: they end.
	Resume *ResumeConfig

	// Identify returns the id of a client that asks for the id wanted, or 0 if Admit
	// chooses it. An error refuses the client. The meta, the metadata, the session and
	// the addresses of the Conn are set when it is called. resumes says that the client
	// has proved that it may resume a session. It is called once in a handshake, before
	// Allow and Admit, in a goroutine of its own. ctx ends when the handshake has ended
	// early, and after three quarters of HandshakeTimeout, when the client is refused.
	// Server only, optional.
	Identify func(ctx context.Context, c *Conn, wanted uint64, resumes bool) (uint64, error)

	// Watch has the ctx of Identify end also when a client of wire 2 has gone.
	Watch bool

	// Admit chooses the id of the client, never 0, or refuses the client. identified is
	// the result of Identify. The meta and session of the Conn are set when it is called.
	// The channel over is closed when the handshake has ended early; the result of Admit
	// is then ignored. Server only.
	Admit func(c *Conn, identified, wanted uint64, over <-chan struct{}) (uint64, error)
}

// Conn is one connection to one peer. The reading goroutine alone calls its
// reading methods; all others are safe for concurrent use.
type Conn struct {
	// These fields are read-only after the handshake.

	io       transport     // moves bytes over link; with a session, attach replaces it
	session  *session      // nil: the connection ends with its link
	done     chan struct{} // closed when the connection has ended
	base     *Base         // the configuration
	cfg      *Config       // the same with what the handshake needs; nil after it
	upper    FrameHandler  // the layer above
	side     geminio.Side  // this side
	clientID uint64        // the id that the server has chosen
	meta     []byte        // the description of the client
	metadata pairs.List    // the metadata of the peer's handshake; valid
	peer     *packet.Settings
	methods  *Methods   // nil: none, or ForgetMethods was called
	wire1    *Wire1Peer // set if the peer speaks only wire 1
	start    time.Time  // the origin of Now
	observer Observer   // nil if there is none

	// The reading goroutine owns these fields; doc.go describes the hints.

	rb               *chunk.Chunk // bytes that were read and not yet used; nil while the goroutine waits
	left             int          // unread bytes of the present frame's payload
	bulk             bool         // the last frame was large
	packetDispatched bool         // a packet was handled since the last read
	workSeen         bool         // a copy of worked
	received         receivedCounter
	pingCount        int           // Pings of the peer since pingCountEnd-1s
	pingCountEnd     time.Duration // the time at which pingCount restarts

	flusher flusher // runs flushAll for goroutines that may not wait
	sent    sentCounter
	token   atomic.Uint32         // the write token: one of the token constants
	rest    *Batch                // flushAll writes it first; nil: none; the token's holder owns it
	gather  bool                  // flushAll lets other goroutines run first; the token's holder owns it
	current atomic.Pointer[Batch] // the batch that the token's holder is writing

	lastRead atomic.Int64  // the time of the last byte, as by Now
	rtt      atomic.Int64  // the last round trip; 0 before the first
	worked   atomic.Bool   // the peer has sent something that isCeremony excludes
	state    atomic.Uint32 // a State

	mu             sync.Mutex     // guards the fields below
	began          time.Duration  // when Start was called; 0 before
	changed        time.Duration  // when the state has changed last, or whether there is a link
	pinging        []*pingWaiter  // calls of RoundTrip
	pingerPing     time.Duration  // when a Ping was last asked for by RoundTrip
	link           *link          // the net.Conn; read-only without a session
	cause          error          // why the connection ended; set on entering Closing or Closed
	lastPing       uint64         // the value of the last Ping of this side
	pongValue      uint64         // the value of the peer's last Ping
	goAwayFrame    *packet.Reason // the GoAway of the next batch; nil if none is due
	goAwayPing     uint64         // the value of the Ping behind GoAway
	closeFrame     packet.Reason  // the content of the Close frame
	heartbeatTimer clock.Timer    // calls onHeartbeatTimer
	nextPing       time.Duration  // the time at which the next Ping is due
	lingerTimer    clock.Timer    // ends Closing
	lingerEnd      time.Duration  // the time at which lingerTimer fires

	closeState       closeState // how far the Close frame has got
	peerClosed       bool       // the peer has sent Close
	peerGoAway       bool       // the peer has sent GoAway
	pingDue          bool       // the next batch contains a Ping
	pingSent         bool       // a Ping was sent; lastPing is valid
	pingerTimer      bool       // a timer asks for the next Ping of RoundTrip
	pongDue          bool       // the next batch contains a Pong, unless pongHeld is set
	pongHeld         bool       // the peer has sent GoAway, and AckGoAway was not called since
	goAwayAckPending bool       // the Pong for goAwayPing has not come
}

// ClientID returns the id that the server has chosen for the client.
func (c *Conn) ClientID() uint64 { return c.clientID }

// Meta returns the description that the client has sent.
func (c *Conn) Meta() []byte { return c.meta }

// Metadata returns a copy of the metadata of the peer's handshake; nil if there is none.
func (c *Conn) Metadata() metadata.MD { return c.metadata.Decode() }

// TLS returns the state of the TLS connection that the transport is, or has beneath wrappers; nil
// without TLS.
func (c *Conn) TLS() *tls.ConnectionState {
	if t := tlsOf(c.currentLink().nc); t != nil {
		state := t.ConnectionState()
		return &state
	}
	return nil
}

// metadataDescriber is a transport with metadata of its own, such as the headers of the request
// that has opened a WebSocket.
type metadataDescriber interface{ HandshakeMetadata() metadata.MD }

// TransportMetadata returns the metadata of the transport, or nil if it has none.
func (c *Conn) TransportMetadata() (md metadata.MD) {
	l := c.currentLink()
	if d, ok := l.nc.(metadataDescriber); ok {
		l.call("HandshakeMetadata", func() error {
			md = d.HandshakeMetadata()
			return nil
		})
	}
	return md
}

// Side returns the side of the connection that this Conn is.
func (c *Conn) Side() geminio.Side { return c.side }

// LocalAddr returns the transport's local address, never nil.
func (c *Conn) LocalAddr() net.Addr { return c.currentLink().localAddr() }

// RemoteAddr returns the transport's remote address, never nil.
func (c *Conn) RemoteAddr() net.Addr { return c.currentLink().remoteAddr() }

// currentLink returns the link.
func (c *Conn) currentLink() *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link
}

// Peer returns the settings that the peer offered. They must not be changed.
func (c *Conn) Peer() *packet.Settings { return c.peer }

// Session returns the session id of a client that reconnects, by which the server
// recognizes its connections. It is nil for other clients.
func (c *Conn) Session() []byte {
	if c.side == geminio.InitiatorSide {
		return c.base.Settings.Session
	}
	return c.peer.Session
}

// Local returns the settings that this side offered. They must not be changed.
func (c *Conn) Local() *packet.Settings { return &c.base.Settings }

// HandshakeTimeout returns the configured bound of a handshake.
func (c *Conn) HandshakeTimeout() time.Duration { return c.base.HandshakeTimeout }

// Clock returns the clock of the configuration.
func (c *Conn) Clock() clock.Clock { return c.base.Clock }

// Log returns the logger of the configuration.
func (c *Conn) Log() *slog.Logger { return c.base.Log }

// Done returns a channel that is closed when the transport is closed. If the Close of
// the transport does not return, the channel is closed a quarter of a second after
// Config.Linger has passed; the goroutine that called Close stays until it returns.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Worked reports whether the peer has sent anything over the present transport, after the
// handshake, other than registrations, their answers, GoAway and Close.
func (c *Conn) Worked() bool { return c.worked.Load() }

// RTT returns the last round trip over the present transport, or 0 before the first.
func (c *Conn) RTT() time.Duration { return time.Duration(c.rtt.Load()) }

// Now returns the time since the connection began.
func (c *Conn) Now() time.Duration { return time.Since(c.start) }

// Start opens the connection for upper. The caller calls Run next.
func (c *Conn) Start(upper FrameHandler) {
	c.upper = upper
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setState(Open)
	c.began = max(c.changed, 1)
	c.lastRead.Store(int64(c.Now()))
	c.nextPing = c.Now() + c.base.Heartbeat
	if c.session != nil {
		c.session.begin()
		c.session.reportTimer = c.base.Clock.AfterFunc(reportAfter, c.onReportTimer)
		c.session.timerSet.Store(true)
	}
	c.heartbeatTimer = c.base.Clock.AfterFunc(c.base.Heartbeat, c.onHeartbeatTimer)
	if !c.releaseWrite() {
		c.flusher.start()
	}
}
