package multiplexer

import (
	"context"
	"io"
	"math"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/list"
	"github.com/singchia/geminio/packet"
)

// creditWaiter is a packet that waits for its credit. It gets all of that at once, and the
// goroutine that sees the credit come queues the packet: so a packet either waits and has
// no credit, or has it and is queued. Mux.mu guards it.
type creditWaiter struct {
	link       list.Link[creditWaiter] // in waitQueue.waiters
	ticket     uint64                  // grows with every waiter of the connection
	typ        packet.Type
	seq        uint64
	charge     charge
	head, data []byte

	done     chan struct{} // closed when the wait is over
	finished bool          // it is
	err      error         // why the packet was not queued
}

// waitKind is a kind of packets that wait. Those of one kind wait for the same things, and
// those of one kind and stream in their order. Different kinds do not wait for each other.
type waitKind int

const (
	waitNone waitKind = iota - 1 // needs no credit
	waitRequest
	waitLargeRequest
	waitLargeMessage
	waitLargeResponse
	sharedKinds                        // those above compete with other streams
	waitMessage waitKind = sharedKinds // waits for the stream's own window
	waitKinds   waitKind = sharedKinds + 1
)

// kindOf returns the kind of a packet of that charge.
func kindOf(c charge) waitKind {
	switch {
	case c.class == packet.ClassLargeRequests:
		return waitLargeRequest
	case c.handlers > 0:
		return waitRequest
	case c.class == packet.ClassMessages:
		return waitMessage
	case c.class == packet.ClassLargeMessages:
		return waitLargeMessage
	case c.class == packet.ClassLargeResponses:
		return waitLargeResponse
	}
	return waitNone
}

// classOf is the class for which streams compete in each kind.
var classOf = [sharedKinds]packet.Class{
	waitRequest:       packet.ClassHandlers,
	waitLargeRequest:  packet.ClassLargeRequests,
	waitLargeMessage:  packet.ClassLargeMessages,
	waitLargeResponse: packet.ClassLargeResponses,
}

// waitQueue has the waiters of one kind of a dialogue, and the dialogue's place among
// those that have some.
type waitQueue struct {
	node
	d       *Dialogue
	kind    waitKind
	waiters list.List[creditWaiter]
}

// waitQueues are those of one dialogue.
type waitQueues [waitKinds]waitQueue

// waitTable has the dialogues with waiters. Mux.mu guards it.
//
// Of the waiters of a kind, the first in each dialogue competes with those of the others.
// The class is reserved for the oldest of those dialogues that hold nothing of it: smaller
// packets could overtake a large one for ever otherwise. A dialogue that waits although it
// holds some waits for its own receiver, and keeps nobody else waiting; the less it holds
// and wants, the sooner it is served. See place for the order, and ledger.affords for the
// condition, which says the same.
type waitTable struct {
	count      int    // waiters of all kinds
	lastTicket uint64 // creditWaiter.since of the newest
	trees      [sharedKinds]tree
}

// set puts a queue where its dialogue's share and first waiter want it.
func (t *waitTable) reposition(q *waitQueue) {
	if q.kind >= sharedKinds {
		return
	}
	line := &t.trees[q.kind]
	line.remove(&q.node)
	if q.waiters.Len() > 0 {
		q.node = q.newNode()
		line.add(&q.node)
	}
}

// want returns the place of a queue that has waiters.
func (q *waitQueue) newNode() node {
	w := q.waiters.First()
	p := node{ticket: w.ticket, queue: q}
	if held := q.d.credit.outstanding(classOf[q.kind]); held > 0 {
		// A stream that holds some may take n of avail if held <= 3*(avail-n)+2.
		p.key = uint64(held) + 3*uint64(w.charge.amount(classOf[q.kind]))
	}
	if q.kind == waitLargeRequest {
		p.need = uint64(q.d.credit.handlers) // which must be below 3*avail
	}
	return p
}

// head returns the queue whose first waiter is the next of its kind, or nil. The class is
// reserved for it if it holds nothing.
func (t *waitTable) headOfLine(kind waitKind, l *ledger) (q *waitQueue, reserved bool) {
	most := uint64(math.MaxUint64)
	if kind == waitLargeRequest {
		free := uint64(l.tx[packet.ClassHandlers].avail)
		if free == 0 {
			return nil, false
		}
		most = 3*free - 1
	}
	p := t.trees[kind].firstWithin(most)
	if p == nil {
		return nil, false
	}
	return p.queue, p.key == 0
}

// next returns the queue whose first waiter can have its credit now, or nil.
func (t *waitTable) next(kind waitKind, l *ledger) *waitQueue {
	q, _ := t.headOfLine(kind, l)
	if q != nil && l.affords(&q.d.credit, q.waiters.First().charge) {
		return q
	}
	return nil
}

// admit takes the credit for a packet, unless there is not enough, or others have waited
// for it before. It reports whether it has. m.mu is held.
func (d *Dialogue) admit(seq uint64, c charge) bool {
	m := d.m
	kind := kindOf(c)
	if kind == waitNone {
		return true
	}
	if m.waits.count > 0 {
		if d.waits != nil && d.waits[kind].waiters.Len() > 0 {
			return false
		}
		if kind < sharedKinds {
			if _, reserved := m.waits.headOfLine(kind, &m.ledger); reserved {
				return false
			}
		}
	}
	if !m.ledger.affords(&d.credit, c) {
		return false
	}
	m.ledger.take(&d.credit, seq, c)
	d.shareChanged()
	return true
}

