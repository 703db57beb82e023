package multiplexer

// This file queues and sends packets, and removes packets that were given up.

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

// When says which goroutine writes a packet that is queued, and when.
type When int

const (
	// AtOnce has the caller write the packet, unless another goroutine is writing.
	AtOnce When = iota
	// Gathered has the caller write the packet after it has yielded to other goroutines,
	// which may add packets. It is for callers that wait for an answer while others do too.
	Gathered
	// Later leaves the packet to another goroutine, which writes it together with packets
	// that are queued meanwhile. It is for callers that do not wait for an answer.
	Later
)

// Send queues a packet whose body is head and data, and has it written. It waits for the
// credit of the packet, until ctx is done or the timeout has passed. A timeout of 0 is none.
// Send does not retain head and data. Its error is
//
//   - io.EOF if the dialogue or the connection had ended,
//   - a *geminio.InterruptedError if one of them ended while Send waited,
//   - geminio.ErrGoingAway for new work on a connection that is going away,
//   - a *geminio.LimitError if the packet is too large, or if it had to wait longer than the
//     PatienceKey of ctx allows,
//   - the error of ctx, or context.DeadlineExceeded after the timeout.
func (d *Dialogue) Send(ctx context.Context, timeout time.Duration, typ packet.Type, seq uint64, head, data []byte, when When) error {
	if len(head)+len(data) > d.m.smallTx { // enqueue copies the data of small packets
		data = bytes.Clone(data)
	}
	return d.Lend(ctx, timeout, typ, seq, head, data, when)
}

