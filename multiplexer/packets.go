package multiplexer

import (
	"bytes"
	"context"
	"io"
	"iter"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
)

// When is when a packet that was made ready is written.
type When int

const (
	// AtOnce has the caller write it, unless somebody writes already.
	AtOnce When = iota
	// Gathered is AtOnce after others had the chance to add to it: for those who
	// wait, together with others.
	Gathered
	// Later leaves it to another goroutine, which takes along what the caller adds
	// meanwhile: for those who do not wait.
	Later
)

// Send makes a packet ready, with head and data as its body. It waits for the
// credit that the packet needs, at most until ctx is done or the timeout, if it
// is not 0, is over, and returns the context's error then. Its error is io.EOF when
// the dialogue or the connection has ended (a *geminio.InterruptedError if that came
// while it waited), geminio.ErrGoingAway for new work on a connection that is
// draining, or a *geminio.LimitError.
//
// Memory of the caller is used only until Send returns: what is sent later is a copy.
// That is the rule for all packets, and only Lend makes an exception from it.
func (d *Dialogue) Send(ctx context.Context, timeout time.Duration, typ packet.Type, seq uint64, head, data []byte, when When) error {
	if len(head)+len(data) > d.m.smallTx { // enqueue copies smaller ones
		data = bytes.Clone(data)
	}
	return d.Lend(ctx, timeout, typ, seq, head, data, when)
}

