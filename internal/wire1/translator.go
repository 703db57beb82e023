package wire1

import (
	"errors"
	"io"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/internal/chunk"
	"github.com/singchia/geminio/packet"
)

// Offer returns the settings that a translator offers to a Conn on behalf of the peer. Wire 1
// has no credit, so the credit of the offer bounds the memory of the translator for data that
// the transport of the peer has not taken.
func Offer() packet.Settings {
	return packet.Settings{
		MaxFrame: packet.DefaultMaxFrame, MaxMessage: MaxContent, MaxStreams: 1 << 30,
		Raw: 32 << 10, Messages: 32 << 10, Handlers: 64 << 10, Large: 16 << 20,
	}
}

// MaxContent is the largest content of a call or message that a translator accepts, in bytes.
// Its base64 form and the JSON object around it fit into MaxBody.
const MaxContent = (MaxBody-512)/4*3 - 3*3

const (
	// EarlyPause is the time for which packets are delayed on a session that the peer
	// has opened, because clients of wire 1 drop packets that closely follow the
	// SessionAck.
	EarlyPause = 20 * time.Millisecond
	// dismissPause is the longest time that the translator waits for the answers to its
	// Dismiss packets.
	dismissPause = time.Second
	// maxUnwanted bounds the streams in streamUnwanted.
	maxUnwanted = 1024
	// maxAnswers bounds the answers to the peer that were not sent, in bytes. Above it,
	// nothing is read from the peer.
	maxAnswers = 1 << 20
)

// defaultSession is the id of the session and of the stream that exist from the start.
const defaultSession = 1

// Config configures a Translator.
type Config struct {
	Side   geminio.Side    // the side of the Conn; the peer has the other one
	Offer  packet.Settings // the settings that the Conn has offered
	Budget uint64          // bounds the bytes that wait for the Conn or are large packets in it

	// Period is the time between two Heartbeats of the client.
	Period time.Duration
	// Silence is the longest time without a byte from the peer.
	Silence time.Duration
	// Linger bounds the time for the end of the connection.
	Linger time.Duration

	PacketID uint64 // the id of the peer's handshake packet; 0 if it had none of its own
	FirstID  uint64 // packet ids of this side are counted from here
}

// phase is the state of a translator. It never returns to an earlier one.
type phase uint8

const (
	// phaseWorking: both sides may send everything.
	phaseWorking phase = iota
	// phaseLeaving: the peer has dismissed its default session, has disconnected, or its
	// transport has ended. Held data goes to the Conn as there is credit for it. The end
	// of the data, the end of Config.Linger, and a Close of the Conn leave it.
	phaseLeaving
	// phaseClosing: the Conn has closed. All sessions are dismissed, then DisConn is sent.
	// The DisConn of the peer and the end of Config.Linger leave it.
	phaseClosing
	// phaseOver: nothing is sent in either direction.
	phaseOver
)

// Translator translates between a peer that speaks wire 1 and a Conn that speaks wire 2. It
// does no I/O and starts no goroutines. It is not safe for concurrent use. The argument now of
// its methods is the present time.
type Translator struct {
	cfg     Config
	server  bool // the Conn is that of a server
	smallTx int  // the largest body of a small packet to the Conn, bytes
	smallRx int  // the largest body of a small packet from the Conn, bytes
	skew    skew

	phase     phase
	until     time.Time // in phaseLeaving and phaseClosing: the end of the present step
	cause     error     // why the transport of the peer has ended; nil while it has not
	err       error     // in phaseOver: why the connection is over; io.EOF after an orderly end
	goingAway bool      // the Conn has sent GoAway

	disConnSent     bool // DisConn was sent to the peer
	disConnReceived bool // DisConn of the peer has arrived
	disConnAcked    bool // the peer has answered DisConn

	dismissSent     bool // the default session was dismissed by this side
	dismissReceived bool // the default session was dismissed by the peer
	dismissAcked    bool // the peer has answered the Dismiss of the default session

	streams        map[uint64]*stream // by number
	sessions       map[uint64]*stream // by session id; the peer may send for them
	asked          map[uint64]*stream // in streamAsked and streamUnwanted, by the id of their Session packet
	main           *stream            // the default session
	peerStreams    int                // streams that the peer has opened and the Conn knows
	lastPeerNumber uint64             // the number of the last stream that the peer has opened
	waiting        []*stream          // streams that hold data, in the order in which they are served
	delayed        []*stream          // streams that delay packets, in the order of until
	ending         []*stream          // in streamEnding, in the order of dismissDeadline

	// Output to the Conn.
	frames     chunk.Queue
	credit     balance // credit of the connection's classes that the Conn has given
	lastNumber uint64  // the last number of a packet for the Conn
	held       uint64  // the budget cost of the data that waits for credit, bytes

	// Output to the peer.
	packets chunk.Queue
	queued  uint64 // the number of bytes that were ever added to packets
	sent    uint64 // the number of those bytes that were sent
	marks   []mark // actions for positions in those bytes, in their order
	answers int    // bytes of answers that were not sent
	scratch []byte // memory for the encoding of one packet

	given       [packet.Classes]grant // credit of the connection's classes that the Conn has been given
	assemblies  map[assemblyKey]*assembly
	calls       map[callKey]call   // operations of the Conn that wait for an answer
	messages    unanswered[call]   // messages of the Conn, by the ids of their packets
	oddIDs      unanswered[uint64] // ids of the peer's messages that cannot be numbers, by the numbers used instead
	unwanted    int                // the number of streams in streamUnwanted
	lastID      uint64             // the id of the last packet of this side
	knowsCancel bool               // the peer has sent a RequestCancel, so it understands one

	paused        bool // nothing is read from the peer
	lastReceived  time.Time
	nextHeartbeat time.Time
}