// Lend is Send without a copy of the data of a large packet. The caller must not change the
// data until the whole packet has been sent or Abandon has returned.
func (d *Dialogue) Lend(ctx context.Context, timeout time.Duration, typ packet.Type, seq uint64, head, data []byte, when When) error {
	m := d.m
	size := len(head) + len(data)
	if size > m.MaxBody()+packet.MaxHead {
		return &geminio.LimitError{What: typ.String(), Value: uint64(size), Limit: uint64(m.MaxBody()), Err: geminio.ErrTooLarge}
	}
	var w *creditWaiter
	m.mu.Lock()
	err := d.checkSend(typ)
	c := d.charge(typ, size)
	switch {
	case err != nil:
	case d.admit(seq, c):
		d.enqueue(typ, seq, c, head, data)
	default:
		w = &creditWaiter{typ: typ, seq: seq, charge: c, head: bytes.Clone(head), data: data}
		d.addWaiter(w)
	}
	m.mu.Unlock()
	if w != nil {
		err = d.waitObserved(ctx, timeout, w)
	}
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

// Post queues a packet of a type that needs no credit, and has another goroutine write it.
// It does not block, so the methods of a Handler may call it. Post does not retain body. Its
// error is io.EOF or geminio.ErrGoingAway, as for Send.
func (d *Dialogue) Post(typ packet.Type, seq uint64, body []byte) error {
	d.m.mu.Lock()
	err := d.checkSend(typ)
	if err == nil {
		d.enqueue(typ, seq, charge.Charge{}, body, nil)
	}
	d.m.mu.Unlock()
	d.m.c.Kick()
	return err
}

// enqueue queues a packet whose charge c was taken. It copies all but the data of a large
// packet. m.mu is held; Push or Kick must follow.
func (d *Dialogue) enqueue(typ packet.Type, seq uint64, c charge.Charge, head, data []byte) {
	m := d.m
	m.sched.push(d, lanePackets)
	d.packetsSent.add(typ)
	if typ == packet.TypeMessage && seq == 0 {
		m.messagesSentOnce++
	}
	size := len(head) + len(data)
	if !typ.Fragmented() || size <= m.smallTx && (typ != packet.TypeMessage || !d.packets.hasMessage()) {
		d.packets.addSmall(packet.Header{Type: typ, Flags: c.Flags(size), Stream: d.id}, seq, head, data)
		return
	}
	o := &outgoing{typ: typ, seq: seq, charge: c, head: bytes.Clone(head), data: data}
	if size <= m.smallTx {
		o.data = bytes.Clone(data)
	}
	d.packets.addLarge(o)
	m.largeQueued.add(packetKey{d, typ, seq}, o)
}

// appendPackets adds a turn of packets to b: a chunk of small packets and a fragment of a
// large one. It reports whether packets are left. m.mu is held.
func (d *Dialogue) appendPackets(b *conn.Batch) (again bool) {
	m := d.m
	d.countNextSmall()
	first, last := d.packets.appendTurn(b, d.id, m.maxFrame)
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

// sendsLarge reports whether a part of this large packet is still to be sent. It returns
// false for type 0. m.mu is held.
func (d *Dialogue) sendsLarge(typ packet.Type, seq uint64) bool {
	return typ != 0 && !d.packets.empty() && d.m.largeQueued.get(packetKey{d, typ, seq}) != nil
}

// Withdraw removes a large response from the queue, because the peer's call has ended. If
// nothing of the response was sent, Withdraw sends a small response with a copy of body in
// its place. If a part was sent, it sends an Abandon, which also answers the request. It does
// nothing if the response is not in the queue.
func (d *Dialogue) Withdraw(seq uint64, body []byte) {
	m := d.m
	m.mu.Lock()
	o := m.largeQueued.get(packetKey{d, packet.TypeResponse, seq})
	if o != nil && m.cause == nil {
		d.withdraw(o)
		if !o.begun() {
			d.enqueue(packet.TypeResponse, seq, charge.Charge{}, body, nil)
		}
	}
	m.mu.Unlock()
	if o != nil {
		m.c.Kick()
	}
}

// withdraw removes o from the queue. It gives back the credit if nothing of o was sent, and
// queues an Abandon if a part was. m.mu is held.
func (d *Dialogue) withdraw(o *outgoing) {
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
		d.resolve(o.seq) // the peer calls no handler for a part of a request
	}
}

// Abandon removes a large packet from the queue, because its sender has given up. When it
// returns, the data of the packet is not used any more. The result unseen says that the peer
// cannot have acted on the packet, because a part of the packet was not sent. That holds too
// for a packet that the end of the dialogue has removed from the queue.
func (d *Dialogue) Abandon(typ packet.Type, seq uint64) (unseen bool) {
	m := d.m
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.largeQueued.get(packetKey{d, typ, seq})
	if o == nil {
		_, unseen = d.dropped[packetID{typ, seq}]
		return unseen
	}
	d.withdraw(o)
	return true
}

// dropQueue empties the queues of a dialogue that has ended. It takes back the credit of
// packets of which nothing was sent, because the peer will not give it back. Raw bytes that
// are lent remain lent until their Write ends the loan. m.mu is held.
func (d *Dialogue) dropQueue() {
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
			d.refund(f.Seq, d.charge(h.Type, int(h.Length)-packet.FragmentHeaderLen(h)))
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

// dropRaw empties the queue of raw bytes, and takes back their credit. m.mu is held.
func (d *Dialogue) dropRaw() {
	d.credit.tx[packet.ClassRaw].restore(uint32(d.send.buf.Len()))
	d.send.buf.Clear()
	if d == d.m.main {
		d.m.goAway.owedRaw = 0
	}
}

// packets returns the headers of the packets in b, which addSmall has written.
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

// checkSend returns an error if no packet of the type can be sent. m.mu is held.
func (d *Dialogue) checkSend(typ packet.Type) error {
	switch {
	case d.m.cause != nil || d.life != lifeOpen:
		return io.EOF
	case d.m.goAway.sides != 0 && d == d.m.main && (typ == packet.TypeRequest || typ == packet.TypeMessage || typ == packet.TypeRegister):
		return geminio.ErrGoingAway
	}
	return nil
}