// shareChanged puts d's waiters where its share wants them. m.mu is held.
func (d *Dialogue) shareChanged() {
	if d.waits == nil {
		return
	}
	for kind := range sharedKinds {
		if q := &d.waits[kind]; q.inTree {
			d.m.waits.reposition(q)
		}
	}
}

// PatienceKey is the key under which a context may have a time.Duration: the longest
// that a request waits for credit. Then Send returns a *geminio.LimitError.
type PatienceKey struct{}

// waitCredit waits until a packet has its credit and is queued. m.mu is held, but not
// throughout.
func (d *Dialogue) waitCredit(ctx context.Context, timeout time.Duration, w *creditWaiter) error {
	m := d.m
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	d.addWaiter(w)
	m.mu.Unlock()
	var late <-chan time.Time
	if patience, ok := ctx.Value(PatienceKey{}).(time.Duration); ok && w.typ == packet.TypeRequest {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		late = timer.C
	}
	var err error
	select {
	case <-w.done:
	case <-ctx.Done():
		err = ctx.Err()
	case <-late:
		err = &geminio.LimitError{
			What: "handlers of the peer, all busy", Value: uint64(m.peer.Handlers) + 1, Limit: uint64(m.peer.Handlers), Err: geminio.ErrTooMany,
		}
	}
	m.mu.Lock()
	if !w.finished {
		d.removeWaiter(w, err)
		d.serveKind(kindOf(w.charge)) // those behind may go
	}
	return w.err
}

// addWaiter lets w wait. m.mu is held.
func (d *Dialogue) addWaiter(w *creditWaiter) {
	t := &d.m.waits
	if d.waits == nil {
		d.waits = new(waitQueues)
		for kind := range waitKinds {
			d.waits[kind].d, d.waits[kind].kind = d, kind
		}
	}
	t.count++
	t.lastTicket++
	w.ticket, w.done = t.lastTicket, make(chan struct{})
	q := &d.waits[kindOf(w.charge)]
	q.waiters.Add(&w.link, w)
	if q.waiters.First() == w {
		t.reposition(q)
	}
}

// removeWaiter ends the wait of w. m.mu is held.
func (d *Dialogue) removeWaiter(w *creditWaiter, err error) {
	t := &d.m.waits
	q := &d.waits[kindOf(w.charge)]
	first := q.waiters.First() == w
	q.waiters.Remove(&w.link)
	if first {
		t.reposition(q)
	}
	t.count--
	w.finished, w.err = true, err
	close(w.done)
	for kind := range waitKinds {
		if d.waits[kind].waiters.Len() > 0 {
			return
		}
	}
	d.waits = nil
}

// grant gives the first waiter of a queue its credit. m.mu is held.
func (q *waitQueue) grant() {
	d, w := q.d, q.waiters.First()
	d.removeWaiter(w, nil)
	d.m.ledger.take(&d.credit, w.seq, w.charge)
	d.shareChanged()
	d.enqueue(w.typ, w.seq, w.charge, w.head, w.data)
}

// serve gives credit of a class of the connection to those who wait for it. m.mu is held.
func (m *Mux) serve(class packet.Class) {
	if m.waits.count == 0 || m.cause != nil {
		return
	}
	if class != packet.ClassHandlers {
		for kind := range sharedKinds {
			if classOf[kind] == class {
				m.serveKind(kind)
			}
		}
		return
	}
	// A large request needs a handler too: the two kinds take turns by age.
	for {
		q, large := m.waits.next(waitRequest, &m.ledger), m.waits.next(waitLargeRequest, &m.ledger)
		if q == nil || large != nil && large.ticket < q.ticket {
			q = large
		}
		if q == nil {
			return
		}
		q.grant()
	}
}

// serveKind gives credit to those of a kind who wait for it, in all dialogues that compete
// with d. m.mu is held.
func (d *Dialogue) serveKind(kind waitKind) {
	if kind == waitMessage {
		d.serveMessages()
	} else {
		d.m.serveKind(kind)
	}
}

// serveKind gives credit to those of a shared kind who wait for it. m.mu is held.
func (m *Mux) serveKind(kind waitKind) {
	if m.cause != nil {
		return
	}
	for q := m.waits.next(kind, &m.ledger); q != nil; q = m.waits.next(kind, &m.ledger) {
		q.grant()
	}
}

// serveCharge gives what c has cost to those who wait for it. m.mu is held.
func (d *Dialogue) serveCharge(c charge) {
	if d.m.waits.count == 0 {
		return
	}
	d.shareChanged()
	if c.handlers > 0 {
		d.m.serve(packet.ClassHandlers)
	}
	switch {
	case c.bytes == 0:
	case c.class == packet.ClassMessages:
		d.serveMessages()
	default:
		d.m.serve(c.class)
	}
}

// serveMessages gives credit of d's window to its small messages that wait for it. m.mu is
// held.
func (d *Dialogue) serveMessages() {
	for d.waits != nil {
		q := &d.waits[waitMessage]
		if w := q.waiters.First(); w == nil || !d.m.ledger.affords(&d.credit, w.charge) {
			return
		}
		q.grant()
	}
}

// rejectWaiters ends the wait of those that cannot get their credit any more: all of a
// dialogue that has ended, those of new work on a connection that drains. Others may have
// waited behind them. m.mu is held.
func (d *Dialogue) rejectWaiters() {
	for kind := range waitKinds {
		rejected := false
		for d.waits != nil {
			w := d.waits[kind].waiters.First()
			if w == nil {
				break
			}
			err := d.ended(w.typ)
			if err == nil {
				break
			}
			if err == io.EOF {
				err = &geminio.InterruptedError{Cause: err}
			}
			d.removeWaiter(w, err)
			rejected = true
		}
		if rejected {
			d.serveKind(kind)
		}
	}
}