// mark is an action for the time when the bytes before a position have been sent to the peer.
type mark struct {
	end        uint64       // the position, in the count of Translator.queued
	s          *stream      // the stream of the packet; nil if there is none
	class      packet.Class // the class of credit
	credit     uint64       // granted to the Conn again
	answer     int          // bytes of the answer that ends here; removed from Translator.answers
	sessionAck bool         // the packet is the SessionAck for a session of the peer
	pong       bool         // a Pong is sent to the Conn
	ping       uint64       // the value of the Pong
}

// NewTranslator returns a translator for a connection after its handshake.
func NewTranslator(cfg Config, now time.Time) *Translator {
	offer := Offer()
	t := &Translator{
		cfg: cfg, server: cfg.Side == geminio.RecipientSide,
		smallTx: charge.MaxSmall(cfg.Offer), smallRx: charge.MaxSmall(offer),
		streams: make(map[uint64]*stream, 1), sessions: make(map[uint64]*stream, 1),
		lastID: cfg.FirstID, lastReceived: now, nextHeartbeat: now.Add(cfg.Period),
	}
	if cfg.PacketID != 0 {
		t.skew.learn(cfg.PacketID, now)
	}
	for class := packet.ClassHandlers; class < packet.Classes; class++ {
		t.given[class] = newGrant(offer.Credit(class))
		t.credit[class] = uint64(cfg.Offer.Credit(class))
	}
	// The numbers of a client are odd, those of a server even. 1 is the default session.
	t.lastPeerNumber = 0
	if t.server {
		t.lastPeerNumber = defaultSession
	}
	t.main = t.newStream(defaultSession, packet.Windows{Raw: cfg.Offer.Raw, Messages: cfg.Offer.Messages})
	t.main.state = streamOpen
	t.streams[defaultSession], t.sessions[defaultSession] = t.main, t.main
	t.main.session = defaultSession
	return t
}

// newStream returns a stream for which the Conn has given the windows w.
func (t *Translator) newStream(number uint64, w packet.Windows) *stream {
	offer := Offer()
	s := &stream{number: number}
	t.grantWindows(s, w)
	s.given[packet.ClassRaw] = newGrant(offer.Raw)
	s.given[packet.ClassMessages] = newGrant(offer.Messages)
	return s
}

// grantWindows sets the first credit that the Conn has given for s.
func (t *Translator) grantWindows(s *stream, w packet.Windows) {
	s.own = charge.MaxOwn(w.Messages, t.smallTx)
	s.credit[packet.ClassRaw], s.credit[packet.ClassMessages] = uint64(w.Raw), uint64(w.Messages)
}

// Reading reports whether packets are to be read from the peer.
func (t *Translator) Reading() bool {
	return t.phase != phaseOver && t.cause == nil && t.held+t.heldByConn() < t.cfg.Budget && t.answers < maxAnswers
}

// heldByConn returns the bytes of large packets that the Conn holds.
func (t *Translator) heldByConn() uint64 {
	var n uint64
	for class := packet.ClassLargeMessages; class <= packet.ClassLargeResponses; class++ {
		if all := uint64(t.cfg.Offer.Credit(class)); all > t.credit[class] {
			n += all - t.credit[class]
		}
	}
	return n
}

