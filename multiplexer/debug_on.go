//go:build geminiodebug

package multiplexer

import (
	"fmt"
	"os"
	"runtime/debug"
	"sync"

	"github.com/singchia/geminio/packet"
)

// debugging tells whether this is the debug build: its locks check the invariants of what
// they guard whenever they are released, and end the process if one does not hold.
const debugging = true

// guard is the lock of a Mux, or of the receiving side of a Dialogue.
type checkedMutex struct {
	sync.Mutex
	verify func() (cost int)
	skip   int // how many releases go unchecked, so that checks take a bounded share of the time
}

// onUnlock has verify called before the lock is released. It returns what it has cost, in
// any unit: the next call comes after a number of releases that is in proportion.
func (g *checkedMutex) onUnlock(verify func() int) { g.verify = verify }

// Unlock checks, and releases the lock.
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

// outTotals and inTotals count what has become of credit, ever.
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

// used is the credit that was taken and not restored.
func (t *outTotals) used() uint64 { return t.taken - t.restored }

// connTotals counts the charges of packets that have begun to be sent, ever.
type connTotals struct{ sent [packet.Classes]uint64 }

func (t *connTotals) countBegun(c charge) {
	for class := range packet.Classes {
		t.sent[class] += uint64(c.amount(class))
	}
}

// streamTotals counts the same of a stream's messages, and has the requests and
// registrations that have begun and are outstanding.
type streamTotals struct {
	sentMessages   uint64
	begun          map[uint64]charge
	numbersMisused bool // a number is used twice, or the peer has answered what it was not asked
}

func (t *streamTotals) countBegun(seq uint64, c charge) {
	t.sentMessages += uint64(c.amount(packet.ClassMessages))
	if c.handlers == 0 {
		return
	}
	if t.begun == nil {
		t.begun = make(map[uint64]charge)
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

// want ends the process unless two numbers are the same. A panic would run deferred
// functions, which may want the lock that is held.
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

// check checks the equations that concern f alone.
func (f *outflow) check(what any) {
	assertEqual(uint64(f.avail), f.granted-f.used(), "credit: %v available", what)
}

func (f *inflow) check(what any) {
	assertEqual(uint64(f.left), f.granted-f.received, "credit: %v left", what)
	assertEqual(uint64(f.held), f.received-f.released, "credit: %v held", what)
	if uint64(f.left)+uint64(f.held) > uint64(f.size) {
		bug("credit: %v: %d left and %d held of %d", what, f.left, f.held, f.size)
	}
}

// verifyQueue checks the packets of d that wait to be sent, and calls each with those of
// which not all was sent. It returns how many there are.
func (d *Dialogue) verifyQueue(each func(seq uint64, c charge, begun bool)) (n int) {
	m := d.m
	for c := range d.packets.small.Chunks() {
		for h, f := range packets(c.Bytes()) {
			n++
			each(f.Seq, m.charge(h.Type, int(f.Total)), false)
		}
	}
	l := d.packets.large
	if l == nil {
		return n
	}
	for _, first := range []*outgoing{l.turns.First(), l.behind.First()} {
		for o := first; o != nil; o = o.link.Next() {
			n++
			assertEqual(o.charge, m.charge(o.typ, o.size()), "credit: the charge of %v %d", o.typ, o.seq)
			if o.seq != 0 || o.typ != packet.TypeMessage {
				assertEqual(m.largeQueued.get(packetKey{d, o.typ, o.seq}) == o, true, "the index of packets that wait: %v %d", o.typ, o.seq)
			}
			each(o.seq, o.charge, o.begun())
		}
	}
	return n
}

// verify checks the ledger, and what is related to it. It returns how much there was to
// check. After the end nobody keeps books. m.mu is held.
func (m *Mux) verify() (cost int) {
	if m.cause != nil {
		return 0
	}
	l := &m.ledger
	var queued [packet.Classes]uint64
	var owed, windows, intros uint64
	waits, asm := 0, 0
	for id, d := range m.table {
		s := &d.credit
		handlers, requests, messages := uint32(0), uint32(0), uint64(0)
		outstanding := func(c charge) {
			handlers += c.handlers
			requests += c.amount(packet.ClassLargeRequests)
		}
		cost += 8 + len(s.begun)
		cost += d.verifyQueue(func(seq uint64, c charge, begun bool) {
			if begun {
				return // streamTotals.begun has it
			}
			for class := range packet.Classes {
				queued[class] += uint64(c.amount(class))
			}
			messages += uint64(c.amount(packet.ClassMessages))
			outstanding(c)
		})
		for _, c := range s.begun {
			outstanding(c)
		}
		for class := range packet.StreamClasses {
			s.tx[class].check(fmt.Sprint(class, " of stream ", id))
		}
		if d.state == dialogueOpen {
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
		assertEqual(l.due, true, "credit: something is due")
	}
	assertEqual(m.windows.used, windows, "the sum of windows")
	assertEqual(m.windows.intros, intros, "the sum of names and metas")
	assertEqual(m.windows.streams, len(m.table), "the number of streams with windows")
	assertEqual(len(m.assemblies.all), asm, "packets that arrive")
	assertEqual(m.waits.count, waits, "packets that wait for credit")
	for kind := range sharedKinds {
		line := &m.waits.trees[kind]
		visits := line.visits
		if q := m.waits.next(kind, l); q != nil {
			bug("credit: stream %d waits for what it could have, of kind %d", q.d.id, kind)
		}
		line.visits = visits
	}
	return cost
}

// verifyWaits checks the waiters of a dialogue, and returns how many there are.
func (m *Mux) verifyWaits(d *Dialogue) (n int) {
	for kind := range waitKinds {
		q := &d.waits[kind]
		n += q.waiters.Len()
		assertEqual(q.inTree, kind < sharedKinds && q.waiters.Len() > 0, "stream %d waits, of kind %d", d.id, kind)
		if q.inTree {
			p := q.newNode()
			assertEqual([3]uint64{q.key, q.ticket, q.need}, [3]uint64{p.key, p.ticket, p.need}, "the place of stream %d, of kind %d", d.id, kind)
		}
	}
	if w := d.waits[waitMessage].waiters.First(); w != nil && m.ledger.affords(&d.credit, w.charge) {
		bug("credit: a message of stream %d waits for what it could have", d.id)
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

// countNextSmall counts the small packets that the next turn sends as begun.
func (d *Dialogue) countNextSmall() {
	if c := d.packets.small.Head(); c != nil {
		for h, f := range packets(c.Bytes()) {
			d.countBegun(f.Seq, d.m.charge(h.Type, int(f.Total)))
		}
	}
}
