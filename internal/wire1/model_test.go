package wire1

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
)

// event is a frame or a complete packet that a model has received.
type event struct {
	typ    packet.Type
	stream uint64
	flags  packet.Flags // of a Data frame
	number uint64       // of a packet
	data   []byte       // the payload of Data, or the method of Register
	open   packet.Open
	notice packet.Reason
	credit packet.Credit
	req    packet.Request
	resp   packet.Response
	msg    packet.Message
	answer packet.Answer
}

// model is a Conn by the rules of docs/wire.md, without an application. It checks the frames that
// it receives against the rules, and makes frames that follow them.
type model struct {
	t       testing.TB
	side    geminio.Side
	own     packet.Settings
	theirs  packet.Settings
	streams map[uint64]*modelStream
	lastIn  uint64
	nextOut uint64
	give    balance // credit that the model has given, of the connection's classes
	have    balance // credit that the model has got
	numbers uint64
	asm     map[assemblyKey]*assembly
	asked   map[uint64]bool // requests that were received and not answered
	away    bool
	over    bool
	events  []event
	partial []byte
}

type modelStream struct {
	number     uint64
	state      modelState
	give, have balance
	ended      bool // a close flag was received
	fin, stop  bool // sent
}

type modelState int

const (
	modelOffered modelState = iota
	modelAsked
	modelOpen
	modelClosing // a close flag was sent
	modelClosed
)

func newModel(t testing.TB, side geminio.Side, own packet.Settings) *model {
	theirs := Offer()
	m := &model{
		t: t, side: side, own: own, theirs: theirs, streams: make(map[uint64]*modelStream),
		asm: make(map[assemblyKey]*assembly), asked: make(map[uint64]bool), nextOut: 3,
	}
	if side == geminio.RecipientSide {
		m.nextOut, m.lastIn = 2, 1
	}
	for class := packet.ClassHandlers; class < packet.Classes; class++ {
		m.give[class], m.have[class] = uint64(own.Credit(class)), uint64(theirs.Credit(class))
	}
	m.streams[1] = m.stream(1, modelOpen, packet.Windows{Raw: theirs.Raw, Messages: theirs.Messages})
	return m
}

func (m *model) stream(number uint64, state modelState, w packet.Windows) *modelStream {
	s := &modelStream{number: number, state: state}
	s.give[packet.ClassRaw], s.give[packet.ClassMessages] = uint64(m.own.Raw), uint64(m.own.Messages)
	s.have[packet.ClassRaw], s.have[packet.ClassMessages] = uint64(w.Raw), uint64(w.Messages)
	return s
}

func (m *model) failf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("the Conn: "+format, args...)
}

// feed handles bytes of frames.
func (m *model) feed(b []byte) {
	m.partial = append(m.partial, b...)
	for len(m.partial) >= packet.HeaderLen {
		h, err := packet.ParseHeader(m.partial, m.own.MaxFrame)
		require.NoError(m.t, err)
		if len(m.partial) < packet.HeaderLen+int(h.Length) {
			return
		}
		m.frame(h, m.partial[packet.HeaderLen:][:h.Length])
		m.partial = m.partial[packet.HeaderLen+int(h.Length):]
	}
}

