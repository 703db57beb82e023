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

// Offer is what a translator offers to a Conn in the place of its peer. Wire 1 has no
// credit, so what is offered bounds what a translator holds of what the peer's transport
// does not take.
func Offer() packet.Settings {
	return packet.Settings{
		MaxFrame: packet.DefaultMaxFrame, MaxMessage: MaxContent, MaxStreams: 1 << 30,
		Raw: 32 << 10, Messages: 32 << 10, Handlers: 64 << 10, Large: 16 << 20,
	}
}

// MaxContent is the largest content of a call or message that a translator takes, in
// bytes: what base64 leaves of MaxBody, without what stands around it.
const MaxContent = (MaxBody-512)/4*3 - 3*3

const (
	// EarlyPause is how long packets are held back on a session that the peer has
	// opened: clients of wire 1 drop those that follow the SessionAck closely.
	EarlyPause = 20 * time.Millisecond
	// dismissPause is how long the translator waits for the answers to its Dismiss
	// packets.
	dismissPause = time.Second
	// maxUnwanted bounds the sessions whose SessionAck is awaited though they are not
	// wanted any more.
	maxUnwanted = 1024
	// maxAnswers bounds the answers that wait for the peer to read them, in bytes,
	// before more is read from it.
	maxAnswers = 1 << 20
)

// defaultSession is the session, and the stream, that exists from the start.
const defaultSession = 1

// Config configures a Translator.
type Config struct {
	Side   geminio.Side    // of the Conn; the peer has the other
	Offer  packet.Settings // what the Conn offers
	Budget uint64          // bytes that may wait here for the Conn and be held by it, of large packets

	// Period is how often the client sends a Heartbeat.
	Period time.Duration
	// Silence is how long the peer may be silent.
	Silence time.Duration
	// Linger bounds how long the end of the connection takes.
	Linger time.Duration

	PacketID uint64 // of the peer's handshake packet; 0 if it has none of its own
	FirstID  uint64 // from where the ids of packets count
}

// phase is the state of a translator. It only grows.
type phase uint8

const (
	// working: both sides may send everything.
	working phase = iota
	// leaving: the peer has dismissed its default session, has disconnected, or its
	// transport has ended. What came goes to the Conn as there is credit for it. Left
	// when all has, at the end of Config.Linger, or when the Conn closes.
	leaving
	// closing: the Conn has closed. All sessions are dismissed; then comes DisConn.
	// Left when the peer has disconnected too, or at the end of Config.Linger.
	closing
	// over: nothing more goes either way.
	over
)

// Translator translates between a peer that speaks wire 1 and a Conn that speaks wire
// 2. It is a value: it does no I/O, starts nothing, and is not safe for concurrent use.
// Its methods that take a time take the present one.
type Translator struct {
	cfg     Config
	server  bool // the Conn is a server's
	smallTx int  // the longest body that the Conn takes as small
	smallRx int  // and that it sends as small
	skew    skew

	phase phase
	until time.Time // leaving, closing: the end of the present step
	cause error     // leaving: why the transport ended, nil as long as it has not
	err   error     // over: why; io.EOF after an orderly end
	away  bool      // the Conn wants no new work

	// How far the peer and this side are with disconnecting.
	said, heard, acked bool
	// And with dismissing the default session.
	dismissed, dismissHeard, dismissAcked bool

	streams  map[uint64]*stream // by number
	sessions map[uint64]*stream // by session id, once the peer may send for it
	asked    map[uint64]*stream // streamAsked and streamUnwanted, by the id of their Session packet
	main     *stream
	incoming int       // streams of the peer that the Conn knows of
	last     uint64    // number of the last stream that the peer opened
	waiting  []*stream // those that hold something, in the order in which they are served
	early    []*stream // those that hold packets back, in the order in which they are let go
	ending   []*stream // streamEnding, in the order of endAt

	// Towards the Conn.
	frames   chunk.Queue
	credit   balance // of the connection's classes
	lastCall uint64
	held     uint64 // what waits for credit, in bytes

	// Towards the peer.
	packets chunk.Queue
	queued  uint64 // bytes that were ever put into packets
	sent    uint64 // and those of them that were sent
	marks   []mark // what to do when so many bytes were sent
	answers int    // bytes of answers that were not sent
	room    []byte // for one packet

	given       [packet.Classes]grant // what the Conn may send, of the connection's classes
	assemblies  map[assemblyKey]*assembly
	calls       map[callKey]call
	messages    unanswered[call]   // of the Conn, by the ids of their packets
	oddIDs      unanswered[uint64] // ids of the peer's messages that are no numbers, by their numbers
	unwanted    int                // streams of asked that are streamUnwanted
	lastID      uint64
	knowsCancel bool // the peer is known to understand RequestCancel

	paused    bool // nothing is read from the peer
	lastHeard time.Time
	nextBeat  time.Time
}

// mark is what to do when the bytes in front of it were sent.
type mark struct {
	end    uint64
	s      *stream
	class  packet.Class // of the credit that the Conn gets back
	credit uint64
	answer int  // bytes of an answer
	opened bool // it is the SessionAck of a session that the peer has opened
	pong   bool // a pong is due
	ping   uint64
}

