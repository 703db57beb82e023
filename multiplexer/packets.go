package multiplexer

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/packet"
)

// messageOverhead is what a message costs of its window beside its body.
const messageOverhead = 128

// outgoing is a large packet that waits to be sent, or a small message behind
// one. Large ones of a dialogue take turns, in a ring; messages keep their order.
type outgoing struct {
	next       *outgoing // in the ring
	then       *outgoing // a message that must come after this one
	typ        packet.Type
	call       uint64
	head, data []byte
	off        int    // how much of head and data, together, was sent
	behind     uint64 // of a message: goes when so much of Dialogue.packets has gone, ever
}

func (o *outgoing) size() int { return len(o.head) + len(o.data) }

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
// is not 0, is over, and returns the context's error then. Small bodies are
// copied; of large ones the data is used until they are sent, so it must not
// change. Its error is io.EOF when the dialogue or the connection has ended (a
// *geminio.InterruptedError if that came while it waited), geminio.ErrGoingAway
// for new work on a connection that is draining, or a *geminio.LimitError.
func (d *Dialogue) Send(ctx context.Context, timeout time.Duration, typ packet.Type, call uint64, head, data []byte, when When) error {
	m := d.m
	size := len(head) + len(data)
	if size > m.MaxBody()+packet.MaxHead {
		return &geminio.LimitError{What: typ.String(), Value: uint64(size), Limit: uint64(m.MaxBody()), Err: geminio.ErrTooLarge}
	}
	m.mu.Lock()
	err := d.ended(typ)
	if err == nil && !d.admit(typ, size) {
		err = d.waitCredit(ctx, timeout, typ, size)
	}
	if err != nil {
		m.mu.Unlock()
		return err
	}
	if typ == packet.TypeRequest && m.largeClass(typ, size) != 0 {
		a := d.books()
		if a.requests == nil {
			a.requests = make(map[uint64]int)
		}
		a.requests[call] = size
	}
	d.enqueue(typ, call, head, data)
	m.mu.Unlock()
	if when == Later {
		m.c.Kick()
	} else {
		m.c.Push(nil, when == Gathered)
	}
	return nil
}

// Post makes a packet of a type that needs no credit ready, and leaves the
// writing to another goroutine: for the Handler's methods, which must not wait.
func (d *Dialogue) Post(typ packet.Type, call uint64, body []byte) error {
	d.m.mu.Lock()
	err := d.ended(typ)
	if err == nil {
		d.enqueue(typ, call, body, nil)
	}
	d.m.mu.Unlock()
	d.m.c.Kick()
	return err
}

// enqueue puts a packet, for which credit was taken, where it waits for its
// turn. m.mu is held.
func (d *Dialogue) enqueue(typ packet.Type, call uint64, head, data []byte) {
	m := d.m
	m.sched.push(d, lanePackets)
	size := len(head) + len(data)
	if !typ.Fragmented() || size <= m.smallTx && (typ != packet.TypeMessage || d.lastMsg == nil) {
		n := packet.HeaderLen + 8 + size
		b := d.packets.Tail(n).Space()[:0]
		b = packet.AppendHeader(b, packet.Header{Type: typ, Stream: d.id, Length: uint32(8 + size)})
		b = packet.AppendFragmentHeader(b, packet.FragmentHeader{Call: call}, 0)
		b = append(append(b, head...), data...)
		d.packets.Wrote(len(b))
		return
	}
	o := &outgoing{typ: typ, call: call, head: append([]byte(nil), head...), data: data}
	if size <= m.smallTx {
		o.data = append([]byte(nil), data...)
	}
	if typ == packet.TypeMessage {
		o.behind = d.popped + uint64(d.packets.Len())
		last := d.lastMsg
		d.lastMsg = o
		if last != nil {
			last.then = o
			return
		}
	}
	d.insert(o)
}