func (m *model) frame(h packet.Header, payload []byte) {
	m.t.Helper()
	if m.over {
		m.failf("%v behind close", h.Type)
	}
	e := event{typ: h.Type, stream: h.Stream, flags: h.Flags}
	var err error
	s := m.streams[h.Stream]
	if h.Stream != 0 && h.Type != packet.TypeOpen && (s == nil || s.state == modelClosed) {
		if s == nil {
			m.failf("%v for stream %d, which never was open", h.Type, h.Stream)
		}
		return
	}
	switch h.Type {
	case packet.TypePing, packet.TypePong:
		_, err = packet.ParsePing(h.Type, payload)
	case packet.Ignorable:
	case packet.TypeGoAway, packet.TypeClose:
		e.notice, err = packet.ParseReason(h.Type, payload)
		m.over = h.Type == packet.TypeClose
	case packet.TypeCredit:
		e.credit, err = packet.ParseCredit(payload, h.Stream)
		m.credited(s, e.credit)
	case packet.TypeOpen:
		if h.Stream%2 == m.nextOut%2 || h.Stream <= m.lastIn {
			m.failf("open of %d after %d", h.Stream, m.lastIn)
		}
		m.lastIn = h.Stream
		e.open, err = packet.ParseOpen(payload)
		if e.open.Raw == 0 || e.open.Messages < m.theirs.Messages {
			m.failf("windows %+v", e.open.Windows)
		}
		e.open.Meta = bytes.Clone(e.open.Meta)
		m.streams[h.Stream] = m.stream(h.Stream, modelOffered, e.open.Windows)
	case packet.TypeAccept, packet.TypeRefuse:
		if s.state != modelAsked {
			m.failf("%v of stream %d, which is not being opened", h.Type, h.Stream)
		}
		if h.Type == packet.TypeRefuse {
			s.state = modelClosed
			e.notice, err = packet.ParseReason(h.Type, payload)
			break
		}
		var w packet.Windows
		w, err = packet.ParseAccept(payload)
		if w.Raw == 0 || w.Messages < m.theirs.Messages {
			m.failf("windows %+v", w)
		}
		s.have[packet.ClassRaw], s.have[packet.ClassMessages] = uint64(w.Raw), uint64(w.Messages)
		s.state = modelOpen
	case packet.TypeData:
		m.data(s, h, payload)
		e.data = bytes.Clone(payload)
	case packet.TypeStop, packet.TypeReset:
		m.failf("%v, which wire 1 does not have", h.Type)
	default:
		m.packet(s, h, payload)
		return
	}
	require.NoError(m.t, err)
	m.events = append(m.events, e)
}

func (m *model) data(s *modelStream, h packet.Header, payload []byte) {
	if s.state != modelOpen && s.state != modelClosing || s.ended {
		m.failf("data for stream %d in state %d", s.number, s.state)
	}
	if !s.give.take(packet.ClassRaw, uint64(len(payload))) {
		m.failf("%d raw bytes with credit for %d", len(payload), s.give[packet.ClassRaw])
	}
	if h.Flags&packet.FlagClose != 0 {
		if s.number == 1 {
			m.failf("stream 1 is closed")
		}
		s.ended = true
		if s.state == modelClosing {
			s.state = modelClosed
		}
	}
}

func (m *model) credited(s *modelStream, c packet.Credit) {
	have, all := &m.have[c.Class], uint64(m.theirs.Credit(c.Class))
	if c.Class < packet.StreamClasses {
		have, all = &s.have[c.Class], uint64(m.theirs.Raw)
		if c.Class == packet.ClassMessages {
			all = uint64(m.theirs.Messages)
		}
	}
	*have += uint64(c.Amount)
	if *have > all {
		m.failf("credit of %d for %v on stream %v: now %d of %d", c.Amount, c.Class, s, *have, all)
	}
}

// packet handles a frame with a packet or a fragment of one.
func (m *model) packet(s *modelStream, h packet.Header, payload []byte) {
	if s.state != modelOpen && s.state != modelClosing || s.ended {
		m.failf("%v for stream %d in state %d", h.Type, s.number, s.state)
	}
	f, err := packet.ParseFragmentHeader(payload, h)
	require.NoError(m.t, err)
	piece := payload[packet.FragmentHeaderLen(h):]
	small := int(f.Total) <= charge.MaxSmall(m.own)
	if h.Flags&packet.FlagNext == 0 {
		m.charge(s, h, int(f.Total), small)
	}
	h.Flags &^= packet.FlagShared
	key := assemblyKey{h.Stream, h.Type, f.Seq}
	switch a := m.asm[key]; {
	case h.Flags == 0:
		m.whole(h, f.Seq, bytes.Clone(piece))
	case h.Flags == packet.FlagMore:
		if small || a != nil {
			m.failf("%v begins in fragments: small %v, under way %v", h.Type, small, a)
		}
		m.asm[key] = &assembly{int(f.Total), bytes.Clone(piece)}
	case a == nil:
		m.failf("%v goes on that has not begun", h.Type)
	default:
		a.body = append(a.body, piece...)
		if h.Flags&packet.FlagMore != 0 {
			return
		}
		require.Equal(m.t, a.total, len(a.body))
		delete(m.asm, key)
		m.whole(h, f.Seq, a.body)
	}
}

