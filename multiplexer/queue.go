package multiplexer

import (
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/internal/chunk"
	"github.com/singchia/geminio/internal/list"
	"github.com/singchia/geminio/packet"
)

// packetQueue has the packets of a dialogue that are to be sent, all of which have their
// credit. It is a plain value that neither locks nor waits; Mux.mu guards a dialogue's.
//
// Small packets are frames, one behind the other, and go in chunks. Large ones take turns,
// a fragment each. A message that comes behind a large one waits for it, also if it is
// small, for the messages of a dialogue keep their order.
type packetQueue struct {
	small  chunk.Queue // frames of small packets
	popped uint64      // bytes of them that went, ever
	large  *largeQueue // nil until the first large packet
}

// largeQueue has the packets of a dialogue that are not in packetQueue.small.
type largeQueue struct {
	turns   list.List[outgoing] // those that take turns
	message *outgoing           // the message among them; nil if none
	behind  list.List[outgoing] // messages that wait for that one
}

// outgoing is a packet in a largeQueue.
type outgoing struct {
	link       list.Link[outgoing] // in largeQueue.turns or behind
	typ        packet.Type
	seq        uint64
	charge     charge.Charge
	head, data []byte
	off        int    // how much of head and data, together, was sent
	after      uint64 // goes when packetQueue.popped is as much
}

func (o *outgoing) size() int { return len(o.head) + len(o.data) }

// begun tells whether a fragment was sent.
func (o *outgoing) begun() bool { return o.off > 0 }

// empty tells whether nothing waits.
func (q *packetQueue) empty() bool { return q.small.Len() == 0 && !q.hasLarge() }

// bytes returns how many bytes wait.
func (q *packetQueue) bytes() (n int) {
	n = q.small.Len()
	if q.large == nil {
		return n
	}
	for _, o := range []*outgoing{q.large.turns.First(), q.large.behind.First()} {
		for ; o != nil; o = o.link.Next() {
			n += o.size() - o.off
		}
	}
	return n
}

// hasLarge tells whether packets wait in the large queue.
func (q *packetQueue) hasLarge() bool { return q.large != nil && q.large.turns.Len() > 0 }

// hasMessage tells whether a message that comes now must wait for another one.
func (q *packetQueue) hasMessage() bool { return q.large != nil && q.large.message != nil }

// end is what popped will be when all that is in small now has gone.
func (q *packetQueue) end() uint64 { return q.popped + uint64(q.small.Len()) }

// addSmall adds a packet in one frame, with a copy of its body.
func (q *packetQueue) addSmall(stream uint64, typ packet.Type, seq uint64, head, data []byte) {
	size := len(head) + len(data)
	b := q.small.Tail(packet.HeaderLen + 8 + size).Space()[:0]
	b = packet.AppendHeader(b, packet.Header{Type: typ, Stream: stream, Length: uint32(8 + size)})
	b = packet.AppendFragmentHeader(b, packet.FragmentHeader{Seq: seq}, 0)
	b = append(append(b, head...), data...)
	q.small.Wrote(len(b))
}

// addLarge adds o to the large queue.
func (q *packetQueue) addLarge(o *outgoing) {
	if q.large == nil {
		q.large = new(largeQueue)
	}
	l := q.large
	if o.typ == packet.TypeMessage {
		if l.message != nil {
			l.behind.Add(&o.link, o)
			return
		}
		l.message = o
		o.after = q.end() // behind the messages in small
	}
	l.turns.Add(&o.link, o)
}

// remove takes o out of the large queue: it was sent, or it will not be. The message that
// waits for it has its turns from now on.
func (q *packetQueue) remove(o *outgoing) {
	l := q.large
	if o.typ != packet.TypeMessage {
		l.turns.Remove(&o.link)
		return
	}
	if o != l.message {
		l.behind.Remove(&o.link)
		return
	}
	l.turns.Remove(&o.link)
	l.message = l.behind.First()
	next := l.message
	if next == nil {
		return
	}
	l.behind.Remove(&next.link)
	l.turns.Add(&next.link, next)
	if o.begun() && o.off < o.size() {
		next.after = q.end() // behind the Abandon of o
	}
}

// appendTurn adds a chunk of small packets and a fragment of a large one to b. It returns the
// packets of which this was the first and the last fragment, or nil.
func (q *packetQueue) appendTurn(b *conn.Batch, stream uint64, frame int) (first, last *outgoing) {
	if q.small.Len() > 0 {
		c := q.small.Pop()
		q.popped += uint64(c.Len())
		b.AddChunk(c)
	}
	if !q.hasLarge() {
		return nil, nil
	}
	l := q.large
	o := l.turns.First()
	if q.popped < o.after {
		l.turns.Remove(&o.link)
		l.turns.Add(&o.link, o)
		return nil, nil
	}
	if !o.begun() {
		first = o
	}
	if o.appendFragment(b, stream, frame) {
		q.remove(o)
		return first, o
	}
	l.turns.Remove(&o.link)
	l.turns.Add(&o.link, o)
	return first, nil
}

// appendFragment adds the next fragment to b, in a frame whose payload has at most that many bytes.
// It reports whether it was the last one.
func (o *outgoing) appendFragment(b *conn.Batch, stream uint64, frame int) (last bool) {
	var flags packet.Flags
	if o.begun() {
		flags = packet.FlagNext
	}
	rest := o.size() - o.off
	n := min(rest, frame-packet.FragmentLen)
	if n < rest {
		flags |= packet.FlagMore
	}
	start := len(b.Buf)
	b.Buf = packet.AppendHeader(b.Buf, packet.Header{Type: o.typ, Flags: flags, Stream: stream})
	b.Buf = packet.AppendFragmentHeader(b.Buf, packet.FragmentHeader{Seq: o.seq, Total: uint32(o.size())}, flags)
	if o.off < len(o.head) {
		k := min(n, len(o.head)-o.off)
		b.Buf = append(b.Buf, o.head[o.off:o.off+k]...)
		o.off += k
		n -= k
	}
	if n > 0 {
		off := o.off - len(o.head)
		b.Buf = append(b.Buf, o.data[off:off+n]...)
		o.off += n
	}
	packet.PutLength(b.Buf[start:])
	return flags&packet.FlagMore == 0
}
