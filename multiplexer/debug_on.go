//go:build geminiodebug

package multiplexer

// This file checks the invariants of the ledgers, queues and windows in builds with the tag
// geminiodebug. The checks run whenever a checkedMutex is released, so all tests check them.

import (
	"fmt"
	"os"
	"runtime/debug"
	"sync"

	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
)

// debugging reports whether this is the debug build. In the debug build, a violated invariant
// ends the process.
const debugging = true

// checkedMutex is the lock of a Mux, or of the receiving half of a Dialogue.
type checkedMutex struct {
	sync.Mutex
	verify func() (cost int) // checks the fields that the lock guards; nil: no checks
	skip   int               // the number of releases before the next check
}

// onUnlock makes Unlock call verify before it releases the lock. verify returns its cost, in
// any unit. Unlock skips a number of checks in proportion to the cost, so that the checks
// take a bounded share of the time.
func (g *checkedMutex) onUnlock(verify func() int) { g.verify = verify }

// Unlock calls verify if a check is due, and releases the lock.
func (g *checkedMutex) Unlock() {
	switch {
	case g.verify == nil:
	case g.skip > 0:
		g.skip--
	default:
		g.skip = g.verify() / 64
	}
	g.Mutex.Unlock()
}

// outTotals and inTotals count all credit of an outflow or an inflow since its beginning.
type (
	outTotals struct{ granted, taken, restored uint64 }
	inTotals  struct{ granted, received, released uint64 }
)

func (t *outTotals) countGranted(n uint32)  { t.granted += uint64(n) }
func (t *outTotals) countTaken(n uint32)    { t.taken += uint64(n) }
func (t *outTotals) countRestored(n uint32) { t.restored += uint64(n) }

func (t *inTotals) countGranted(n uint64)  { t.granted += n }
func (t *inTotals) countReceived(n uint64) { t.received += n }
func (t *inTotals) countReleased(n uint64) { t.released += n }

// used returns the credit that was taken and not restored.
func (t *outTotals) used() uint64 { return t.taken - t.restored }

// connTotals counts the charges of all packets that were sent, completely or in
// part.
type connTotals struct{ sent [packet.Classes]uint64 }

func (t *connTotals) countBegun(c charge.Charge) {
	for class := range packet.Classes {
		t.sent[class] += uint64(c.Amount(class))
	}
}

// streamTotals counts the packets of a stream that were sent, completely or in
// part.
type streamTotals struct {
	sentMessages   uint64                   // the charges of all small messages
	begun          map[uint64]charge.Charge // requests and registrations that are outstanding, by number
	numbersMisused bool                     // a number is used twice, or the peer has answered a number that was not used
}

func (t *streamTotals) countBegun(seq uint64, c charge.Charge) {
	t.sentMessages += uint64(c.Amount(packet.ClassMessages))
	if c.Handlers == 0 {
		return
	}
	if t.begun == nil {
		t.begun = make(map[uint64]charge.Charge)
	}
	if _, twice := t.begun[seq]; twice {
		t.numbersMisused = true
	}
	t.begun[seq] = c
}

func (t *streamTotals) countAnswered(seq uint64) {
	if _, asked := t.begun[seq]; !asked {
		t.numbersMisused = true
	}
}

func (t *streamTotals) countResolved(seq uint64) { delete(t.begun, seq) }

// assertEqual ends the process if got and want differ. It does not panic, because a panic
// would run deferred functions, which may lock the mutex that is held.
func assertEqual[T comparable](got, want T, format string, args ...any) {
	if got != want {
		bug(format+": %v, not %v", append(args, got, want)...)
	}
}

// bug ends the process.
func bug(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "BUG: "+format+"\n\n%s", append(args, debug.Stack())...)
	os.Exit(2)
}

// check checks the equations of f. The argument names f in the report.
func (f *outflow) check(name any) {
	assertEqual(uint64(f.avail), f.granted-f.used(), "credit: %v available", name)
}

// check checks the equations of f. The argument names f in the report.
func (f *inflow) check(name any) {
	assertEqual(uint64(f.left), f.granted-f.received, "credit: %v left", name)
	assertEqual(uint64(f.held), f.received-f.released, "credit: %v held", name)
	if uint64(f.left)+uint64(f.held) > uint64(f.size) {
		bug("credit: %v: %d left and %d held of %d", name, f.left, f.held, f.size)
	}
}

// verifyQueue checks the packets of d that are not sent completely, and calls each for every
// one of them. It returns their number.
func (d *Dialogue) verifyQueue(each func(seq uint64, c charge.Charge, begun bool)) (n int) {
	m := d.m
	for c := range d.packets.small.Chunks() {
		for h, f := range packets(c.Bytes()) {
			n++
			each(f.Seq, d.charge(h.Type, int(f.Total)), false)
		}
	}
	l := d.packets.large
	if l == nil {
		return n
	}
	for _, first := range []*outgoing{l.turns.First(), l.behind.First()} {
		for o := first; o != nil; o = o.link.Next() {
			n++
			assertEqual(o.charge, d.charge(o.typ, o.size()), "credit: the charge of %v %d", o.typ, o.seq)
			if o.seq != 0 || o.typ != packet.TypeMessage {
				assertEqual(m.largeQueued.get(packetKey{d, o.typ, o.seq}) == o, true, "largeQueued has %v %d", o.typ, o.seq)
			}
			each(o.seq, o.charge, o.begun())
		}
	}
	return n
}