// pays reports whether the window of a stream pays a small message with a body of size bytes.
func (m *model) pays(size int) bool { return uint32(size+charge.MessageOverhead) <= m.own.Messages/2 }

func (m *model) charge(s *modelStream, h packet.Header, size int, small bool) {
	typ := h.Type
	shared := typ == packet.TypeMessage && small && !m.pays(size)
	if shared != (h.Flags&packet.FlagShared != 0) {
		m.failf("%v of %d bytes with flags %x", typ, size, h.Flags)
	}
	if size > int(m.own.MaxMessage)+packet.MaxHead {
		m.failf("%v of %d bytes", typ, size)
	}
	ok := true
	switch {
	case shared:
		ok = m.give.take(packet.ClassLargeMessages, uint64(size+charge.MessageOverhead))
	case small && typ == packet.TypeMessage:
		ok = s.give.take(packet.ClassMessages, uint64(size+charge.MessageOverhead))
	case !small && charge.LargeClass(typ) != 0:
		ok = m.give.take(charge.LargeClass(typ), uint64(size))
	}
	if typ == packet.TypeRequest || typ == packet.TypeRegister {
		ok = m.give.take(packet.ClassHandlers, 1) && ok
	}
	if !ok {
		m.failf("no credit for %v of %d bytes", typ, size)
	}
}

// whole handles a complete packet. The credit of the packet is granted again by release.
func (m *model) whole(h packet.Header, number uint64, body []byte) {
	e := event{typ: h.Type, stream: h.Stream, number: number}
	var err error
	switch h.Type {
	case packet.TypeRequest:
		e.req, err = packet.ParseRequest(body)
		if m.asked[number] {
			m.failf("request %d comes twice", number)
		}
		m.asked[number] = true
	case packet.TypeResponse:
		e.resp, err = packet.ParseResponse(body)
	case packet.TypeMessage:
		e.msg, err = packet.ParseMessage(body)
	case packet.TypeRegister:
		e.data = body
	case packet.TypeAck, packet.TypeRegistered, packet.TypeCancel:
		e.answer, err = packet.ParseAnswer(h.Type, body)
	default:
		m.failf("%v", h.Type)
	}
	require.NoError(m.t, err)
	m.events = append(m.events, e)
}

// size returns the length of the body of a received packet.
func (e *event) size() int {
	switch e.typ {
	case packet.TypeRequest:
		return e.req.HeadSize() + len(e.req.Data)
	case packet.TypeResponse:
		return e.resp.HeadSize() + len(e.resp.Data)
	case packet.TypeMessage:
		return e.msg.HeadSize() + len(e.msg.Data)
	}
	return len(e.data)
}

// release returns the Credit frames for a received packet or Data frame.
func (m *model) release(e event) (frames []byte) {
	s := m.streams[e.stream]
	open := s.state == modelOpen || s.state == modelClosing
	give := func(number uint64, p *balance, class packet.Class, n int) {
		if n == 0 {
			return
		}
		p.add(packet.Credit{Class: class, Amount: uint32(n)})
		frames = packet.AppendCredit(frames, number, packet.Credit{Class: class, Amount: uint32(n)})
	}
	small := e.size() <= charge.MaxSmall(m.own)
	switch e.typ {
	case packet.TypeData:
		if open && !s.stop && !s.ended && s.state == modelOpen {
			give(e.stream, &s.give, packet.ClassRaw, len(e.data))
		}
	case packet.TypeMessage:
		switch {
		case !small:
			give(0, &m.give, packet.ClassLargeMessages, e.size())
		case !m.pays(e.size()):
			give(0, &m.give, packet.ClassLargeMessages, e.size()+charge.MessageOverhead)
		case open && !s.ended && s.state == modelOpen:
			give(e.stream, &s.give, packet.ClassMessages, e.size()+charge.MessageOverhead)
		}
	case packet.TypeRequest, packet.TypeRegister, packet.TypeResponse:
		if class := charge.LargeClass(e.typ); class != 0 && !small {
			give(0, &m.give, class, e.size())
		}
		if e.typ != packet.TypeResponse {
			give(0, &m.give, packet.ClassHandlers, 1)
		}
	}
	return frames
}

