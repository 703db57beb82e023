package multiplexer

import (
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/internal/chunk"
	"github.com/singchia/geminio/internal/list"
	"github.com/singchia/geminio/packet"
)

// packetQueue holds the packets of a dialogue that have their credit and wait to be sent. It
// is a plain value that neither locks nor waits; Mux.mu guards the queue of a dialogue.
//
// Small packets are stored as frames, and a chunk of them is sent at a time. Large packets
// take turns, and a fragment of one is sent at a time. Messages of a dialogue keep their
// order: a message behind a large message waits until that is sent, even if it is small.
type packetQueue struct {
	small     chunk.Queue // frames of small packets
	smallSent uint64      // bytes that have left small since the beginning
	large     *largeQueue // nil until the first large packet
}

// largeQueue holds the packets of a dialogue that are not in packetQueue.small.
type largeQueue struct {
	turns   list.List[outgoing] // packets that take turns
	message *outgoing           // the message in turns; nil if there is none
	behind  list.List[outgoing] // messages that wait until message is sent
}

// outgoing is a packet in a largeQueue.
type outgoing struct {
	link       list.Link[outgoing] // in largeQueue.turns or behind
	typ        packet.Type
	seq        uint64
	charge     charge.Charge
	head, data []byte
	off        int    // bytes of head and data together that were sent
	after      uint64 // no fragment is sent before packetQueue.smallSent has reached this value
}

// size returns the size of the body, bytes.
func (o *outgoing) size() int { return len(o.head) + len(o.data) }

// begun reports whether a fragment was sent.
func (o *outgoing) begun() bool { return o.off > 0 }

// empty reports whether the queue has no packets.
func (q *packetQueue) empty() bool { return q.small.Len() == 0 && !q.hasLarge() }

// bytes returns how many bytes are in the queue.
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

// hasLarge reports whether the large queue has packets.
func (q *packetQueue) hasLarge() bool { return q.large != nil && !q.large.turns.Empty() }

// hasMessage reports whether a message that is added now must wait for another one.
func (q *packetQueue) hasMessage() bool { return q.large != nil && q.large.message != nil }

// smallEnd returns the value of smallSent at which all bytes that are in small now have left.
func (q *packetQueue) smallEnd() uint64 { return q.smallSent + uint64(q.small.Len()) }

// addSmall adds a packet as one frame with header h, whose length addSmall sets. It copies head
// and data.
func (q *packetQueue) addSmall(h packet.Header, seq uint64, head, data []byte) {
	size := len(head) + len(data)
	h.Length = uint32(8 + size)
	b := q.small.Tail(packet.HeaderLen + 8 + size).Space()[:0]
	b = packet.AppendHeader(b, h)
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
		o.after = q.smallEnd() // behind the messages in small
	}
	l.turns.Add(&o.link, o)
}

// remove removes o from the large queue, because it was sent or will not be sent. If o is the
// message that takes turns, the next message takes its place.
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
		next.after = q.smallEnd() // behind the Abandon of o
	}
}

// appendTurn adds a chunk of small packets and a fragment of a large one to b. It returns the
// large packet as first if this was its first fragment, and as last if it was its last one.
func (q *packetQueue) appendTurn(b *conn.Batch, stream uint64, frame int) (first, last *outgoing) {
	if q.small.Len() > 0 {
		c := q.small.Pop()
		q.smallSent += uint64(c.Len())
		b.AddChunk(c)
	}
	if !q.hasLarge() {
		return nil, nil
	}
	l := q.large
	o := l.turns.First()
	if q.smallSent < o.after {
		l.rotate()
		return nil, nil
	}
	if !o.begun() {
		first = o
	}
	if o.appendFragment(b, stream, frame) {
		q.remove(o)
		return first, o
	}
	l.rotate()
	return first, nil
}

// rotate moves the first packet in turns to the end.
func (l *largeQueue) rotate() {
	o := l.turns.First()
	l.turns.Remove(&o.link)
	l.turns.Add(&o.link, o)
}

// appendFragment adds the next fragment to b, in a frame with a payload of at most frame
// bytes. It reports whether the fragment is the last one.
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
	flags |= o.charge.Flags(o.size())
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