// verify checks the ledger and all values that are related to it, and returns the cost of the
// check. After the end of the connection the ledger is no longer kept. m.mu is held.
func (m *Mux) verify() (cost int) {
	if m.cause != nil {
		return 0
	}
	l := &m.ledger
	var queued [packet.Classes]uint64
	var owed, windows, intros uint64
	waits, asm := 0, 0
	for d := range m.table.all {
		id := d.id
		s := &d.credit
		handlers, requests, messages := uint32(0), uint32(0), uint64(0)
		outstanding := func(c charge.Charge) {
			handlers += c.Handlers
			requests += c.Amount(packet.ClassLargeRequests)
		}
		cost += 8 + len(s.begun)
		cost += d.verifyQueue(func(seq uint64, c charge.Charge, begun bool) {
			if begun {
				return // counted in streamTotals.begun
			}
			for class := range packet.Classes {
				queued[class] += uint64(c.Amount(class))
			}
			messages += uint64(c.Amount(packet.ClassMessages))
			outstanding(c)
		})
		for _, c := range s.begun {
			outstanding(c)
		}
		for class := range packet.StreamClasses {
			s.tx[class].check(fmt.Sprint(class, " of stream ", id))
		}
		if d.life == lifeOpen {
			assertEqual(s.tx[packet.ClassMessages].used(), messages+s.sentMessages, "credit: messages of stream %d queued and sent", id)
			if !s.numbersMisused {
				assertEqual(s.handlers, handlers, "credit: handlers of stream %d outstanding", id)
				assertEqual(s.outstanding(packet.ClassLargeRequests), requests, "credit: large requests of stream %d outstanding", id)
			}
		}
		if a := s.large; a != nil {
			owed += uint64(a.owed)
			sum := uint32(0)
			for _, n := range a.requests {
				sum += n
			}
			assertEqual(a.requestBytes, sum, "credit: the sum of large requests of stream %d", id)
		}
		windows += d.windowSizes()
		intros += uint64(d.introSize())
		asm += d.assemblies.Len()
		if d.waits != nil {
			waits += m.verifyWaits(d)
		}
	}
	for class := packet.ClassHandlers; class < packet.Classes; class++ {
		l.tx[class].check(class)
		l.rx[class].check(class)
		assertEqual(l.tx[class].used(), queued[class]+l.sent[class], "credit: %v queued and sent", class)
	}
	assertEqual(l.rx[packet.ClassLargeMessages].owed(), owed+uint64(l.closedStreamCredit), "credit: large messages owed")
	if l.closedStreamCredit > 0 || l.rx[packet.ClassHandlers].due() || l.rx[packet.ClassLargeRequests].owed() > 0 || l.rx[packet.ClassLargeResponses].owed() > 0 {
		assertEqual(l.due, true, "credit: due is set")
	}
	assertEqual(m.windows.used, windows, "the sum of windows")
	// The names and metas of streams that have left the table, but not their slots, count too.
	assertEqual(m.windows.intros >= intros, true, "the sum of names and metas is at least that of the table")
	assertEqual(m.windows.streams, m.table.len(), "the number of streams with windows")
	assertEqual(len(m.assemblies.all), asm, "packets that have arrived in part")
	assertEqual(m.waits.count, waits, "packets that wait for credit")
	for kind := range sharedKinds {
		tree := &m.waits.trees[kind]
		visits := tree.visits
		if q := m.waits.next(kind, l); q != nil {
			bug("credit: stream %d waits for credit that is available, of kind %d", q.d.id, kind)
		}
		tree.visits = visits
	}
	return cost
}

// verifyWaits checks the waiters of d, which has some, and returns their number.
func (m *Mux) verifyWaits(d *Dialogue) (n int) {
	for kind := range waitKinds {
		q := &d.waits[kind]
		n += q.waiters.Len()
		assertEqual(q.inTree, kind < sharedKinds && !q.waiters.Empty(), "stream %d is in the tree of kind %d", d.id, kind)
		if q.inTree {
			p := q.newNode()
			assertEqual([3]uint64{q.key, q.ticket, q.need}, [3]uint64{p.key, p.ticket, p.need}, "the node of stream %d, of kind %d", d.id, kind)
		}
	}
	if w := d.waits[waitMessage].waiters.First(); w != nil && m.ledger.affords(&d.credit, w.charge) {
		bug("credit: a message of stream %d waits for credit that is available", d.id)
	}
	if n == 0 {
		bug("stream %d has queues without waiters", d.id)
	}
	return n
}

// verify checks the windows of a dialogue. d.recv.mu is held.
func (d *Dialogue) verify() int {
	for class := range packet.StreamClasses {
		d.recv.rx[class].check(fmt.Sprint(class, " of stream ", d.id))
	}
	if raw := &d.recv.rx[packet.ClassRaw]; d.recv.buf.Len() > int(raw.held) {
		bug("credit: stream %d: %d bytes to read, %d held", d.id, d.recv.buf.Len(), raw.held)
	}
	return 0
}

// countNextSmall counts the small packets that the next turn of d sends.
func (d *Dialogue) countNextSmall() {
	if c := d.packets.small.Head(); c != nil {
		for h, f := range packets(c.Bytes()) {
			d.countBegun(f.Seq, d.charge(h.Type, int(f.Total)))
		}
	}
}
