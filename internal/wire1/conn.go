package wire1

// This file handles the frames of the Conn.

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
)

// assemblyKey identifies a packet of the Conn that has not arrived completely.
type assemblyKey struct {
	number uint64
	typ    packet.Type
	call   uint64
}

// assembly is a packet of the Conn that has not arrived completely.
type assembly struct {
	total int    // the length of the whole body
	body  []byte // the bytes that have arrived
}

// Frame handles a frame of the Conn. packet.ParseHeader has accepted the header. An error
// means that the Conn has violated wire 2.
func (t *Translator) Frame(now time.Time, h packet.Header, payload []byte) error {
	if t.phase == phaseOver {
		return nil
	}
	defer t.step(now)
	switch {
	case h.Type.IsPacket():
		return t.connPacket(now, h, payload)
	case h.Type < packet.TypeCredit:
		return t.connControl(now, h, payload)
	}
	switch h.Type {
	case packet.TypeCredit:
		c, err := packet.ParseCredit(payload, h.Stream)
		if err != nil {
			return err
		}
		t.connCredits(now, h.Stream, c)
	case packet.TypeOpen:
		o, err := packet.ParseOpen(payload)
		if err != nil {
			return err
		}
		return t.connOpens(h.Stream, o)
	case packet.TypeAccept:
		w, err := packet.ParseAccept(payload)
		if err != nil {
			return err
		}
		t.connAccepts(h.Stream, w)
	case packet.TypeData:
		return t.connData(h, payload)
	case packet.TypeRefuse, packet.TypeStop, packet.TypeReset:
		n, err := packet.ParseReason(h.Type, payload)
		if err != nil {
			return err
		}
		switch h.Type {
		case packet.TypeRefuse:
			t.connRefuses(h.Stream, n)
		case packet.TypeStop:
			t.connStops(now, h.Stream)
		case packet.TypeReset:
			t.connEnds(h.Stream, false)
		}
	}
	return nil
}

// connControl handles a frame of the connection.
func (t *Translator) connControl(now time.Time, h packet.Header, payload []byte) error {
	switch h.Type {
	case packet.TypePing:
		// With Ping the Conn checks this Transport. The translator checks the peer
		// with Config.Silence.
		v, err := packet.ParsePing(h.Type, payload)
		if err != nil {
			return err
		}
		t.connPings(v)
	case packet.TypeGoAway:
		t.connGoesAway(now)
	case packet.TypeClose:
		t.connCloses(now)
	}
	return nil
}

// connPings answers a Ping. The Pong for a Ping behind GoAway is sent when the queued packets have
// been sent to the peer, because it reports that the peer has received everything. An ignorable
// frame takes its place until then, so that the Conn does not take this side for silent.
func (t *Translator) connPings(value uint64) {
	if t.goingAway && t.sent < t.queued {
		t.marks = append(t.marks, mark{end: t.queued, pong: true, ping: value})
		t.frames.Append(packet.AppendHeader(nil, packet.Header{Type: packet.Ignorable}))
		return
	}
	t.frames.Append(packet.AppendPing(nil, packet.TypePong, value))
}

// connGoesAway handles a GoAway: it refuses the requests and messages of the peer that were not
// passed to the Conn.
func (t *Translator) connGoesAway(now time.Time) {
	t.goingAway = true
	t.refuseHeld(t.main, geminio.ErrGoingAway.Error())
	t.passHeld(now, t.main)
}

// connCloses handles a Close: it dismisses all sessions, the default one last.
func (t *Translator) connCloses(now time.Time) {
	if t.phase > phaseLeaving {
		return
	}
	leaves := t.disConnReceived || t.cause != nil // the Close is the answer of the Conn
	t.phase, t.until = phaseClosing, now.Add(min(dismissPause, t.cfg.Linger/2))
	for _, s := range t.streams {
		t.dropHeld(s)
		switch {
		case leaves || s == t.main:
		case s.state == streamOffered:
			t.answer(Packet{
				Type: TypeSessionAck, ID: s.offered.ID, Negotiate: s.offered.Negotiate, Error: geminio.ErrGoingAway.Error(),
			})
		case s.state == streamOpen:
			t.dismiss(s)
		}
	}
	if !leaves && !t.dismissSent {
		t.dismissSent = true
		t.dismiss(t.main)
	}
}