// send returns the frames of a packet, or nil if there is no credit for it.
func (m *model) send(s *modelStream, typ packet.Type, number uint64, head, data []byte) []byte {
	body := append(bytes.Clone(head), data...)
	size := len(body)
	if size > int(m.theirs.MaxMessage)+packet.MaxHead {
		return nil
	}
	small := size <= charge.MaxSmall(m.theirs)
	handler := typ == packet.TypeRequest || typ == packet.TypeRegister
	switch {
	case handler && m.have[packet.ClassHandlers] == 0:
		return nil
	case small && typ == packet.TypeMessage:
		if !s.have.take(packet.ClassMessages, uint64(size+charge.MessageOverhead)) {
			return nil
		}
	case !small && charge.LargeClass(typ) != 0:
		if !m.have.take(charge.LargeClass(typ), uint64(size)) {
			return nil
		}
	}
	if handler {
		m.have.take(packet.ClassHandlers, 1)
	}
	var b []byte
	most := int(m.theirs.MaxFrame) - packet.FragmentLen
	for off := 0; ; {
		var flags packet.Flags
		if off > 0 {
			flags = packet.FlagNext
		}
		n := min(size-off, most)
		if off+n < size {
			flags |= packet.FlagMore
		}
		start := len(b)
		b = packet.AppendHeader(b, packet.Header{Type: typ, Flags: flags, Stream: s.number})
		b = packet.AppendFragmentHeader(b, packet.FragmentHeader{Seq: number, Total: uint32(size)}, flags)
		b = append(b, body[off:off+n]...)
		packet.PutLength(b[start:])
		if off += n; off == size {
			return b
		}
	}
}

// pair is a translator between a model Conn and a peer. The test is the peer.
type pair struct {
	t    testing.TB
	tr   *Translator
	conn *model
	now  time.Time
	sent []Packet // packets to the peer that the test has not checked
	seen int      // the number of events of the Conn that the test has checked
	hold bool     // the peer reads nothing
	part []byte   // the beginning of a packet to the peer
}

// testOffer returns the settings that the Conn offers.
func testOffer() packet.Settings {
	return packet.Settings{
		MaxFrame: 64 << 10, MaxMessage: 8 << 20, MaxStreams: 8,
		Raw: 4 << 10, Messages: 4 << 10, Handlers: 4, Large: 8<<20 + packet.MinLarge,
	}
}

const (
	testPeriod = 20 * time.Second
	testLinger = 5 * time.Second
	testBudget = 4 << 20
)

var testStart = time.Unix(0x6b02ef1e, 0)

func newPair(t testing.TB, side geminio.Side, change ...func(*Config)) *pair {
	cfg := Config{
		Side: side, Offer: testOffer(), Budget: testBudget, Period: testPeriod, Silence: 2 * testPeriod, Linger: testLinger,
		FirstID: 1000,
	}
	if side == geminio.RecipientSide {
		cfg.PacketID = uint64(testStart.Unix()) << 32
	}
	for _, f := range change {
		f(&cfg)
	}
	return &pair{t: t, tr: NewTranslator(cfg, testStart), conn: newModel(t, side, cfg.Offer), now: testStart}
}

// settle moves all frames to the Conn and all packets to the peer.
func (p *pair) settle() {
	for {
		moved := false
		for c := p.tr.frames.Pop(); c != nil; c = p.tr.frames.Pop() {
			p.conn.feed(c.Bytes())
			c.Free()
			moved = true
		}
		if !p.hold {
			moved = p.peerReads(1<<30) > 0 || moved
		}
		if !moved {
			return
		}
	}
}