// NewTranslator returns a translator for a connection on which the handshake is done.
func NewTranslator(cfg Config, now time.Time) *Translator {
	offer := Offer()
	t := &Translator{
		cfg: cfg, server: cfg.Side == geminio.RecipientSide,
		smallTx: charge.MaxSmall(cfg.Offer), smallRx: charge.MaxSmall(offer),
		streams: make(map[uint64]*stream, 1), sessions: make(map[uint64]*stream, 1),
		lastID: cfg.FirstID, lastHeard: now, nextBeat: now.Add(cfg.Period),
	}
	if cfg.PacketID != 0 {
		t.skew.learn(cfg.PacketID, now)
	}
	for class := packet.ClassHandlers; class < packet.Classes; class++ {
		t.given[class] = newGrant(offer.Credit(class))
		t.credit[class] = uint64(cfg.Offer.Credit(class))
	}
	// The numbers of a client are odd, those of a server even. 1 is taken.
	t.last = 0
	if t.server {
		t.last = defaultSession
	}
	t.main = t.newStream(defaultSession, packet.Windows{Raw: cfg.Offer.Raw, Messages: cfg.Offer.Messages})
	t.main.state = streamOpen
	t.streams[defaultSession], t.sessions[defaultSession] = t.main, t.main
	t.main.session = defaultSession
	return t
}

// newStream makes a stream with the credit that the Conn gives.
func (t *Translator) newStream(number uint64, w packet.Windows) *stream {
	offer := Offer()
	s := &stream{number: number}
	s.grantWindows(w)
	s.given[packet.ClassRaw] = newGrant(offer.Raw)
	s.given[packet.ClassMessages] = newGrant(offer.Messages)
	return s
}

func (s *stream) grantWindows(w packet.Windows) {
	s.credit[packet.ClassRaw], s.credit[packet.ClassMessages] = uint64(w.Raw), uint64(w.Messages)
}

// Reading reports whether packets are to be read from the peer.
func (t *Translator) Reading() bool {
	return t.phase != over && t.cause == nil && t.held+t.lent() < t.cfg.Budget && t.answers < maxAnswers
}

// lent returns the bytes of large packets that the Conn holds.
func (t *Translator) lent() uint64 {
	var n uint64
	for class := packet.ClassLargeMessages; class <= packet.ClassLargeResponses; class++ {
		if all := uint64(t.cfg.Offer.Credit(class)); all > t.credit[class] {
			n += all - t.credit[class]
		}
	}
	return n
}

// Err returns why the connection is over: io.EOF after an orderly end, nil if it is
// not over. What is in Frames is still for the Conn.
func (t *Translator) Err() error { return t.err }

// Frames has what the Conn is to read.
func (t *Translator) Frames() *chunk.Queue { return &t.frames }

// Packets has what is to be sent to the peer.
func (t *Translator) Packets() *chunk.Queue { return &t.packets }

// Sent says that n bytes of Packets were sent.
func (t *Translator) Sent(now time.Time, n int) {
	t.sent += uint64(n)
	done := 0
	for ; done < len(t.marks) && t.marks[done].end <= t.sent; done++ {
		m := &t.marks[done]
		t.answers -= m.answer
		if m.credit > 0 {
			t.giveBack(m.s, m.class, m.credit)
		}
		if m.pong && t.phase != over {
			t.frames.Append(packet.AppendPing(nil, packet.TypePong, m.ping))
		}
		if m.opened && m.s.holding {
			m.s.until = now.Add(EarlyPause)
			t.early = append(t.early, m.s)
		}
		*m = mark{}
	}
	t.marks = t.marks[done:]
	t.step(now)
}

// Heard records that bytes have arrived from the peer.
func (t *Translator) Heard(now time.Time) { t.lastHeard = now }

// Broken records that the peer's transport has ended, and why.
func (t *Translator) Broken(now time.Time, err error) {
	if t.phase == over || t.cause != nil {
		return
	}
	if t.heard || t.said && t.acked {
		err = io.EOF // both know that the connection ends
	}
	t.cause = err
	t.leave(now)
	t.step(now)
}

// leave enters leaving. It tells the Conn to begin nothing new, because that could not be
// executed any more, unless the Conn is told of the end at once.
func (t *Translator) leave(now time.Time) {
	if t.phase != working {
		return
	}
	t.phase, t.until = leaving, now.Add(t.cfg.Linger)
	if t.cause == nil || t.held > 0 {
		t.notice(packet.TypeGoAway, 0, geminio.CodeGoingAway, geminio.ErrGoingAway.Error())
	}
}

// fail ends the connection at once.
func (t *Translator) fail(err error) {
	if t.phase != over {
		t.phase, t.err = over, err
	}
}