// dismiss sends a Dismiss for the session of s.
func (t *Translator) dismiss(s *stream) {
	t.send(s, Packet{Type: TypeDismiss, ID: t.newID()}, mark{})
}

// connCredits handles a Credit frame.
func (t *Translator) connCredits(now time.Time, number uint64, c packet.Credit) {
	if c.Class >= packet.StreamClasses {
		t.credit.add(c)
		t.serve(now)
		return
	}
	if s := t.streams[number]; s != nil {
		s.credit.add(c)
		t.passHeld(now, s)
	}
}

// connOpens handles an Open: it asks the peer for a session. If the Conn is that of a client,
// the server chooses the id.
func (t *Translator) connOpens(number uint64, o packet.Open) error {
	if t.streams[number] != nil || number%2 == t.lastPeerNumber%2 || number == defaultSession {
		return &packet.Error{What: "open", Reason: fmt.Sprintf("stream %d cannot be opened by the Conn, or is open", number)}
	}
	if t.phase != phaseWorking {
		t.appendReason(packet.TypeRefuse, number, geminio.CodeGoingAway, geminio.ErrGoingAway.Error())
		return nil
	}
	s := t.newStream(number, o.Windows)
	s.state = streamAsked
	p := Packet{Type: TypeSession, ID: t.newID(), Meta: o.Meta, Peer: o.Peer}
	if t.server {
		s.session, p.Negotiate = number, number
	} else {
		p.Flags, p.Negotiate = FlagAcquireSession, t.newID()
	}
	t.streams[number] = s
	if t.asked == nil {
		t.asked = make(map[uint64]*stream)
	}
	t.asked[p.ID] = s
	t.put(p, mark{})
	return nil
}

// connAccepts handles an Accept: it sends the peer the id of the session.
func (t *Translator) connAccepts(number uint64, w packet.Windows) {
	s := t.streams[number]
	if s == nil || s.state != streamOffered {
		return
	}
	ack := Packet{Type: TypeSessionAck, ID: s.offered.ID, Negotiate: s.offered.Negotiate, Session: s.session}
	s.state, s.offered = streamOpen, Packet{}
	t.grantWindows(s, w)
	t.sessions[s.session] = s
	b := t.encode(ack)
	s.delaying = t.server
	t.enqueue(b, mark{answer: len(b), s: s, sessionAck: s.delaying})
}

// connRefuses handles a Refuse: it sends the peer the error.
func (t *Translator) connRefuses(number uint64, n packet.Reason) {
	s := t.streams[number]
	if s == nil || s.state != streamOffered {
		return
	}
	t.answer(Packet{Type: TypeSessionAck, ID: s.offered.ID, Negotiate: s.offered.Negotiate, Error: reason(n.Code, n.Text)})
	t.removeStream(s)
}

// reason returns the text of an error for wire 1, in which an empty text means no error.
func reason(code uint32, text string) string {
	switch {
	case code == uint32(geminio.CodeOK):
		return ""
	case text == "":
		return fmt.Sprintf("code %d", code)
	}
	return text
}

// connData handles a Data frame.
func (t *Translator) connData(h packet.Header, payload []byte) error {
	s := t.streams[h.Stream]
	if s == nil {
		return nil
	}
	if len(payload) > 0 {
		n := uint64(len(payload))
		if err := s.given[packet.ClassRaw].take(packet.ClassRaw, n); err != nil {
			return err
		}
		if s.state == streamOpen && t.phase == phaseWorking {
			t.send(s, Packet{Type: TypeStream, ID: t.newID(), Raw: payload}, mark{class: packet.ClassRaw, credit: n})
		}
	}
	if h.Flags&packet.FlagFin != 0 {
		s.fin = true
		t.dismissEndedHalves(s)
	}
	if h.Flags&packet.FlagClose != 0 {
		t.connEnds(h.Stream, true)
	}
	return nil
}