// insert puts o at the end of the ring.
func (d *Dialogue) insert(o *outgoing) {
	if d.large == nil {
		o.next = o
	} else {
		o.next = d.large.next
		d.large.next = o
	}
	d.large = o
}

// unlinkFirst takes the first of the ring out.
func (d *Dialogue) unlinkFirst() *outgoing {
	o := d.large.next
	if o == d.large {
		d.large = nil
	} else {
		d.large.next = o.next
	}
	o.next = nil
	return o
}

// fillFragment adds the next fragment of the first large packet, which goes to
// the end of the ring. m.mu is held.
func (d *Dialogue) fillFragment(b *conn.Batch) {
	o := d.unlinkFirst()
	if d.popped < o.behind {
		d.insert(o)
		return
	}
	var flags packet.Flags
	if o.off > 0 {
		flags = packet.FlagNext
	}
	rest := o.size() - o.off
	n := min(rest, int(d.m.peer.MaxFrame)-packet.FragmentLen)
	if n < rest {
		flags |= packet.FlagMore
	}
	start := len(b.Buf)
	b.Buf = packet.AppendHeader(b.Buf, packet.Header{Type: o.typ, Flags: flags, Stream: d.id})
	b.Buf = packet.AppendFragmentHeader(b.Buf, packet.FragmentHeader{Call: o.call, Total: uint32(o.size())}, flags)
	if o.off < len(o.head) {
		k := min(n, len(o.head)-o.off)
		b.Buf = append(b.Buf, o.head[o.off:o.off+k]...)
		o.off, n = o.off+k, n-k
	}
	if n > 0 {
		off := o.off - len(o.head)
		b.Buf = append(b.Buf, o.data[off:off+n]...)
		o.off += n
	}
	packet.PutLength(b.Buf[start:])
	if flags&packet.FlagMore != 0 {
		d.insert(o)
		return
	}
	d.sentAll(o)
}

// sentAll lets the message behind o have its turn.
func (d *Dialogue) sentAll(o *outgoing) {
	if o.then != nil {
		d.insert(o.then)
	} else if d.lastMsg == o {
		d.lastMsg = nil
	}
}

// Abandon takes back a large packet that nobody waits for any more: what was not
// sent will not be, and its data is no longer used. It reports whether the peer
// cannot have acted on it: also of one that the end of the dialogue has kept from
// being sent.
func (d *Dialogue) Abandon(typ packet.Type, call uint64) (unseen bool) {
	m := d.m
	m.mu.Lock()
	defer m.mu.Unlock()
	o := d.takeOut(typ, call)
	switch {
	case o == nil:
		return d.account != nil && slices.Contains(d.account.dropped, asmKey{d, typ, call})
	case m.cause != nil:
	case o.off == 0:
		d.refund(typ, call, o.size())
	default:
		d.enqueue(packet.TypeAbandon, call, nil, []byte{byte(typ)})
	}
	return true
}

// takeOut finds a packet in the ring, or behind one in it, and takes it out.
func (d *Dialogue) takeOut(typ packet.Type, call uint64) *outgoing {
	if d.large == nil {
		return nil
	}
	var found *outgoing
	for last, done := d.large, false; !done; {
		o := d.unlinkFirst()
		done = o == last
		if o.typ == typ && o.call == call {
			d.sentAll(o)
			return o
		}
		d.insert(o)
		for ; o.then != nil && found == nil; o = o.then {
			if next := o.then; next.typ == typ && next.call == call {
				found, o.then = next, next.then
				if d.lastMsg == next {
					d.lastMsg = o
				}
				break
			}
		}
	}
	return found
}

// ended returns why nothing of the type can be sent. m.mu is held.
func (d *Dialogue) ended(typ packet.Type) error {
	switch {
	case d.m.cause != nil || d.state != dialogueOpen:
		return io.EOF
	case d.m.away && d == d.m.main && (typ == packet.TypeRequest || typ == packet.TypeMessage || typ == packet.TypeRegister):
		return geminio.ErrGoingAway
	}
	return nil
}