// peerReads moves about n bytes to the peer, and returns their number.
func (p *pair) peerReads(n int) (total int) {
	for total < n {
		c := p.tr.packets.Pop()
		if c == nil {
			return total
		}
		p.part = append(p.part, c.Bytes()...)
		total += c.Len()
		p.tr.Sent(p.now, c.Len())
		c.Free()
		for len(p.part) >= HeaderLen {
			h, err := ParseHeader(p.part)
			require.NoError(p.t, err)
			if len(p.part) < HeaderLen+int(h.Length) {
				break
			}
			require.LessOrEqual(p.t, int(h.Length), MaxBody)
			q, err := Parse(h, bytes.Clone(p.part[HeaderLen:][:h.Length]))
			require.NoError(p.t, err)
			p.sent = append(p.sent, q)
			p.part = p.part[HeaderLen+int(h.Length):]
		}
	}
	return total
}

// peer sends a packet of the peer.
func (p *pair) peer(q Packet) {
	p.t.Helper()
	require.NoError(p.t, p.peerErr(q))
}

func (p *pair) peerErr(q Packet) error {
	p.tr.Received(p.now)
	// The packet is encoded and parsed, as on a connection.
	b := Append(nil, q)
	h, err := ParseHeader(b)
	require.NoError(p.t, err)
	q, err = Parse(h, b[HeaderLen:])
	require.NoError(p.t, err)
	if q.Type == TypeStream {
		p.tr.Raw(p.now, q.Session, q.Raw)
	} else {
		err = p.tr.Packet(p.now, q)
	}
	p.settle()
	return err
}

// frame sends frames of the Conn.
func (p *pair) frame(b []byte) {
	p.t.Helper()
	for len(b) > 0 {
		h, err := packet.ParseHeader(b, p.conn.theirs.MaxFrame)
		require.NoError(p.t, err)
		require.NoError(p.t, p.tr.Frame(p.now, h, b[packet.HeaderLen:][:h.Length]))
		b = b[packet.HeaderLen+int(h.Length):]
	}
	p.settle()
}

// pass advances the time.
func (p *pair) pass(d time.Duration) {
	for end := p.now.Add(d); ; {
		at := p.tr.Wake()
		if p.tr.Err() != nil || at.After(end) {
			p.now = end
			return
		}
		p.now = at
		p.tr.Tick(p.now)
		p.settle()
	}
}

// want returns the next packet to the peer, which must have that type.
func (p *pair) want(typ Type, reason string) Packet {
	p.t.Helper()
	if len(p.sent) == 0 {
		p.t.Fatalf("%s: nothing is sent to the peer, want %v", reason, typ)
	}
	q := p.sent[0]
	p.sent = p.sent[1:]
	require.Equal(p.t, typ.String(), q.Type.String(), reason)
	return q
}

// wantNone checks that nothing is sent to the peer.
func (p *pair) wantNone(reason string) {
	p.t.Helper()
	require.Empty(p.t, p.sent, reason)
}

// wantFrame returns the next event of the Conn except Credit, which must have that type.
func (p *pair) wantFrame(typ packet.Type, reason string) event {
	p.t.Helper()
	for p.seen < len(p.conn.events) {
		e := p.conn.events[p.seen]
		p.seen++
		if e.typ == packet.TypeCredit && typ != packet.TypeCredit {
			continue
		}
		require.Equal(p.t, typ.String(), e.typ.String(), reason)
		return e
	}
	p.t.Fatalf("%s: nothing comes to the Conn, want %v", reason, typ)
	return event{}
}

// wantQuiet checks that the Conn has received nothing except Credit.
func (p *pair) wantQuiet(reason string) {
	p.t.Helper()
	for ; p.seen < len(p.conn.events); p.seen++ {
		require.Equal(p.t, packet.TypeCredit, p.conn.events[p.seen].typ, reason)
	}
}

// release releases all data at the Conn.
func (p *pair) release(e event) {
	p.t.Helper()
	p.frame(p.conn.release(e))
}

// sendFrame sends a frame of the Conn.
func sendFrame(h packet.Header, payload ...byte) []byte {
	h.Length = uint32(len(payload))
	return append(packet.AppendHeader(nil, h), payload...)
}

// data sends raw bytes of the Conn.
func (p *pair) data(stream uint64, flags packet.Flags, text string) {
	p.t.Helper()
	s := p.conn.streams[stream]
	require.True(p.t, s.have.take(packet.ClassRaw, uint64(len(text))), "credit for %d bytes of %d", len(text), s.have[packet.ClassRaw])
	if flags&packet.FlagClose != 0 {
		s.state = modelClosing
		if s.ended {
			s.state = modelClosed
		}
	}
	p.frame(sendFrame(packet.Header{Type: packet.TypeData, Stream: stream, Flags: flags}, []byte(text)...))
}