// connStops handles a Stop: it discards raw bytes of the peer from now on.
func (t *Translator) connStops(now time.Time, number uint64) {
	s := t.streams[number]
	if s == nil {
		return
	}
	s.stopped = true
	t.dropRaw(s)
	t.dismissEndedHalves(s)
	t.passHeld(now, s)
}

// dismissEndedHalves dismisses a session whose raw bytes have ended in both directions, if it
// has never carried packets. Wire 1 has no other message for that.
func (t *Translator) dismissEndedHalves(s *stream) {
	if s.fin && s.stopped && !s.usesPackets && s.state == streamOpen && s != t.main {
		t.dismissWhileWorking(s)
		s.state, s.dismissAcked = streamEnding, true
		t.endTowardsConn(s)
	}
}

// dismissWhileWorking dismisses the session of s, unless the end of the connection does.
func (t *Translator) dismissWhileWorking(s *stream) {
	if t.phase == phaseWorking {
		t.dismiss(s)
	}
}

// connEnds handles a close flag or a Reset. A close flag is answered, a Reset is not.
func (t *Translator) connEnds(number uint64, answer bool) {
	s := t.streams[number]
	if s == nil || s == t.main {
		return
	}
	switch s.state {
	case streamAsked:
		delete(t.streams, number)
		t.giveUp(s)
		return
	case streamOpen:
		t.dismissWhileWorking(s)
	case streamEnded:
		answer = false // the frame is the answer of the Conn
	}
	if answer {
		t.frames.Append(packet.AppendHeader(nil, packet.Header{
			Type: packet.TypeData, Flags: packet.FlagFin | packet.FlagClose, Stream: number,
		}))
	}
	t.removeStream(s)
}

// giveUp records that the Conn has reset a stream before the peer has answered.
func (t *Translator) giveUp(s *stream) {
	s.state = streamUnwanted
	if t.unwanted++; t.unwanted <= maxUnwanted {
		return
	}
	for id, o := range t.asked {
		if o.state == streamUnwanted {
			t.unwanted--
			delete(t.asked, id)
			return
		}
	}
}

// connPacket handles a frame with a packet or a fragment of one.
func (t *Translator) connPacket(now time.Time, h packet.Header, payload []byte) error {
	f, err := packet.ParseFragmentHeader(payload, h)
	if err != nil {
		return err
	}
	piece := payload[packet.FragmentHeaderLen(h):]
	s := t.streams[h.Stream]
	if h.Type == packet.TypeAbandon {
		typ, err := packet.ParseAbandon(piece)
		if err == nil {
			t.abandon(s, assemblyKey{h.Stream, typ, f.Seq})
		}
		return err
	}
	if h.Flags&packet.FlagNext == 0 {
		if err := t.charge(s, h.Type, int(f.Total)); err != nil {
			return err
		}
	}
	if h.Flags == 0 {
		return t.complete(now, s, h.Type, f.Seq, piece)
	}
	key := assemblyKey{h.Stream, h.Type, f.Seq}
	a := t.assemblies[key]
	if h.Flags == packet.FlagMore {
		if a != nil {
			return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("number %d begins twice", f.Seq)}
		}
		if t.assemblies == nil {
			t.assemblies = make(map[assemblyKey]*assembly)
		}
		a = &assembly{total: int(f.Total)}
		t.assemblies[key] = a
	}
	switch {
	case a == nil:
		return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("number %d has not begun", f.Seq)}
	case len(a.body)+len(piece) > a.total:
		return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("fragments of more than %d bytes", a.total)}
	}
	a.body = append(a.body, piece...)
	if h.Flags&packet.FlagMore != 0 {
		return nil
	}
	delete(t.assemblies, key)
	if len(a.body) < a.total {
		return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("fragments of %d bytes, announced are %d", len(a.body), a.total)}
	}
	return t.complete(now, s, h.Type, f.Seq, a.body)
}

