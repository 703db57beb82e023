package multiplexer

// This file lets packets wait for credit. waitTable describes the order in which they are
// admitted. All functions run with Mux.mu held.

import (
	"context"
	"io"
	"math"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/internal/list"
	"github.com/singchia/geminio/packet"
)

// creditWaiter is a packet that waits for its credit. A waiter gets the credit for the whole
// packet at once. The goroutine that adds or frees the credit also queues the packet. So a
// packet either waits and has no credit, or has its credit and is queued.
type creditWaiter struct {
	link       list.Link[creditWaiter] // in waitQueue.waiters
	ticket     uint64                  // the position among all waiters of the connection; a later waiter has a larger one
	typ        packet.Type
	seq        uint64
	charge     charge.Charge
	head, data []byte // the body of the packet

	done     chan struct{} // closed when the wait is over
	finished bool          // the wait is over
	err      error         // why the packet was not queued; nil if it was
}

// waitKind is a kind of waiting packets. Packets of one kind need credit of the same classes.
// The packets of one kind and one stream are admitted in their order. Packets of different
// kinds do not wait for each other.
type waitKind int

const (
	waitNone waitKind = iota - 1 // packets that need no credit
	waitRequest
	waitLargeRequest
	waitLargeMessage
	waitLargeResponse
	sharedKinds                        // the number of kinds above, for which streams compete
	waitMessage waitKind = sharedKinds // small messages, which wait for the stream's own window
	waitKinds   waitKind = sharedKinds + 1
)

// kindOf returns the kind of packets with charge c.
func kindOf(c charge.Charge) waitKind {
	switch {
	case c.Class == packet.ClassLargeRequests:
		return waitLargeRequest
	case c.Handlers > 0:
		return waitRequest
	case c.Class == packet.ClassMessages:
		return waitMessage
	case c.Class == packet.ClassLargeMessages:
		return waitLargeMessage
	case c.Class == packet.ClassLargeResponses:
		return waitLargeResponse
	}
	return waitNone
}

// classOf has the class for which the packets of each kind compete.
var classOf = [sharedKinds]packet.Class{
	waitRequest:       packet.ClassHandlers,
	waitLargeRequest:  packet.ClassLargeRequests,
	waitLargeMessage:  packet.ClassLargeMessages,
	waitLargeResponse: packet.ClassLargeResponses,
}

// waitQueue holds the waiters of one kind of a dialogue.
type waitQueue struct {
	node    // the dialogue's node in waitTable.trees; in a tree only if there are waiters
	d       *Dialogue
	kind    waitKind
	waiters list.List[creditWaiter]
}

// waitQueues holds all waiters of a dialogue.
type waitQueues [waitKinds]waitQueue

// waitTable holds the dialogues that have waiters. Mux.mu guards it.
//
// In each kind, the first waiters of the dialogues compete. Two rules give the order:
//
//   - Dialogues with nothing outstanding in the class come first, the oldest waiter before
//     the others. The class is reserved for the first of them: no other packet of the kind is
//     admitted before its first waiter. Otherwise smaller packets could overtake a large one
//     for ever.
//   - Dialogues with outstanding credit follow. Such a dialogue waits until the peer has
//     handled its own packets, so the class is not reserved for it. The less the dialogue has
//     outstanding and needs, the earlier it comes.
//
// ledger.affords says whether a waiter can be admitted. node has the order; newNode computes
// it such that if the first node cannot be admitted, no other can.
type waitTable struct {
	count      int    // waiters of all kinds
	lastTicket uint64 // creditWaiter.ticket of the newest waiter
	trees      [sharedKinds]tree
}

// reposition moves q to the position that follows from its first waiter and from the
// outstanding credit of its dialogue. It removes q from the tree if q has no waiters.
func (t *waitTable) reposition(q *waitQueue) {
	if q.kind >= sharedKinds {
		return
	}
	tree := &t.trees[q.kind]
	tree.remove(&q.node)
	if !q.waiters.Empty() {
		q.node = q.newNode()
		tree.add(&q.node)
	}
}

// newNode returns the node of q, which has waiters, with the fields that decide its position.
func (q *waitQueue) newNode() node {
	w := q.waiters.First()
	n := node{ticket: w.ticket, queue: q}
	if outstanding := q.d.credit.outstanding(classOf[q.kind]); outstanding > 0 {
		// withinShare: outstanding <= 3*(avail-n)+2, so outstanding+3*n <= 3*avail+2.
		n.key = uint64(outstanding) + 3*uint64(w.charge.Amount(classOf[q.kind]))
	}
	if q.kind == waitLargeRequest {
		// withinShare for one handler: handlers <= 3*(avail-1)+2, so handlers < 3*avail.
		n.need = uint64(q.d.credit.handlers)
	}
	return n
}

