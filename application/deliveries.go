package application

import (
	"sync"

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
}

// delivery is what is known of one number.
type delivery struct {
	number   uint64 // 0: none
	answered bool
	answer   packet.Answer
	carrier  *Stream // where its last copy came: there the answer goes. nil once answered
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
// its message that is. If it is not, the answer is that of the first.
func (d *Deliveries) handOut(m *message) bool {
	d.mu.Lock()
	s := d.slot(m.call)
	if s == nil { // too far back to know: better twice than never
		d.mu.Unlock()
		return true
	}
	if s.number == 0 {
		s.number, s.carrier = m.call, m.s
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
	s := d.slot(m.call)
	if s == nil || s.number == 0 {
		d.mu.Unlock()
		return false
	}
	d.follow(s, m)
	return true
}

// follow has m carry the answer back, which may be there already. It unlocks d.mu.
func (d *Deliveries) follow(s *delivery, m *message) {
	answered, answer := s.answered, s.answer
	if !answered {
		s.carrier = m.s
	}
	d.mu.Unlock()
	if answered {
		m.s.postAck(m.call, answer)
	}
}

// answered notes the answer to m, and returns the stream that is to carry it back.
func (d *Deliveries) answered(m *message, a packet.Answer) (carrier *Stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.slot(m.call)
	if s == nil || s.number == 0 || s.answered {
		return m.s // forgotten by now
	}
	carrier = s.carrier
	s.answered, s.answer, s.carrier = true, a, nil
	return carrier
}

// Size returns for how many deliveries there is memory as yet.
func (d *Deliveries) Size() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.slots)
}