// charge counts the credit that a packet of the Conn costs. Stream s is nil if it has ended.
// Its own credit does not matter then.
func (t *Translator) charge(s *stream, typ packet.Type, size int) error {
	c := t.chargeOfConn(typ, size)
	if g := t.grantOf(s, c.Class); g != nil {
		if err := g.take(c.Class, uint64(c.Bytes)); err != nil {
			return err
		}
	}
	return t.given[packet.ClassHandlers].take(packet.ClassHandlers, uint64(c.Handlers))
}

// chargeOfConn returns the charge of a packet of the Conn. The windows of Offer pay all small
// messages.
func (t *Translator) chargeOfConn(typ packet.Type, size int) charge.Charge {
	return charge.For(typ, size, t.smallRx, charge.MaxOwn(Offer().Messages, t.smallRx))
}

// cost returns the mark that gives back the bytes that a packet of the Conn costs.
func (t *Translator) cost(typ packet.Type, size int) mark {
	c := t.chargeOfConn(typ, size)
	return mark{class: c.Class, credit: uint64(c.Bytes)}
}

// refund gives back at once the credit of a packet that is not sent to the peer.
func (t *Translator) refund(s *stream, typ packet.Type, size int) {
	c := t.chargeOfConn(typ, size)
	if c.Bytes > 0 {
		t.giveBack(s, c.Class, uint64(c.Bytes))
	}
	if c.Handlers > 0 {
		t.giveBack(nil, packet.ClassHandlers, 1)
	}
}

// giveBack records that n of a class are owed to the Conn, and sends a Credit frame if it is
// due.
func (t *Translator) giveBack(s *stream, class packet.Class, n uint64) {
	var number uint64
	g := &t.given[class]
	if class < packet.StreamClasses {
		if s == nil || s.state != streamOpen {
			return
		}
		g, number = &s.given[class], s.number
	} else if class == packet.ClassLargeMessages && s != nil && s.state == streamOpen {
		number = s.number
	}
	g.owed += n
	if g.due(class) && t.phase != phaseOver {
		t.frames.Append(packet.AppendCredit(nil, number, packet.Credit{Class: class, Amount: g.give()}))
	}
}

// complete handles a complete packet of the Conn.
func (t *Translator) complete(now time.Time, s *stream, typ packet.Type, number uint64, body []byte) error {
	if s == nil || s.state != streamOpen || t.phase != phaseWorking {
		t.refund(s, typ, len(body))
		t.refuseConn(s, typ, number)
		return nil
	}
	switch typ {
	case packet.TypeRequest:
		return t.connCalls(now, s, number, body)
	case packet.TypeResponse:
		return t.connResponds(s, number, body)
	case packet.TypeMessage:
		return t.connPublishes(now, s, number, body)
	case packet.TypeRegister:
		s.usesPackets = true
		id := t.newID()
		t.addCall(s, number, callKey{TypeRegisterAck, id})
		t.send(s, Packet{Type: TypeRegister, ID: id, Raw: body}, mark{})
	case packet.TypeAck, packet.TypeRegistered, packet.TypeCancel:
		a, err := packet.ParseAnswer(typ, body)
		if err != nil {
			return err
		}
		t.connAnswers(s, typ, number, a)
	}
	return nil
}

// refuseConn refuses a packet of the Conn on a stream that the peer has dismissed, before the
// close flag has been sent to the Conn.
func (t *Translator) refuseConn(s *stream, typ packet.Type, number uint64) {
	if s == nil || s.state != streamEnding {
		return
	}
	const code, text = uint32(geminio.CodeClosed), "the peer has closed the stream"
	a := packet.Answer{Code: code, Text: text}
	switch typ {
	case packet.TypeRequest:
		t.respond(s, number, packet.Response{Code: code, Text: text})
	case packet.TypeMessage:
		t.deliver(s, packet.TypeAck, number, a.Append(nil), nil)
	case packet.TypeRegister:
		t.deliver(s, packet.TypeRegistered, number, a.Append(nil), nil)
	}
}

// abandon removes a packet whose remaining fragments will not arrive.
func (t *Translator) abandon(s *stream, key assemblyKey) {
	if a := t.assemblies[key]; a != nil {
		delete(t.assemblies, key)
		t.refund(s, key.typ, a.total)
	}
}