// Err returns why the connection is over: io.EOF after an orderly end, nil if it is not over.
// Frames may still have frames for the Conn.
func (t *Translator) Err() error { return t.err }

// Frames returns the queue of frames for the Conn.
func (t *Translator) Frames() *chunk.Queue { return &t.frames }

// Packets returns the queue of packets for the peer.
func (t *Translator) Packets() *chunk.Queue { return &t.packets }

// Sent records that n bytes of Packets were sent.
func (t *Translator) Sent(now time.Time, n int) {
	t.sent += uint64(n)
	done := 0
	for ; done < len(t.marks) && t.marks[done].end <= t.sent; done++ {
		m := &t.marks[done]
		t.answers -= m.answer
		if m.credit > 0 {
			t.giveBack(m.s, m.class, m.credit)
		}
		if m.pong && t.phase != phaseOver {
			t.frames.Append(packet.AppendPing(nil, packet.TypePong, m.ping))
		}
		if m.sessionAck && m.s.delaying {
			m.s.until = now.Add(EarlyPause)
			t.delayed = append(t.delayed, m.s)
		}
		*m = mark{}
	}
	t.marks = t.marks[done:]
	t.step(now)
}

// Received records that bytes have arrived from the peer.
func (t *Translator) Received(now time.Time) { t.lastReceived = now }

// Broken records that the peer's transport has ended, and why.
func (t *Translator) Broken(now time.Time, err error) {
	if t.phase == phaseOver || t.cause != nil {
		return
	}
	if t.disConnReceived || t.disConnSent && t.disConnAcked {
		err = io.EOF // both sides have agreed to end the connection
	}
	t.cause = err
	t.leave(now)
	t.step(now)
}

// leave enters phaseLeaving. It sends GoAway to the Conn, because new work could not be
// executed any more, unless the end follows at once.
func (t *Translator) leave(now time.Time) {
	if t.phase != phaseWorking {
		return
	}
	t.phase, t.until = phaseLeaving, now.Add(t.cfg.Linger)
	if t.cause == nil || t.held > 0 {
		t.appendReason(packet.TypeGoAway, 0, geminio.CodeGoingAway, geminio.ErrGoingAway.Error())
	}
}

// fail ends the connection at once.
func (t *Translator) fail(err error) {
	if t.phase != phaseOver {
		t.phase, t.err = phaseOver, err
	}
}

// Tick runs the timeouts that are due. The caller calls it at the time that Wake returns.
func (t *Translator) Tick(now time.Time) {
	if t.phase == phaseOver {
		return
	}
	if silent := now.Sub(t.lastReceived); silent >= t.cfg.Silence {
		if !t.paused {
			t.fail(geminio.ErrSilent)
			return
		}
		t.lastReceived = now // the translator has not read meanwhile
	}
	if !t.server && !now.Before(t.nextHeartbeat) {
		t.nextHeartbeat = now.Add(t.cfg.Period)
		if t.phase == phaseWorking {
			t.put(Packet{Type: TypeHeartbeat, ID: t.newID()}, mark{})
		}
	}
	for len(t.delayed) > 0 && !now.Before(t.delayed[0].until) {
		t.sendDelayed(t.delayed[0])
	}
	for len(t.ending) > 0 && !now.Before(t.ending[0].dismissDeadline) {
		s := t.ending[0]
		t.ending = t.ending[1:]
		s.dismissAcked = true // the DismissAck is not awaited any longer
		t.passHeld(now, s)
	}
	t.step(now)
}

// Wake returns the time at which the caller must call Tick.
func (t *Translator) Wake() time.Time {
	at := t.lastReceived.Add(t.cfg.Silence)
	earlier := func(o time.Time) {
		if o.Before(at) {
			at = o
		}
	}
	if !t.server {
		earlier(t.nextHeartbeat)
	}
	if len(t.delayed) > 0 {
		earlier(t.delayed[0].until)
	}
	if len(t.ending) > 0 {
		earlier(t.ending[0].dismissDeadline)
	}
	if t.phase == phaseLeaving || t.phase == phaseClosing {
		earlier(t.until)
	}
	return at
}