// call sends a request of the Conn, and returns its number.
func (p *pair) call(stream uint64, r packet.Request) uint64 {
	p.t.Helper()
	p.conn.numbers++
	b := p.conn.send(p.conn.streams[stream], packet.TypeRequest, p.conn.numbers, r.Append(nil), r.Data)
	require.NotNil(p.t, b, "credit for a request of %d bytes", r.HeadSize()+len(r.Data))
	p.frame(b)
	return p.conn.numbers
}

// publish sends a message of the Conn, and returns its number.
func (p *pair) publish(stream uint64, m packet.Message) uint64 {
	p.t.Helper()
	var number uint64
	if m.Cnss == 2 {
		p.conn.numbers++
		number = p.conn.numbers
	}
	b := p.conn.send(p.conn.streams[stream], packet.TypeMessage, number, m.Append(nil), m.Data)
	require.NotNil(p.t, b, "credit for a message of %d bytes", m.HeadSize()+len(m.Data))
	p.frame(b)
	return number
}

// respond answers a request at the Conn.
func (p *pair) respond(e event, r packet.Response) {
	p.t.Helper()
	delete(p.conn.asked, e.number)
	b := p.conn.send(p.conn.streams[e.stream], packet.TypeResponse, e.number, r.Append(nil), r.Data)
	require.NotNil(p.t, b, "credit for a response of %d bytes", r.HeadSize()+len(r.Data))
	p.frame(append(b, p.conn.release(e)...))
}

// answer sends an Ack, Registered or Cancel of the Conn.
func (p *pair) answer(stream uint64, typ packet.Type, number uint64, a packet.Answer) {
	p.t.Helper()
	p.frame(p.conn.send(p.conn.streams[stream], typ, number, a.Append(nil), nil))
}

// register registers a method of the Conn, and returns the number.
func (p *pair) register(stream uint64, method string) uint64 {
	p.t.Helper()
	p.conn.numbers++
	p.frame(p.conn.send(p.conn.streams[stream], packet.TypeRegister, p.conn.numbers, []byte(method), nil))
	return p.conn.numbers
}

// open opens a stream of the Conn, and returns its number.
func (p *pair) open(peer, meta string) uint64 {
	p.t.Helper()
	number := p.conn.nextOut
	p.conn.nextOut += 2
	p.conn.streams[number] = p.conn.stream(number, modelAsked, packet.Windows{})
	p.frame(packet.AppendOpen(nil, number, packet.Open{
		Windows: packet.Windows{Raw: p.conn.own.Raw, Messages: p.conn.own.Messages}, Peer: peer, Meta: []byte(meta),
	}))
	return number
}

// accept accepts a stream at the Conn.
func (p *pair) accept(number uint64) {
	p.t.Helper()
	p.conn.streams[number].state = modelOpen
	p.frame(packet.AppendAccept(nil, number, packet.Windows{Raw: p.conn.own.Raw, Messages: p.conn.own.Messages}))
}

// notice sends a frame of the Conn with a Reason.
func (p *pair) notice(typ packet.Type, stream uint64, code geminio.Code, text string) {
	p.t.Helper()
	if s := p.conn.streams[stream]; s != nil && (typ == packet.TypeReset || typ == packet.TypeRefuse) {
		s.state = modelClosed
	}
	p.frame(packet.AppendReason(nil, typ, stream, packet.Reason{Code: uint32(code), Text: text}))
}

// opened opens a stream of the Conn, and returns its number and the session.
func (p *pair) opened() (number, session uint64) {
	p.t.Helper()
	number = p.open("", "")
	q := p.want(TypeSession, "the Conn opens a stream")
	session = q.Negotiate
	if q.Flags&FlagAcquireSession != 0 {
		session = 1<<62 + number
	}
	p.peer(Packet{Type: TypeSessionAck, ID: q.ID, Negotiate: q.Negotiate, Session: session})
	p.wantFrame(packet.TypeAccept, "the peer has accepted")
	return number, session
}