// addCall adds a request or registration of the Conn that waits for its answer.
func (t *Translator) addCall(s *stream, number uint64, key callKey) {
	if t.calls == nil {
		t.calls = make(map[callKey]call)
	}
	if s.calls == nil {
		s.calls = make(map[uint64]callKey)
	}
	t.calls[key] = call{s, number}
	s.calls[number] = key
}

// answered removes the operation that waits for the answer with this key, and gives its handler
// credit back. It reports whether there was one.
func (t *Translator) answered(key callKey) (c call, ok bool) {
	if c, ok = t.calls[key]; ok {
		delete(t.calls, key)
		delete(c.s.calls, c.number)
		t.giveBack(nil, packet.ClassHandlers, 1)
	}
	return c, ok
}

// idFor returns the id for a packet. It is the id that the user of the Conn has given the
// request or message, if no other packet has it, because the user of the peer sees the id.
func (t *Translator) idFor(wanted uint64, taken func(uint64) bool) uint64 {
	for wanted == 0 || taken(wanted) {
		wanted = t.newID()
	}
	return wanted
}

// connCalls passes a request to the peer.
func (t *Translator) connCalls(now time.Time, s *stream, number uint64, body []byte) error {
	r, err := packet.ParseRequest(body)
	if err != nil {
		return err
	}
	s.usesPackets = true
	id := t.idFor(r.ID, func(id uint64) bool { _, is := t.calls[callKey{TypeResponse, id}]; return is })
	p := Packet{Type: TypeRequest, ID: id, Content: Content{Key: r.Method, Value: r.Data, Custom: r.Custom}}
	p.Deadline = t.skew.deadline(r.Timeout, now)
	p.ContextDeadline = p.Deadline
	if !t.send(s, p, t.cost(packet.TypeRequest, len(body))) {
		t.refund(s, packet.TypeRequest, len(body))
		t.respond(s, number, packet.Response{Code: uint32(geminio.CodeTooLarge), Text: tooLong("request")})
		return nil
	}
	t.addCall(s, number, callKey{TypeResponse, id})
	return nil
}

// tooLong returns the text for a packet that is longer than the peer accepts.
func tooLong(what string) string {
	return fmt.Sprintf("%s: %v: its wire 1 form exceeds %d bytes", what, geminio.ErrTooLarge, MaxBody)
}

// respond sends a small response to the Conn.
func (t *Translator) respond(s *stream, number uint64, r packet.Response) {
	t.deliver(s, packet.TypeResponse, number, r.Append(nil), r.Data)
}

// connPublishes passes a message to the peer. The peer acknowledges every message.
func (t *Translator) connPublishes(now time.Time, s *stream, number uint64, body []byte) error {
	m, err := packet.ParseMessage(body)
	if err != nil {
		return err
	}
	s.usesPackets = true
	p := Packet{Type: TypeMessage, Content: Content{Value: m.Data, Topic: string(m.Topic), Custom: m.Custom}}
	p.ID = t.idFor(m.ID, t.messages.has)
	p.Deadline = t.skew.deadline(m.Timeout, now)
	p.ContextDeadline = p.Deadline
	sent := t.send(s, p, t.cost(packet.TypeMessage, len(body)))
	if !sent {
		t.refund(s, packet.TypeMessage, len(body))
	}
	switch {
	case m.Cnss == 1: // the publisher does not wait
	case !sent:
		t.ack(s, number, packet.Answer{Code: uint32(geminio.CodeTooLarge), Text: tooLong("message")})
	default:
		for _, old := range t.messages.add(p.ID, call{s, number}) {
			t.ack(old.s, old.number, packet.Answer{
				Code: uint32(geminio.CodeLimit), Text: fmt.Sprintf("%v messages without an answer", geminio.ErrTooMany),
			})
		}
	}
	return nil
}

// ack sends the answer to a message to the Conn.
func (t *Translator) ack(s *stream, number uint64, a packet.Answer) {
	if s.state == streamOpen || s.state == streamEnding {
		t.deliver(s, packet.TypeAck, number, a.Append(nil), nil)
	}
}

