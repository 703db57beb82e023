package application

import (
	"strings"
	"sync"
	"unsafe"

	"github.com/singchia/geminio/packet"
)

// DeliveryBit is set in the number of a message that its publisher sends again,
// over another connection if need be, until it is answered. The other bits count
// the deliveries of a session, from 1 on.
const DeliveryBit = 1 << 63

const (
	// deliveryWindow is how many numbers back a delivery is recognized.
	deliveryWindow = 8 << 10
	// leastDeliveries is what is allocated for them at first.
	leastDeliveries = 64
)

// Deliveries remembers which messages of one session of a peer were handed out,
// and how they were answered, over all connections of that session: so each is
// handed out once, and has its answer also if it came with another connection than
// the one that is there now. What it remembers is a window of the last
// deliveryWindow numbers. Its methods are safe for concurrent use.
type Deliveries struct {
	mu    sync.Mutex
	slots []delivery // by number, modulo their length, which is a power of two
	texts int        // bytes of the texts of their answers
	conns uint64     // how many connections there were
}

// delivery is what is known of one number.
type delivery struct {
	number   uint64 // 0: none
	answered bool
	answer   packet.Answer
	route    *route // nil once answered
}

// route is where the answer to a message goes that was handed out: the last
// connection that a copy came with. The message has it too, and so finds its way also if its number is
// forgotten. Deliveries.mu guards it.
type route struct {
	carrier *Stream // counts the message as unanswered. nil: that of the message itself
}

// connect returns the number of one more connection.
func (d *Deliveries) connect() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns++
	return d.conns
}

// find returns what is known of a number, nil if nothing is. d.mu is held.
func (d *Deliveries) find(number uint64) *delivery {
	if len(d.slots) == 0 {
		return nil
	}
	s := &d.slots[number%uint64(len(d.slots))]
	if s.number != number {
		return nil
	}
	return s
}

// slot returns the place for a number, nil if it is further back than what is
// remembered. It makes room if there is none. d.mu is held.
func (d *Deliveries) slot(number uint64) *delivery {
	for {
		if n := uint64(len(d.slots)); n > 0 {
			s := &d.slots[number%n]
			switch {
			case s.number == number:
				return s
			case s.number > number && (n == deliveryWindow || s.number-number >= deliveryWindow):
				return nil
			case s.number == 0 || n == deliveryWindow || number > s.number && number-s.number >= deliveryWindow:
				d.texts -= len(s.answer.Text)
				*s = delivery{}
				return s
			}
		}
		d.grow()
	}
}

// grow doubles the slots. d.mu is held.
func (d *Deliveries) grow() {
	old := d.slots
	d.slots = make([]delivery, max(leastDeliveries, 2*len(old)))
	for _, v := range old {
		if v.number != 0 {
			d.slots[v.number%uint64(len(d.slots))] = v
		}
	}
}

// handOut tells whether m, which is about to be handed out, is the first copy of
// its message that is. If it is not, the answer is that of the first. What came with a
// connection that has a successor is not handed out any more: it comes again with that
// one, in the order of its publisher.
func (d *Deliveries) handOut(m *message) bool {
	d.mu.Lock()
	if m.s != nil && m.s.end.nth < d.conns {
		d.mu.Unlock()
		m.s.acked()
		return false
	}
	s := d.slot(m.call)
	if s == nil { // too far back to know: better twice than never
		d.mu.Unlock()
		return true
	}
	if s.number == 0 {
		m.route = &route{m.s}
		s.number, s.route = m.call, m.route
		d.mu.Unlock()
		return true
	}
	d.follow(s, m)
	return false
}

// seen tells whether m, which has just arrived, is a copy of a message that was
// handed out. Then its answer is that of the first copy.
func (d *Deliveries) seen(m *message) bool {
	d.mu.Lock()
	s := d.find(m.call)
	if s == nil {
		d.mu.Unlock()
		return false
	}
	d.follow(s, m)
	return true
}

// follow has the stream of m carry the answer back, which may be there already. A
// copy that was received from an older connection, after its end, changes nothing. It
// unlocks d.mu.
func (d *Deliveries) follow(s *delivery, m *message) {
	if s.answered {
		answer := s.answer
		d.mu.Unlock()
		m.s.postAck(m.call, answer)
		return
	}
	other := s.route.carrier
	if other == nil || other.end.nth <= m.s.end.nth {
		s.route.carrier = m.s
	} else {
		other = m.s
	}
	d.mu.Unlock()
	if other != nil {
		other.acked() // it is the carrier that counts the message
	}
}

// answered notes the answer to m, and returns the stream that is to carry it back.
func (d *Deliveries) answered(m *message, a packet.Answer) (carrier *Stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	carrier = m.s
	if m.route == nil {
		return carrier // it was too far back
	}
	if m.route.carrier != nil {
		carrier = m.route.carrier
	}
	if s := d.find(m.call); s != nil && s.route == m.route {
		// Only what travels is kept, and not what it may be a part of.
		a.Text = strings.Clone(packet.CutText(a.Text, packet.MaxAnswer))
		d.texts += len(a.Text)
		s.answered, s.answer, s.route = true, a, nil
	}
	return carrier
}

// Rest is called when the session has no connection, and returns how many bytes the
// memory of its deliveries takes: of the connections it keeps nothing.
func (d *Deliveries) Rest() (size int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.slots {
		if r := d.slots[i].route; r != nil {
			r.carrier = nil
		}
	}
	return len(d.slots)*int(unsafe.Sizeof(delivery{})) + d.texts
}
