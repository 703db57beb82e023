package wire1

// This file passes bytes and packets of the peer to the Conn as far as there is credit, and
// holds the rest. Each stream has separate queues for raw bytes, messages, requests (with
// registrations) and responses, so that one kind does not block another.

import (
	"slices"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
)

// holdRaw passes raw bytes of the peer to the Conn, and holds those without credit.
func (t *Translator) holdRaw(s *stream, p []byte) {
	if s.raw.Len() == 0 {
		p = t.passRaw(s, p)
	}
	if len(p) > 0 {
		s.raw.Append(p)
		t.held += uint64(len(p))
		t.markWaiting(s)
	}
}

// passRaw passes the bytes of p for which there is credit to the Conn. It returns the rest.
func (t *Translator) passRaw(s *stream, p []byte) []byte {
	for len(p) > 0 && s.credit[packet.ClassRaw] > 0 {
		n := min(uint64(len(p)), s.credit[packet.ClassRaw], uint64(t.cfg.Offer.MaxFrame), packet.DefaultMaxFrame)
		s.credit.take(packet.ClassRaw, n)
		t.frames.Append(packet.AppendHeader(nil, packet.Header{Type: packet.TypeData, Stream: s.number, Length: uint32(n)}))
		t.frames.Append(p[:n])
		p = p[n:]
	}
	return p
}

// hold passes a packet of the peer to the Conn if there is credit, and holds it otherwise.
func (t *Translator) hold(now time.Time, s *stream, h *held) {
	queue := s.queue(h.typ)
	if len(*queue) == 0 && t.pass(now, s, h) {
		return
	}
	*queue = append(*queue, h)
	t.held += h.budgetSize()
	t.markWaiting(s)
}

// queue returns the queue for held packets of type typ.
func (s *stream) queue(typ packet.Type) *[]*held {
	switch typ {
	case packet.TypeMessage:
		return &s.messages
	case packet.TypeResponse:
		return &s.responses
	}
	return &s.requests
}

// markWaiting adds s, which holds bytes or packets, to t.waiting.
func (t *Translator) markWaiting(s *stream) {
	if !s.waiting {
		s.waiting = true
		t.waiting = append(t.waiting, s)
	}
}

// pass passes a packet of the peer to the Conn if there is credit. It reports whether it has,
// or whether the packet was canceled.
func (t *Translator) pass(now time.Time, s *stream, h *held) bool {
	if h.canceled {
		return true
	}
	if !t.spend(s, charge.For(h.typ, h.size, t.smallTx, s.own)) {
		return false
	}
	p := &h.p
	var head []byte
	switch h.typ {
	case packet.TypeRequest:
		r := packet.Request{ID: p.ID, Timeout: t.timeout(p, now), Method: p.Key, Custom: p.Custom}
		head = r.Append(nil)
	case packet.TypeMessage:
		m := packet.Message{ID: p.ID, Timeout: t.timeout(p, now), Cnss: 2, Topic: []byte(p.Topic), Custom: p.Custom}
		head = m.Append(nil)
	case packet.TypeResponse:
		r := response(p)
		head = r.Append(nil)
	case packet.TypeRegister:
		head = p.Raw
	}
	if v, ok := s.served[h.number]; ok && v.held == h {
		v.held = nil
		s.served[h.number] = v
	}
	t.deliver(s, h.typ, h.number, head, p.Value)
	return true
}

// timeout returns the time until the earlier deadline of a packet, or 0 if it has none.
func (t *Translator) timeout(p *Packet, now time.Time) time.Duration {
	left, other := t.skew.left(p.Deadline, now), t.skew.left(p.ContextDeadline, now)
	if left == 0 || other != 0 && other < left {
		left = other
	}
	return left
}

// response returns the wire 2 form of a Response packet.
func response(p *Packet) packet.Response {
	r := packet.Response{Text: p.Error, Custom: p.Custom, Data: p.Value}
	if p.Error != "" {
		r.Code = uint32(geminio.CodeApplication)
	}
	return r
}

// passHeld passes the held bytes and packets of s to the Conn as far as there is credit. If
// nothing is left and the peer has dismissed s, it ends s towards the Conn.
func (t *Translator) passHeld(now time.Time, s *stream) {
	t.passHeldRaw(s)
	for _, queue := range s.queues() {
		for t.passFirst(now, s, queue) {
		}
	}
	t.endTowardsConn(s)
}

// queues returns the queues of held packets.
func (s *stream) queues() [3]*[]*held {
	return [...]*[]*held{&s.messages, &s.requests, &s.responses}
}

// passHeldRaw passes held raw bytes of s to the Conn as far as there is credit.
func (t *Translator) passHeldRaw(s *stream) {
	for s.raw.Len() > 0 && s.credit[packet.ClassRaw] > 0 {
		c := s.raw.Head()
		n := c.Len() - len(t.passRaw(s, c.Bytes()))
		s.raw.Took(n)
		t.held -= uint64(n)
	}
}

// passFirst passes the first packet of a queue to the Conn if there is credit. It reports
// whether it has.
func (t *Translator) passFirst(now time.Time, s *stream, queue *[]*held) bool {
	if len(*queue) == 0 || !t.pass(now, s, (*queue)[0]) {
		return false
	}
	t.held -= (*queue)[0].budgetSize()
	(*queue)[0] = nil
	*queue = (*queue)[1:]
	return true
}

// serve passes held packets to the Conn after new credit of the connection has arrived. The
// streams take turns of one packet for each queue, so that no stream uses all of the credit.
func (t *Translator) serve(now time.Time) {
	for progress := true; progress; {
		progress = false
		for _, s := range t.waiting {
			for _, queue := range s.queues() {
				progress = t.passFirst(now, s, queue) || progress
			}
		}
	}
	var done []*stream
	t.waiting = slices.DeleteFunc(t.waiting, func(s *stream) bool {
		if s.waiting = s.holds(); !s.waiting {
			done = append(done, s)
		}
		return !s.waiting
	})
	for _, s := range done {
		t.endTowardsConn(s)
	}
	// The stream that was first in this round is last in the next one.
	if n := len(t.waiting); n > 1 {
		first := t.waiting[0]
		copy(t.waiting, t.waiting[1:])
		t.waiting[n-1] = first
	}
}

// dropRaw discards the held raw bytes of s.
func (t *Translator) dropRaw(s *stream) {
	t.held -= uint64(s.raw.Len())
	s.raw.Clear()
}

// dropHeld discards all held bytes and packets of s.
func (t *Translator) dropHeld(s *stream) {
	t.dropRaw(s)
	for _, queue := range s.queues() {
		for _, h := range *queue {
			t.held -= h.budgetSize()
		}
		*queue = nil
	}
	if s.waiting {
		s.waiting = false
		t.waiting = slices.DeleteFunc(t.waiting, func(o *stream) bool { return o == s })
	}
}

// refuseHeld answers the held requests and messages of a stream with an error.
func (t *Translator) refuseHeld(s *stream, text string) {
	for _, h := range s.messages {
		t.held -= h.budgetSize()
		t.refuseMessage(s, h.p.ID, text)
	}
	s.messages = nil
	for _, h := range s.requests {
		t.held -= h.budgetSize()
		if v := s.served[h.number]; h.typ == packet.TypeRegister {
			t.send(s, Packet{Type: TypeRegisterAck, ID: v.id}, mark{answer: HeaderLen + 8})
		} else if !h.canceled {
			t.refuse(s, v.id, v.method, text)
		}
		t.removeServed(s, h.number)
	}
	s.requests = nil
}