// Tick runs the timeouts that are due. The caller calls it at the time that Wake returns.
func (t *Translator) Tick(now time.Time) {
	if t.phase == over {
		return
	}
	if silent := now.Sub(t.lastHeard); silent >= t.cfg.Silence {
		if !t.paused {
			t.fail(geminio.ErrSilent)
			return
		}
		t.lastHeard = now // nothing was read meanwhile
	}
	if !t.server && !now.Before(t.nextBeat) {
		t.nextBeat = now.Add(t.cfg.Period)
		if t.phase == working {
			t.put(Packet{Type: TypeHeartbeat, ID: t.newID()}, mark{})
		}
	}
	for len(t.early) > 0 && !now.Before(t.early[0].until) {
		t.letGo(t.early[0])
	}
	for len(t.ending) > 0 && !now.Before(t.ending[0].endAt) {
		s := t.ending[0]
		t.ending = t.ending[1:]
		s.acked = true // or will not be
		t.pump(now, s)
	}
	t.step(now)
}

// Wake returns the time at which the caller must call Tick.
func (t *Translator) Wake() time.Time {
	at := t.lastHeard.Add(t.cfg.Silence)
	earlier := func(o time.Time) {
		if o.Before(at) {
			at = o
		}
	}
	if !t.server {
		earlier(t.nextBeat)
	}
	if len(t.early) > 0 {
		earlier(t.early[0].until)
	}
	if len(t.ending) > 0 {
		earlier(t.ending[0].endAt)
	}
	if t.phase == leaving || t.phase == closing {
		earlier(t.until)
	}
	return at
}

// step updates the translator after an event.
func (t *Translator) step(now time.Time) {
	was := t.paused
	if t.paused = !t.Reading(); was && !t.paused {
		t.lastHeard = now // the time of silence begins with the listening
	}
	late := !now.Before(t.until)
	switch t.phase {
	case leaving:
		gone := t.cause != nil || t.heard && t.acked && t.sent == t.queued
		if gone && t.held == 0 || late {
			t.finish()
		}
	case closing:
		if t.cause == nil && !t.said && (t.dismissHeard && t.dismissAcked || t.heard || late) {
			for _, s := range t.sessions {
				t.letGo(s)
			}
			t.until = now.Add(t.cfg.Linger)
			t.disconnect()
			return
		}
		if t.cause != nil || t.heard && t.acked && t.sent == t.queued || late {
			t.finish()
		}
	}
}

// errNotTaken ends a connection that the peer has ended, while the Conn did not take what
// had come.
var errNotTaken = errors.New("what had come was not taken in time")

// finish ends the connection: in an orderly way, unless the peer's transport has ended
// in another, or the Conn has not got all that came.
func (t *Translator) finish() {
	switch {
	case t.cause != nil && !errors.Is(t.cause, io.EOF) && t.phase != closing:
		t.fail(t.cause)
	case t.held > 0:
		t.fail(errNotTaken)
	default:
		t.disconnect()
		t.notice(packet.TypeClose, 0, geminio.CodeOK, "")
		t.fail(io.EOF)
	}
}

// disconnect sends DisConn, once.
func (t *Translator) disconnect() {
	if !t.said {
		t.said = true
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

// put sends a packet that is of no session, or answers one.
func (t *Translator) put(p Packet, m mark) {
	t.enqueue(t.encode(p), m)
}

// answer sends the answer to a packet of the peer.
func (t *Translator) answer(p Packet) {
	b := t.encode(p)
	t.enqueue(b, mark{answer: len(b)})
}

// send sends a packet of a session, or holds it back where the peer is not ready. It
// reports false, and sends nothing, if the packet is longer than peers accept.
func (t *Translator) send(s *stream, p Packet, m mark) bool {
	p.Session = s.session
	b := t.encode(p)
	if len(b)-HeaderLen > MaxBody {
		return false
	}
	if s.holding {
		m.s = s
		s.early = append(s.early, early{append([]byte(nil), b...), m})
		return true
	}
	m.s = s
	t.enqueue(b, m)
	return true
}

// encode returns the bytes of a packet, which are valid until its next call.
func (t *Translator) encode(p Packet) []byte {
	b := Append(t.room[:0], p)
	if cap(b) <= 64<<10 {
		t.room = b[:0]
	}
	return b
}

func (t *Translator) enqueue(b []byte, m mark) {
	t.packets.Append(b)
	t.queued += uint64(len(b))
	t.answers += m.answer
	if m.answer > 0 || m.credit > 0 || m.opened {
		m.end = t.queued
		t.marks = append(t.marks, m)
	}
}

// letGo sends what was held back of a stream.
func (t *Translator) letGo(s *stream) {
	if !s.holding {
		return
	}
	s.holding = false
	for i, o := range t.early {
		if o == s {
			t.early = append(t.early[:i], t.early[i+1:]...)
			break
		}
	}
	for _, e := range s.early {
		t.enqueue(e.packet, e.m)
	}
	s.early = nil
	t.forget(s)
}

// forget removes a stream that nothing refers to any more.
func (t *Translator) forget(s *stream) {
	if s.state != streamClosed || s.holding {
		return
	}
	if t.sessions[s.session] == s {
		delete(t.sessions, s.session)
	}
}

// notice appends a frame with a notice for the Conn.
func (t *Translator) notice(typ packet.Type, number uint64, code geminio.Code, text string) {
	t.frames.Append(packet.AppendReason(nil, typ, number, packet.Reason{Code: uint32(code), Text: text}))
}
