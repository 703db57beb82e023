package wire1

import (
	"slices"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
)

// Data of the peer is passed to the Conn as far as there is credit. The rest is held.
// Each stream has separate queues for raw bytes, messages, requests and large
// responses, so that one kind does not block another.

// holdRaw gives raw bytes of the peer to the Conn, or holds them.
func (t *Translator) holdRaw(s *stream, p []byte) {
	if s.raw.Len() == 0 {
		p = t.passRaw(s, p)
	}
	if len(p) > 0 {
		s.raw.Append(p)
		t.held += uint64(len(p))
		t.wait(s)
	}
}

// passRaw gives the Conn raw bytes for which there is credit, and returns the others.
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

// hold gives a packet of the peer to the Conn, or holds it.
func (t *Translator) hold(now time.Time, s *stream, h *held) {
	queue := s.queue(h.typ)
	if len(*queue) == 0 && t.pass(now, s, h) {
		return
	}
	*queue = append(*queue, h)
	t.held += h.weight()
	t.wait(s)
}

// queue returns where a packet of type typ waits.
func (s *stream) queue(typ packet.Type) *[]*held {
	switch typ {
	case packet.TypeMessage:
		return &s.messages
	case packet.TypeResponse:
		return &s.responses
	}
	return &s.requests
}

// wait notes that a stream holds something.
func (t *Translator) wait(s *stream) {
	if !s.waits {
		s.waits = true
		t.waiting = append(t.waiting, s)
	}
}

// pass gives a packet of the peer to the Conn, if there is credit. It reports whether
// it has.
func (t *Translator) pass(now time.Time, s *stream, h *held) bool {
	if h.gone {
		return true
	}
	if !t.spend(s, charge.For(h.typ, h.size, t.smallTx)) {
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
	if v, ok := s.served[h.call]; ok && v.held == h {
		v.held = nil
		s.served[h.call] = v
	}
	t.deliver(s, h.typ, h.call, head, p.Value)
	return true
}

// timeout returns how much time is left until the deadlines of a packet.
func (t *Translator) timeout(p *Packet, now time.Time) time.Duration {
	left, other := t.skew.left(p.Deadline, now), t.skew.left(p.ContextDeadline, now)
	if left == 0 || other != 0 && other < left {
		left = other
	}
	return left
}

// response is what a Response packet says.
func response(p *Packet) packet.Response {
	r := packet.Response{Text: p.Error, Custom: p.Custom, Data: p.Value}
	if p.Error != "" {
		r.Code = uint32(geminio.CodeApplication)
	}
	return r
}

// pump gives the Conn what a stream holds, as far as there is credit, and then, if the
// peer has dismissed it, its end.
func (t *Translator) pump(now time.Time, s *stream) {
	t.pumpRaw(s)
	for _, queue := range s.queues() {
		for t.passFirst(now, s, queue) {
		}
	}
	t.endTowardsConn(s)
}

func (s *stream) queues() [3]*[]*held {
	return [...]*[]*held{&s.messages, &s.requests, &s.responses}
}

func (t *Translator) pumpRaw(s *stream) {
	for s.raw.Len() > 0 && s.credit[packet.ClassRaw] > 0 {
		c := s.raw.Head()
		n := c.Len() - len(t.passRaw(s, c.Bytes()))
		s.raw.Took(n)
		t.held -= uint64(n)
	}
}

// passFirst gives the Conn the first packet of a queue. It reports whether it has.
func (t *Translator) passFirst(now time.Time, s *stream, queue *[]*held) bool {
	if len(*queue) == 0 || !t.pass(now, s, (*queue)[0]) {
		return false
	}
	t.held -= (*queue)[0].weight()
	(*queue)[0] = nil
	*queue = (*queue)[1:]
	return true
}

// serve gives the Conn what waits for credit of the connection: of each stream one
// packet after the other, so that none takes all.
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
		if s.waits = s.holds(); !s.waits {
			done = append(done, s)
		}
		return !s.waits
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

// dropRaw forgets the raw bytes that a stream holds.
func (t *Translator) dropRaw(s *stream) {
	t.held -= uint64(s.raw.Len())
	s.raw.Clear()
}

// dropHeld forgets all that a stream holds.
func (t *Translator) dropHeld(s *stream) {
	t.dropRaw(s)
	for _, queue := range s.queues() {
		for _, h := range *queue {
			t.held -= h.weight()
		}
		*queue = nil
	}
	if s.waits {
		s.waits = false
		t.waiting = slices.DeleteFunc(t.waiting, func(o *stream) bool { return o == s })
	}
}

// refuseHeld answers the held requests and messages of a stream with an error.
func (t *Translator) refuseHeld(s *stream, text string) {
	for _, h := range s.messages {
		t.held -= h.weight()
		t.refuseMessage(s, h.p.ID, text)
	}
	s.messages = nil
	for _, h := range s.requests {
		t.held -= h.weight()
		if v := s.served[h.call]; h.typ == packet.TypeRegister {
			t.send(s, Packet{Type: TypeRegisterAck, ID: v.id}, mark{answer: HeaderLen + 8})
		} else if !h.gone {
			t.refuse(s, v.id, v.method, text)
		}
		t.unserve(s, h.call)
	}
	s.requests = nil
}