// Lend is Send for data that its caller leaves alone for longer, so that a large
// packet need not be copied: until the packet has been sent as a whole, or Abandon has
// returned. The head, and all of a small packet, is copied.
func (d *Dialogue) Lend(ctx context.Context, timeout time.Duration, typ packet.Type, seq uint64, head, data []byte, when When) error {
	m := d.m
	size := len(head) + len(data)
	if size > m.MaxBody()+packet.MaxHead {
		return &geminio.LimitError{What: typ.String(), Value: uint64(size), Limit: uint64(m.MaxBody()), Err: geminio.ErrTooLarge}
	}
	c := m.charge(typ, size)
	m.mu.Lock()
	err := d.ended(typ)
	switch {
	case err != nil:
	case d.admit(seq, c):
		d.enqueue(typ, seq, c, head, data)
	default:
		w := &creditWaiter{typ: typ, seq: seq, charge: c, head: bytes.Clone(head), data: data}
		err = d.waitCredit(ctx, timeout, w)
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	if when == Later {
		m.c.Kick()
	} else {
		m.c.Push(nil, when == Gathered)
	}
	return nil
}

// Post makes a packet of a type that needs no credit ready, and leaves the
// writing to another goroutine: for the Handler's methods, which must not wait.
func (d *Dialogue) Post(typ packet.Type, seq uint64, body []byte) error {
	d.m.mu.Lock()
	err := d.ended(typ)
	if err == nil {
		d.enqueue(typ, seq, charge.Charge{}, body, nil)
	}
	d.m.mu.Unlock()
	d.m.c.Kick()
	return err
}

// enqueue puts a packet, for which its charge was taken, where it waits for its turn. It
// copies all but the data of a large packet. m.mu is held.
func (d *Dialogue) enqueue(typ packet.Type, seq uint64, c charge.Charge, head, data []byte) {
	m := d.m
	m.sched.push(d, lanePackets)
	size := len(head) + len(data)
	if !typ.Fragmented() || size <= m.smallTx && (typ != packet.TypeMessage || !d.packets.hasMessage()) {
		d.packets.addSmall(d.id, typ, seq, head, data)
		return
	}
	o := &outgoing{typ: typ, seq: seq, charge: c, head: bytes.Clone(head), data: data}
	if size <= m.smallTx {
		o.data = bytes.Clone(data)
	}
	d.packets.addLarge(o)
	m.largeQueued.add(packetKey{d, typ, seq}, o)
}

// appendPackets adds a chunk of small packets and a fragment of a large one. m.mu is held.
func (d *Dialogue) appendPackets(b *conn.Batch) (again bool) {
	m := d.m
	d.countNextSmall()
	first, last := d.packets.appendTurn(b, d.id, int(m.peer.MaxFrame))
	if first != nil {
		d.countBegun(first.seq, first.charge)
	}
	if last != nil {
		m.largeQueued.remove(packetKey{d, last.typ, last.seq}, last)
	}
	again = !d.packets.empty()
	if !again && (d.life.closes() || d.send.state == sendCut) {
		m.sched.push(d, laneRaw)
	}
	return again
}

// sends tells whether something of a packet is still to be sent. m.mu is held.
func (d *Dialogue) sends(typ packet.Type, seq uint64) bool {
	return typ != 0 && !d.packets.empty() && d.m.largeQueued.get(packetKey{d, typ, seq}) != nil
}

// Withdraw takes back a large response that nobody waits for any more. If nothing of it
// was sent, a small response goes in its place, with a copy of the body; if a part was, an
// Abandon, which answers the request as well. It does nothing where no such response waits
// to be sent.
func (d *Dialogue) Withdraw(seq uint64, body []byte) {
	m := d.m
	m.mu.Lock()
	o := m.largeQueued.get(packetKey{d, packet.TypeResponse, seq})
	if o != nil && m.cause == nil {
		d.takeBack(o)
		if !o.begun() {
			d.enqueue(packet.TypeResponse, seq, charge.Charge{}, body, nil)
		}
	}
	m.mu.Unlock()
	if o != nil {
		m.c.Kick()
	}
}

// takeBack takes a packet out that waits to be sent. m.mu is held.
func (d *Dialogue) takeBack(o *outgoing) {
	m := d.m
	m.largeQueued.remove(packetKey{d, o.typ, o.seq}, o)
	if o.begun() && m.cause == nil {
		d.enqueue(packet.TypeAbandon, o.seq, charge.Charge{}, nil, []byte{byte(o.typ)})
	}
	d.packets.remove(o)
	switch {
	case m.cause != nil:
	case !o.begun():
		d.refund(o.seq, o.charge)
	case o.charge.Handlers > 0:
		d.resolve(o.seq) // no handler of the peer sees a part of a request
	}
}

// Abandon takes back a large packet that nobody waits for any more: what was not
// sent will not be, and its data is no longer used. It reports whether the peer
// cannot have acted on it: also of one that the end of the dialogue has kept from
// being sent.
func (d *Dialogue) Abandon(typ packet.Type, seq uint64) (unseen bool) {
	m := d.m
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.largeQueued.get(packetKey{d, typ, seq})
	if o == nil {
		_, unseen = d.dropped[packetID{typ, seq}]
		return unseen
	}
	d.takeBack(o)
	return true
}

// drop takes out all packets that wait, of a dialogue that has ended, and what is queued of
// raw bytes. What is lent, its writer takes back. For packets of which the peer has seen
// nothing, it will not give credit back. m.mu is held.
func (d *Dialogue) drop() {
	m := d.m
	d.dropRaw()
	if d.packets.empty() {
		return
	}
	if d.dropped == nil {
		d.dropped = make(map[packetID]struct{})
	}
	for c := d.packets.small.Pop(); c != nil; c = d.packets.small.Pop() {
		for h, f := range packets(c.Bytes()) {
			d.refund(f.Seq, m.charge(h.Type, int(h.Length)-packet.FragmentHeaderLen(h)))
			d.dropped[packetID{h.Type, f.Seq}] = struct{}{}
		}
		c.Free()
	}
	if d.packets.large == nil {
		return
	}
	for o := d.packets.large.turns.First(); o != nil; o = d.packets.large.turns.First() {
		d.packets.remove(o)
		m.largeQueued.remove(packetKey{d, o.typ, o.seq}, o)
		if !o.begun() {
			d.refund(o.seq, o.charge)
		}
		d.dropped[packetID{o.typ, o.seq}] = struct{}{}
	}
}

// dropRaw takes out the raw bytes that wait. m.mu is held.
func (d *Dialogue) dropRaw() {
	d.credit.tx[packet.ClassRaw].restore(uint32(d.send.buf.Len()))
	d.send.buf.Clear()
	if d == d.m.main {
		d.m.owedRaw = 0
	}
}

// packets returns the headers of the small packets in b, which addSmall has made.
func packets(b []byte) iter.Seq2[packet.Header, packet.FragmentHeader] {
	return func(yield func(packet.Header, packet.FragmentHeader) bool) {
		for len(b) > 0 {
			h, _ := packet.ParseHeader(b, packet.DefaultMaxFrame)
			f, _ := packet.ParseFragmentHeader(b[packet.HeaderLen:], h)
			if !yield(h, f) {
				return
			}
			b = b[packet.HeaderLen+h.Length:]
		}
	}
}

// ended returns why nothing of the type can be sent. m.mu is held.
func (d *Dialogue) ended(typ packet.Type) error {
	switch {
	case d.m.cause != nil || d.life != lifeOpen:
		return io.EOF
	case d.m.away != 0 && d == d.m.main && (typ == packet.TypeRequest || typ == packet.TypeMessage || typ == packet.TypeRegister):
		return geminio.ErrGoingAway
	}
	return nil
}