// step updates the translator after an event.
func (t *Translator) step(now time.Time) {
	wasPaused := t.paused
	if t.paused = !t.Reading(); wasPaused && !t.paused {
		t.lastReceived = now // the time of silence begins when reading begins
	}
	timedOut := !now.Before(t.until)
	switch t.phase {
	case phaseLeaving:
		ended := t.cause != nil || t.disConnReceived && t.disConnAcked && t.sent == t.queued
		if ended && t.held == 0 || timedOut {
			t.finish()
		}
	case phaseClosing:
		if t.cause == nil && !t.disConnSent && (t.dismissReceived && t.dismissAcked || t.disConnReceived || timedOut) {
			for _, s := range t.sessions {
				t.sendDelayed(s)
			}
			t.until = now.Add(t.cfg.Linger)
			t.disconnect()
			return
		}
		if t.cause != nil || t.disConnReceived && t.disConnAcked && t.sent == t.queued || timedOut {
			t.finish()
		}
	}
}

// errNotConsumed ends a connection that the peer has ended, if the Conn has not taken all data
// of the peer in time.
var errNotConsumed = errors.New("data of the peer was not taken in time")

// finish ends the connection. The end is orderly unless the transport of the peer has failed,
// or the Conn has not taken all data of the peer.
func (t *Translator) finish() {
	switch {
	case t.cause != nil && !errors.Is(t.cause, io.EOF) && t.phase != phaseClosing:
		t.fail(t.cause)
	case t.held > 0:
		t.fail(errNotConsumed)
	default:
		t.disconnect()
		t.appendReason(packet.TypeClose, 0, geminio.CodeOK, "")
		t.fail(io.EOF)
	}
}

// disconnect sends DisConn, once.
func (t *Translator) disconnect() {
	if !t.disConnSent {
		t.disConnSent = true
		t.put(Packet{Type: TypeDisConn, ID: t.newID()}, mark{})
	}
}

// newID returns an id for a packet of this side.
func (t *Translator) newID() uint64 {
	t.lastID++
	if t.lastID == 0 {
		t.lastID++
	}
	return t.lastID
}

// put sends a packet without a session.
func (t *Translator) put(p Packet, m mark) {
	t.enqueue(t.encode(p), m)
}

// answer sends the answer to a packet of the peer.
func (t *Translator) answer(p Packet) {
	b := t.encode(p)
	t.enqueue(b, mark{answer: len(b)})
}

// send sends a packet of a session, or delays it if the peer is not ready. It returns false,
// and sends nothing, if the packet is longer than peers accept.
func (t *Translator) send(s *stream, p Packet, m mark) bool {
	p.Session = s.session
	b := t.encode(p)
	if len(b)-HeaderLen > MaxBody {
		return false
	}
	if s.delaying {
		m.s = s
		s.delayed = append(s.delayed, delayedPacket{append([]byte(nil), b...), m})
		return true
	}
	m.s = s
	t.enqueue(b, m)
	return true
}

// encode returns the bytes of a packet. They are valid until the next call of encode.
func (t *Translator) encode(p Packet) []byte {
	b := Append(t.scratch[:0], p)
	if cap(b) <= 64<<10 {
		t.scratch = b[:0]
	}
	return b
}

// enqueue appends the bytes of a packet to t.packets, with mark m behind them.
func (t *Translator) enqueue(b []byte, m mark) {
	t.packets.Append(b)
	t.queued += uint64(len(b))
	t.answers += m.answer
	if m.answer > 0 || m.credit > 0 || m.sessionAck {
		m.end = t.queued
		t.marks = append(t.marks, m)
	}
}

// sendDelayed sends the delayed packets of s and ends the delay.
func (t *Translator) sendDelayed(s *stream) {
	if !s.delaying {
		return
	}
	s.delaying = false
	for i, o := range t.delayed {
		if o == s {
			t.delayed = append(t.delayed[:i], t.delayed[i+1:]...)
			break
		}
	}
	for _, e := range s.delayed {
		t.enqueue(e.packet, e.m)
	}
	s.delayed = nil
	t.forget(s)
}

// forget removes the session of s if s is closed and delays no packets.
func (t *Translator) forget(s *stream) {
	if s.state != streamClosed || s.delaying {
		return
	}
	if t.sessions[s.session] == s {
		delete(t.sessions, s.session)
	}
}

// appendReason appends a frame with a Reason for the Conn.
func (t *Translator) appendReason(typ packet.Type, number uint64, code geminio.Code, text string) {
	t.frames.Append(packet.AppendReason(nil, typ, number, packet.Reason{Code: uint32(code), Text: text}))
}