// headOfLine returns the queue whose first waiter is the next of its kind, or nil if there is
// none. reserved reports that no other packet of the kind may be admitted before it. Large
// requests need a handler too; headOfLine skips a large request whose stream may take no
// handler.
func (t *waitTable) headOfLine(kind waitKind, l *ledger) (q *waitQueue, reserved bool) {
	maxNeed := uint64(math.MaxUint64)
	if kind == waitLargeRequest {
		free := uint64(l.tx[packet.ClassHandlers].avail)
		if free == 0 {
			return nil, false
		}
		maxNeed = 3*free - 1
	}
	n := t.trees[kind].firstWithin(maxNeed)
	if n == nil {
		return nil, false
	}
	return n.queue, n.key == 0
}

// next returns the queue whose first waiter is the next of its kind, if that can be admitted
// now, or nil.
func (t *waitTable) next(kind waitKind, l *ledger) *waitQueue {
	q, _ := t.headOfLine(kind, l)
	if q != nil && l.affords(&q.d.credit, q.waiters.First().charge) {
		return q
	}
	return nil
}

// admit takes the credit for packet seq of d and returns true. It returns false, and takes
// nothing, if there is not enough credit or if other packets wait that come before.
func (d *Dialogue) admit(seq uint64, c charge.Charge) bool {
	m := d.m
	kind := kindOf(c)
	if kind == waitNone {
		return true
	}
	if m.waits.count > 0 {
		if d.waits != nil && !d.waits[kind].waiters.Empty() {
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

// shareChanged repositions d's waiters after a change of d's outstanding credit.
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

// PatienceKey is the key of a context value of type time.Duration. It is the longest time
// that Send waits for credit for a request; after it, Send returns a *geminio.LimitError.
type PatienceKey struct{}

// waitCredit waits until packet w, which addWaiter has added, has its credit and is queued,
// until ctx is done, or until the timeout has passed if it is not 0. The caller does not hold
// m.mu.
func (d *Dialogue) waitCredit(ctx context.Context, timeout time.Duration, w *creditWaiter) error {
	m := d.m
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var impatient <-chan time.Time
	if patience, ok := ctx.Value(PatienceKey{}).(time.Duration); ok && w.typ == packet.TypeRequest {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		impatient = timer.C
	}
	var err error
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-impatient:
		err = &geminio.LimitError{
			What: "handlers of the peer, all busy", Value: uint64(m.c.Peer().Handlers) + 1, Limit: uint64(m.c.Peer().Handlers), Err: geminio.ErrTooMany,
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !w.finished {
		d.removeWaiter(w, err)
		d.serveKind(kindOf(w.charge)) // packets that waited behind w
	}
	return w.err
}

// addWaiter adds w to the waiters of d.
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

// removeWaiter ends the wait of w with err.
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
		if !d.waits[kind].waiters.Empty() {
			return
		}
	}
	d.waits = nil
}

// grant admits and queues the first waiter of q, which the ledger affords.
func (q *waitQueue) grant() {
	d, w := q.d, q.waiters.First()
	d.removeWaiter(w, nil)
	d.m.ledger.take(&d.credit, w.seq, w.charge)
	d.shareChanged()
	d.enqueue(w.typ, w.seq, w.charge, w.head, w.data)
}

// serve admits waiters for a shared class while there is enough credit of the
// class.
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

// serveKind admits waiters of a kind, in d and in the dialogues that compete with d.
func (d *Dialogue) serveKind(kind waitKind) {
	if kind == waitMessage {
		d.serveMessages()
	} else {
		d.m.serveKind(kind)
	}
}

// serveKind admits waiters of a shared kind while there is enough credit.
func (m *Mux) serveKind(kind waitKind) {
	if m.cause != nil {
		return
	}
	for q := m.waits.next(kind, &m.ledger); q != nil; q = m.waits.next(kind, &m.ledger) {
		q.grant()
	}
}

// serveCharge admits waiters after the credit of c has been given back.
func (d *Dialogue) serveCharge(c charge.Charge) {
	if d.m.waits.count == 0 {
		return
	}
	d.shareChanged()
	if c.Handlers > 0 {
		d.m.serve(packet.ClassHandlers)
	}
	switch {
	case c.Bytes == 0:
	case c.Class == packet.ClassMessages:
		d.serveMessages()
	default:
		d.m.serve(c.Class)
	}
}

// serveMessages admits small messages of d while d's window has enough credit.
func (d *Dialogue) serveMessages() {
	for d.waits != nil {
		q := &d.waits[waitMessage]
		if w := q.waiters.First(); w == nil || !d.m.ledger.affords(&d.credit, w.charge) {
			return
		}
		q.grant()
	}
}

// rejectWaiters ends the wait of the packets of d that can no longer be sent: all packets if
// d has ended, new work if the connection is going away. It then admits packets that waited
// behind them.
func (d *Dialogue) rejectWaiters() {
	for kind := range waitKinds {
		rejected := false
		for d.waits != nil {
			w := d.waits[kind].waiters.First()
			if w == nil {
				break
			}
			err := d.checkSend(w.typ)
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