// offered opens a stream of the peer, and returns its number and the session. The peer sends a
// byte, which ends the delay of packets.
func (p *pair) offered() (number, session uint64) {
	p.t.Helper()
	id, negotiate := p.tr.newID()+1<<40, p.tr.newID()+1<<61
	q := Packet{Type: TypeSession, ID: id, Negotiate: negotiate}
	if p.conn.side == geminio.RecipientSide {
		q.Flags = FlagAcquireSession
	}
	p.peer(q)
	number = p.wantFrame(packet.TypeOpen, "the peer opens a stream").stream
	p.accept(number)
	ack := p.want(TypeSessionAck, "the Conn has accepted")
	p.peer(Packet{Type: TypeStream, Session: ack.Session, Raw: []byte("!")})
	p.release(p.wantFrame(packet.TypeData, "the first byte"))
	return number, ack.Session
}

// wantEnd checks that the connection has ended in an orderly way.
func (p *pair) wantEnd(reason string) {
	p.t.Helper()
	p.wantFrame(packet.TypeClose, reason)
	require.Equal(p.t, io.EOF, p.tr.Err(), reason)
}

// check checks the invariants of the pair.
func (p *pair) check() {
	p.t.Helper()
	if err := p.tr.check(); err != nil {
		p.t.Fatal(err)
	}
}

// check returns an error if the accounts of the translator do not agree.
func (t *Translator) check() error {
	var held uint64
	all := make(map[*stream]bool)
	for _, s := range t.streams {
		all[s] = true
	}
	for _, s := range t.sessions {
		all[s] = true
	}
	var used [packet.Classes]uint64 // credit that is neither left nor owed
	streamUsed := make(map[*stream]balance)
	count := func(m mark) {
		if m.credit == 0 {
			return
		}
		if m.class >= packet.StreamClasses {
			used[m.class] += m.credit
			return
		}
		u := streamUsed[m.s]
		u[m.class] += m.credit
		streamUsed[m.s] = u
	}
	answers := 0
	for _, m := range t.marks {
		count(m)
		answers += m.answer
	}
	if answers != t.answers {
		return fmt.Errorf("answers of %d bytes are counted as %d", answers, t.answers)
	}
	for s := range all {
		for _, e := range s.delayed {
			count(e.m)
		}
		held += uint64(s.raw.Len())
		for _, q := range s.queues() {
			for _, h := range *q {
				held += h.budgetSize()
			}
		}
		if s.state == streamClosed && s.holds() {
			return fmt.Errorf("stream %d is closed and holds something", s.number)
		}
		if s.holds() && !s.waiting {
			return fmt.Errorf("stream %d holds something and does not wait", s.number)
		}
	}
	if held != t.held {
		return fmt.Errorf("%d bytes are held, %d are counted", held, t.held)
	}
	for key, a := range t.assemblies {
		if class := charge.LargeClass(key.typ); class != 0 && a.total > t.smallRx {
			used[class] += uint64(a.total)
		}
		if key.typ == packet.TypeRequest {
			used[packet.ClassHandlers]++
		}
	}
	used[packet.ClassHandlers] += uint64(len(t.calls))
	for class := packet.ClassHandlers; class < packet.Classes; class++ {
		if g := t.given[class]; g.left+g.owed+used[class] != g.size {
			return fmt.Errorf("%v: %d left, %d owed, %d used, of %d", class, g.left, g.owed, used[class], g.size)
		}
	}
	for s := range all {
		if s.state != streamOpen || t.phase != phaseWorking {
			continue
		}
		for class := range packet.StreamClasses {
			if g := s.given[class]; g.left+g.owed+streamUsed[s][class] != g.size {
				return fmt.Errorf("stream %d, %v: %d left, %d owed, %d used, of %d", s.number, class, g.left, g.owed, streamUsed[s][class], g.size)
			}
		}
	}
	calls := 0
	for s := range all {
		calls += len(s.calls)
	}
	if calls != len(t.calls) {
		return fmt.Errorf("%d calls of streams, %d of all", calls, len(t.calls))
	}
	return nil
}