// connResponds passes a response to the peer.
func (t *Translator) connResponds(s *stream, number uint64, body []byte) error {
	r, err := packet.ParseResponse(body)
	if err != nil {
		return err
	}
	v, ok := s.served[number]
	if !ok {
		t.refund(s, packet.TypeResponse, len(body))
		return nil
	}
	t.removeServed(s, number)
	p := Packet{Type: TypeResponse, ID: v.id, Error: reason(r.Code, r.Text)}
	p.Content = Content{Key: v.method, Value: r.Data, Custom: r.Custom}
	m := t.cost(packet.TypeResponse, len(body))
	if m.credit == 0 {
		m.answer = HeaderLen + 8 + len(body)
	}
	if !t.send(s, p, m) {
		t.refund(s, packet.TypeResponse, len(body))
		t.refuse(s, v.id, v.method, tooLong("response"))
	}
	return nil
}

// refuse sends an error as the response to a request of the peer.
func (t *Translator) refuse(s *stream, id uint64, method []byte, text string) {
	p := Packet{Type: TypeResponse, ID: id, Error: text, Content: Content{Key: method}}
	t.send(s, p, mark{answer: HeaderLen + 8 + len(text)})
}

// removeServed removes a request or registration of the peer.
func (t *Translator) removeServed(s *stream, number uint64) {
	id := s.served[number].id
	delete(s.served, number)
	if s.cancels[id] == number {
		delete(s.cancels, id)
	}
}

// connAnswers passes the answer to a message or registration, or a cancellation, to the peer.
func (t *Translator) connAnswers(s *stream, typ packet.Type, number uint64, a packet.Answer) {
	answer := mark{answer: HeaderLen + 8 + len(a.Text)}
	switch typ {
	case packet.TypeAck:
		id := number
		if odd, ok := t.oddIDs.take(number); ok {
			id = odd
		}
		t.send(s, Packet{Type: TypeMessageAck, ID: id, Error: reason(a.Code, a.Text)}, answer)
	case packet.TypeRegistered:
		if v, ok := s.served[number]; ok {
			t.removeServed(s, number)
			t.send(s, Packet{Type: TypeRegisterAck, ID: v.id, Error: reason(a.Code, a.Text)}, answer)
		}
	case packet.TypeCancel:
		key, ok := s.calls[number]
		if !ok || key.typ != TypeResponse {
			return
		}
		t.answered(key) // so that a later response is ignored
		if t.knowsCancel {
			kind := int16(KindCanceled)
			if a.Code == uint32(geminio.CodeDeadline) {
				kind = KindDeadline
			}
			t.send(s, Packet{Type: TypeRequestCancel, ID: key.id, Kind: kind}, mark{})
		}
	}
}

// deliver appends the frames of a packet for the Conn. The caller has used the credit.
func (t *Translator) deliver(s *stream, typ packet.Type, number uint64, head, data []byte) {
	total := len(head) + len(data)
	maxPayload := int(min(t.cfg.Offer.MaxFrame, packet.DefaultMaxFrame)) - packet.FragmentLen
	shared := charge.For(typ, total, t.smallTx, s.own).Flags(total)
	var room [packet.HeaderLen + packet.FragmentLen]byte
	for off := 0; ; {
		var flags packet.Flags
		if off > 0 {
			flags = packet.FlagNext
		}
		n := min(total-off, maxPayload)
		if off+n < total {
			flags |= packet.FlagMore
		}
		flags |= shared
		b := packet.AppendHeader(room[:0], packet.Header{Type: typ, Flags: flags, Stream: s.number})
		b = packet.AppendFragmentHeader(b, packet.FragmentHeader{Seq: number, Total: uint32(total)}, flags)
		binary.BigEndian.PutUint32(b[8:], uint32(len(b)-packet.HeaderLen+n))
		t.frames.Append(b)
		if off < len(head) {
			k := min(n, len(head)-off)
			t.frames.Append(head[off : off+k])
			off, n = off+k, n-k
		}
		if n > 0 {
			t.frames.Append(data[off-len(head):][:n])
			off += n
		}
		if off == total {
			return
		}
	}
}
