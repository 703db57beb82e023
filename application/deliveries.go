package application

import (
	"strings"
	"sync"

	"github.com/singchia/geminio/packet"
)

// DeliveryBit is set in the number of a message that its publisher sends again, on further
// connections if necessary, until it is answered. The other bits count the deliveries of a
// session, from 1 on.
const DeliveryBit = 1 << 63

const (
	// maxDeliveries is the number of deliveries that are remembered: the last ones that
	// were handed out.
	maxDeliveries = 8 << 10
	// deliveryBytes is the memory of a delivery without the text of its answer, with its
	// share of the map.
	deliveryBytes = 48 + 40
)

// Deliveries remembers which messages of one session of a peer were handed out, and how they
// were answered, over all connections of that session. So a message is handed out once, and
// its answer reaches the publisher even if the message came on an earlier connection.
// Deliveries remembers the last maxDeliveries messages. Its memory depends on how many
// messages it remembers, not on their numbers. Its methods are safe for concurrent use.
type Deliveries struct {
	mu     sync.Mutex
	all    map[uint64]*delivery // by number
	oldest *delivery            // the one that was handed out first
	newest *delivery
	texts  int    // the length of the texts of all answers
	conns  uint64 // the number of connections so far
}

// delivery is a message that was handed out. The message refers to it, so that its answer
// can be sent also after Deliveries has dropped the delivery. Deliveries.mu guards it.
type delivery struct {
	number uint64
	next   *delivery // the delivery that was handed out next; nil for the newest one

	// carrier is the default stream of the last connection on which a copy of the message
	// came. It sends the answer, and counts the message as unanswered. If carrier is nil,
	// the stream of the message does so, or the message is answered.
	carrier  *Stream
	text     string // of the answer
	code     uint32 // of the answer
	answered bool
}

// connect counts one more connection and returns its number.
func (d *Deliveries) connect() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns++
	return d.conns
}

// add adds a delivery, and drops the oldest if there are too many. d.mu is held.
func (d *Deliveries) add(v *delivery) {
	if len(d.all) >= maxDeliveries {
		old := d.oldest
		d.oldest, old.next = old.next, nil
		d.texts -= len(old.text)
		delete(d.all, old.number)
	}
	if d.all == nil {
		d.all = make(map[uint64]*delivery)
	}
	if len(d.all) == 0 {
		d.oldest = v
	} else {
		d.newest.next = v
	}
	d.newest = v
	d.all[v.number] = v
}

// handOut tells whether Receive may return m: m is the first copy of its message. If an
// earlier copy was handed out, m gets the answer to that copy. A message that came on a
// connection which has a successor is not handed out: its publisher sends it again on the
// next connection, in order.
func (d *Deliveries) handOut(m *message) bool {
	d.mu.Lock()
	if m.s != nil && m.s.end.connSeq < d.conns {
		d.mu.Unlock()
		m.s.countAnswered()
		return false
	}
	if v := d.all[m.seq]; v != nil {
		d.answerCopy(v, m)
		return false
	}
	m.delivery = &delivery{number: m.seq, carrier: m.s}
	d.add(m.delivery)
	d.mu.Unlock()
	return true
}

// isCopy tells whether m, which has just arrived, is a copy of a message that was handed out.
// If so, m gets the answer of the first copy.
func (d *Deliveries) isCopy(m *message) bool {
	d.mu.Lock()
	v := d.all[m.seq]
	if v == nil {
		d.mu.Unlock()
		return false
	}
	d.answerCopy(v, m)
	return true
}

// answerCopy handles m, a copy of the message that v describes. If v is answered, the stream
// of m sends the answer now. Otherwise the stream of m becomes the carrier of v, unless v
// has a carrier on a later connection. d.mu is held; answerCopy unlocks it.
func (d *Deliveries) answerCopy(v *delivery, m *message) {
	if v.answered {
		answer := packet.Answer{Code: v.code, Text: v.text}
		d.mu.Unlock()
		m.s.postAck(m.seq, answer)
		return
	}
	other := v.carrier
	if other == nil || other.end.connSeq <= m.s.end.connSeq {
		v.carrier = m.s
	} else {
		other = m.s
	}
	d.mu.Unlock()
	if other != nil {
		other.countAnswered() // only the carrier counts the message as unanswered
	}
}

// answered sets the answer to m, and returns the stream that has to send it.
func (d *Deliveries) answered(m *message, a packet.Answer) (carrier *Stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := m.delivery
	carrier = m.s
	if v.carrier != nil {
		carrier = v.carrier
	}
	if d.all[v.number] == v {
		// The clone does not keep a longer text alive.
		v.code, v.text = a.Code, strings.Clone(packet.CutText(a.Text, packet.MaxAnswer))
		d.texts += len(v.text)
	}
	v.answered, v.carrier = true, nil
	return carrier
}

// Detach is called when the session has no connection. It drops all references to
// connections, and returns how many bytes the deliveries take.
func (d *Deliveries) Detach() (size int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for v := d.oldest; v != nil; v = v.next {
		v.carrier = nil
	}
	return len(d.all)*deliveryBytes + d.texts
}

// size returns how many bytes the memory of the deliveries takes.
func (d *Deliveries) size() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.all)*deliveryBytes + d.texts
}
