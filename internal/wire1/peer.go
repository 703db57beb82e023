package wire1

// This file handles the packets of the peer.

import (
	"fmt"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// Packet handles a packet of the peer that is not raw bytes. An error means that the peer
// has violated wire 1, which ends the connection.
func (t *Translator) Packet(now time.Time, p Packet) error {
	if t.phase == phaseOver {
		return nil
	}
	if p.Type&0x0f != 2 { // the id of an answer is this side's
		t.skew.learn(p.ID, now)
	}
	err := t.packet(now, p)
	if err != nil {
		t.fail(err)
		return err
	}
	t.step(now)
	return nil
}

// packet handles a packet of the peer. An error ends the connection.
func (t *Translator) packet(now time.Time, p Packet) error {
	switch p.Type {
	case TypeConn, TypeConnAck:
		return malformed(p.Type.String(), "the handshake is done")
	case TypeHeartbeat:
		return t.peerHeartbeat(p)
	case TypeHeartbeatAck:
		if t.server {
			return malformed(p.Type.String(), "from a client")
		}
	case TypeDisConn:
		t.peerDisconnects(now, p)
	case TypeDisConnAck:
		t.disConnAcked = t.disConnAcked || t.disConnSent
	case TypeSession:
		return t.peerOpens(p)
	case TypeSessionAck:
		return t.peerAccepts(p)
	case TypeDismiss:
		t.peerDismisses(now, p)
	case TypeDismissAck:
		t.peerConfirms(now, p)
	default:
		s := t.open(p.Session)
		if s == nil {
			return nil // the session has ended; packets for it are ignored
		}
		t.peerSends(now, s, p)
	}
	return nil
}

// Raw handles raw bytes of the peer for a session: a whole packet or a piece of one.
func (t *Translator) Raw(now time.Time, session uint64, p []byte) {
	if t.phase == phaseOver {
		return
	}
	if s := t.open(session); s != nil && !s.stopped && len(p) > 0 {
		t.holdRaw(s, p)
	}
	t.step(now)
}

// TooLarge handles a packet of the peer whose body is longer than the Conn accepts. The slice
// fixed has the fixed fields of the body.
func (t *Translator) TooLarge(now time.Time, h Header, fixed []byte) {
	if t.phase == phaseOver {
		return
	}
	p := Packet{Type: h.Type, ID: h.ID}
	p.parseFixed(fixed)
	text := fmt.Sprintf("%v: %d bytes", geminio.ErrTooLarge, h.Length)
	if h.Type == TypeSession {
		t.answer(Packet{Type: TypeSessionAck, ID: h.ID, Negotiate: p.Negotiate, Error: text})
	} else if s := t.open(p.Session); s != nil {
		t.refuseTooLarge(s, p, text)
	}
	t.step(now)
}

// open returns the stream of a session for which a packet of the peer has arrived, or nil if
// the peer may not send for it. It sends the delayed packets, because the peer knows the
// session.
func (t *Translator) open(session uint64) *stream {
	s := t.sessions[session]
	if s == nil {
		return nil
	}
	t.sendDelayed(s)
	if s.state != streamOpen && s.state != streamEnding || t.phase >= phaseClosing {
		return nil
	}
	return s
}

// peerHeartbeat answers a Heartbeat of a client and sends a Ping to the Conn. It does nothing
// when the connection is ending, because clients then expect no answer.
func (t *Translator) peerHeartbeat(p Packet) error {
	if !t.server {
		return malformed(p.Type.String(), "from a server")
	}
	if t.phase == phaseWorking {
		t.answer(Packet{Type: TypeHeartbeatAck, ID: p.ID})
		t.frames.Append(packet.AppendPing(nil, packet.TypePing, 0))
	}
	return nil
}

// peerDisconnects handles a DisConn.
func (t *Translator) peerDisconnects(now time.Time, p Packet) {
	t.answer(Packet{Type: TypeDisConnAck, ID: p.ID})
	t.disConnReceived = true
	t.disconnect()
	t.leave(now)
}

// maxStreams bounds the streams that a peer has open. All of them can wait for the answer of the
// Conn, which refuses fewer than 8192 at a time.
const maxStreams = 4096

// peerOpens handles a Session packet: it offers a stream to the Conn.
func (t *Translator) peerOpens(p Packet) error {
	refuse := func(text string) error {
		t.answer(Packet{Type: TypeSessionAck, ID: p.ID, Negotiate: p.Negotiate, Error: text})
		return nil
	}
	if !t.server && (p.Negotiate <= defaultSession || t.sessions[p.Negotiate] != nil || t.offered(p.Negotiate)) {
		return malformed(p.Type.String(), "session %d is open already", p.Negotiate)
	}
	intro := packet.Open{Peer: p.Peer, Meta: p.Meta}
	offer := Offer()
	intro.Windows = packet.Windows{Raw: offer.Raw, Messages: offer.Messages}
	switch limit := min(t.cfg.Offer.MaxStreams, maxStreams); {
	case t.goingAway || t.phase != phaseWorking:
		return refuse(geminio.ErrGoingAway.Error())
	case uint64(t.peerStreams) >= uint64(limit):
		return refuse(fmt.Sprintf("too many streams: %d are open", limit))
	case len(p.Peer) > packet.MaxPeer || intro.Size() > int(t.cfg.Offer.MaxFrame):
		return refuse(fmt.Sprintf("meta and peer: %v", geminio.ErrTooLarge))
	}
	t.lastPeerNumber += 2
	s := t.newStream(t.lastPeerNumber, packet.Windows{})
	s.state, s.offered, s.byPeer = streamOffered, Packet{ID: p.ID, Negotiate: p.Negotiate}, true
	s.session = p.Negotiate
	if t.server {
		s.session = s.number
	}
	t.peerStreams++
	t.streams[s.number] = s
	t.frames.Append(packet.AppendOpen(nil, s.number, intro))
	return nil
}

// offered reports whether a session was offered to the Conn.
func (t *Translator) offered(session uint64) bool {
	for _, s := range t.streams {
		if s.state == streamOffered && s.session == session {
			return true
		}
	}
	return false
}

// peerAccepts handles a SessionAck.
func (t *Translator) peerAccepts(p Packet) error {
	s := t.asked[p.ID]
	if s == nil {
		return nil
	}
	delete(t.asked, p.ID)
	unwanted := s.state == streamUnwanted
	if unwanted {
		t.unwanted--
	}
	switch {
	case p.Error != "":
		if !unwanted {
			t.appendReason(packet.TypeRefuse, s.number, geminio.CodeApplication, p.Error)
		}
		t.removeStream(s)
		return nil
	case !t.server:
		if p.Session <= defaultSession || t.sessions[p.Session] != nil || t.offered(p.Session) {
			return malformed(p.Type.String(), "session %d is open already", p.Session)
		}
		s.session = p.Session
	}
	if unwanted {
		t.dismissWhileWorking(s)
		t.removeStream(s)
		return nil
	}
	s.state = streamOpen
	t.sessions[s.session] = s
	offer := Offer()
	t.frames.Append(packet.AppendAccept(nil, s.number, packet.Windows{Raw: offer.Raw, Messages: offer.Messages}))
	return nil
}

// peerDismisses handles a Dismiss. It answers also if the session has ended at this side. The
// stream ends when the Conn has all held data.
func (t *Translator) peerDismisses(now time.Time, p Packet) {
	s := t.sessions[p.Session]
	if s != nil {
		t.sendDelayed(s)
	}
	t.answer(Packet{Type: TypeDismissAck, ID: p.ID, Session: p.Session})
	switch {
	case s == nil || s.state != streamOpen:
	case s == t.main:
		t.dismissReceived = true
		if !t.dismissSent {
			t.dismissSent = true
			t.dismiss(s)
			t.leave(now)
		}
	case t.phase == phaseClosing:
		// This side has dismissed the session.
	default:
		t.dismiss(s)
		s.state, s.dismissDeadline = streamEnding, now.Add(dismissPause)
		t.ending = append(t.ending, s)
		t.endTowardsConn(s)
	}
}

// peerConfirms handles a DismissAck, after which the peer sends nothing more for the session.
func (t *Translator) peerConfirms(now time.Time, p Packet) {
	s := t.sessions[p.Session]
	switch {
	case s == nil:
	case s == t.main:
		t.dismissAcked = t.dismissAcked || t.dismissSent
	case s.state == streamEnding && !s.dismissAcked:
		s.dismissAcked = true
		t.passHeld(now, s)
	}
}

// endTowardsConn sends the close flag to the Conn for a stream that the peer has dismissed, if
// the Conn has all held data.
func (t *Translator) endTowardsConn(s *stream) {
	if s.state != streamEnding || !s.dismissAcked || s.holds() {
		return
	}
	t.frames.Append(packet.AppendHeader(nil, packet.Header{
		Type: packet.TypeData, Flags: packet.FlagFin | packet.FlagClose, Stream: s.number,
	}))
	t.endCalls(s)
	s.state = streamEnded
	t.removeEnding(s)
	delete(t.sessions, s.session)
}

// removeStream ends a stream on which the Conn expects no further frames.
func (t *Translator) removeStream(s *stream) {
	t.dropHeld(s)
	t.endCalls(s)
	if s.byPeer {
		t.peerStreams--
	}
	s.state = streamClosed
	t.removeEnding(s)
	delete(t.streams, s.number)
	for key := range t.assemblies {
		if key.number == s.number {
			t.abandon(s, key)
		}
	}
	t.forget(s)
}

// removeEnding removes s from t.ending.
func (t *Translator) removeEnding(s *stream) {
	for i, o := range t.ending {
		if o == s {
			t.ending = append(t.ending[:i], t.ending[i+1:]...)
			return
		}
	}
}

// endCalls removes all operations of s, which has ended, that wait for an answer.
func (t *Translator) endCalls(s *stream) {
	for _, key := range s.calls {
		t.answered(key)
	}
	s.calls, s.served, s.cancels = nil, nil, nil
}

// peerSends handles a packet for an open stream.
func (t *Translator) peerSends(now time.Time, s *stream, p Packet) {
	if t.tooLarge(&p) {
		t.refuseTooLarge(s, p, fmt.Sprintf("%v: %d bytes", geminio.ErrTooLarge, bodySize(&p)))
		return
	}
	s.usesPackets = true
	refused := t.goingAway && s == t.main || t.phase != phaseWorking
	switch p.Type {
	case TypeMessage:
		if refused {
			t.refuseMessage(s, p.ID, geminio.ErrGoingAway.Error())
			return
		}
		t.hold(now, s, &held{typ: packet.TypeMessage, number: t.messageNumber(p.ID), p: p, size: bodySize(&p)})
	case TypeMessageAck:
		if c, ok := t.messages.take(p.ID); ok {
			a := packet.Answer{Text: p.Error}
			if p.Error != "" {
				a.Code = uint32(geminio.CodeApplication)
			}
			t.ack(c.s, c.number, a)
		}
	case TypeRequest:
		if refused {
			t.refuse(s, p.ID, p.Key, geminio.ErrGoingAway.Error())
			return
		}
		t.holdCall(now, s, packet.TypeRequest, p, p.Key)
	case TypeRegister:
		if refused {
			t.answer(Packet{Type: TypeRegisterAck, ID: p.ID, Session: s.session})
			return
		}
		t.holdCall(now, s, packet.TypeRegister, p, nil)
	case TypeResponse:
		if c, ok := t.answered(callKey{TypeResponse, p.ID}); ok {
			t.hold(now, c.s, &held{typ: packet.TypeResponse, number: c.number, p: p, size: bodySize(&p)})
		}
	case TypeRegisterAck:
		if c, ok := t.answered(callKey{TypeRegisterAck, p.ID}); ok {
			a := packet.Answer{Text: p.Error}
			if p.Error != "" {
				a.Code = uint32(geminio.CodeApplication)
			}
			t.deliver(c.s, packet.TypeRegistered, c.number, a.Append(nil), nil)
		}
	case TypeRequestCancel:
		t.peerCancels(s, p)
	}
}

// messageNumber returns the number for a message of the peer. It is the id of its packet, so
// that no memory is needed for messages that are never answered. The ids 0 and those with the
// highest bit set cannot be numbers; they are kept in t.oddIDs.
func (t *Translator) messageNumber(id uint64) uint64 {
	if id != 0 && id>>63 == 0 {
		return id
	}
	t.lastNumber++
	number := 1<<62 | t.lastNumber
	t.oddIDs.add(number, id)
	return number
}

// tooLarge reports whether a packet is larger than the Conn accepts.
func (t *Translator) tooLarge(p *Packet) bool {
	switch {
	case len(p.Topic) > packet.MaxName || len(p.Key) > packet.MaxName:
		return true
	case p.Type == TypeRegister:
		return len(p.Raw) > int(t.cfg.Offer.MaxFrame)-packet.FragmentLen
	}
	return bodySize(p) > int(t.cfg.Offer.MaxMessage)+packet.MaxHead
}

// bodySize returns the length of the body in wire 2.
func bodySize(p *Packet) int {
	switch p.Type {
	case TypeRequest:
		r := packet.Request{Method: p.Key, Custom: p.Custom}
		return r.HeadSize() + len(p.Value)
	case TypeMessage:
		m := packet.Message{Custom: p.Custom}
		return m.HeadSize() + len(p.Topic) + len(p.Value)
	case TypeResponse:
		r := response(p)
		return r.HeadSize() + len(p.Value)
	}
	return len(p.Raw)
}

// holdCall passes a request or registration of the peer to the Conn if there is credit, and
// holds it otherwise.
func (t *Translator) holdCall(now time.Time, s *stream, typ packet.Type, p Packet, method []byte) {
	if s.served == nil {
		s.served = make(map[uint64]served)
		s.cancels = make(map[uint64]uint64)
	}
	t.lastNumber++
	h := &held{typ: typ, number: t.lastNumber, p: p, size: bodySize(&p)}
	s.served[h.number] = served{id: p.ID, method: method, held: h}
	if typ == packet.TypeRequest {
		s.cancels[p.ID] = h.number
	}
	t.hold(now, s, h)
}

// peerCancels handles a RequestCancel: the caller no longer waits. It removes a request that was
// not passed to the Conn.
func (t *Translator) peerCancels(s *stream, p Packet) {
	t.knowsCancel = true
	number, ok := s.cancels[p.ID]
	if !ok {
		return
	}
	if v := s.served[number]; v.held != nil {
		v.held.canceled = true
		t.held -= v.held.budgetSize()
		v.held.p, v.held.size = Packet{}, 0
		t.held += v.held.budgetSize()
		t.removeServed(s, number)
		return
	}
	a := packet.Answer{Code: uint32(geminio.CodeCanceled), Text: "context canceled"}
	if p.Kind == KindDeadline {
		a = packet.Answer{Code: uint32(geminio.CodeDeadline), Text: "context deadline exceeded"}
	}
	t.deliver(s, packet.TypeCancel, number, a.Append(nil), nil)
}

// refuseMessage sends an error as the answer to a message of the peer.
func (t *Translator) refuseMessage(s *stream, id uint64, text string) {
	t.send(s, Packet{Type: TypeMessageAck, ID: id, Error: text}, mark{answer: HeaderLen + 8 + len(text)})
}

// refuseTooLarge answers a packet that is larger than the Conn accepts. It uses only the type
// and the id of p, and the method of a request.
func (t *Translator) refuseTooLarge(s *stream, p Packet, text string) {
	switch p.Type {
	case TypeMessage:
		t.refuseMessage(s, p.ID, text)
	case TypeRequest:
		t.refuse(s, p.ID, p.Key, text)
	case TypeResponse:
		if c, ok := t.answered(callKey{TypeResponse, p.ID}); ok {
			t.respond(c.s, c.number, packet.Response{Code: uint32(geminio.CodeTooLarge), Text: text})
		}
	case TypeRegister:
		t.answer(Packet{Type: TypeRegisterAck, ID: p.ID, Session: s.session, Error: text})
	}
}
