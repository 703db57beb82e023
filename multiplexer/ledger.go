package multiplexer

import "github.com/singchia/geminio/packet"

// charge is what one packet costs of its receiver's credit. All of it is due with the
// packet's first fragment.
type charge struct {
	handlers uint32       // 1 for a request or a registration, else 0
	class    packet.Class // of the bytes
	bytes    uint32       // 0 if the packet costs none
}

// messageOverhead is what a small message costs of its stream's window beside its body,
// bytes.
const messageOverhead = 128

// chargeFor returns the charge of a packet with a body of that size, for a receiver that
// takes bodies of at most small bytes as small.
func chargeFor(typ packet.Type, size, small int) (c charge) {
	if usesHandler(typ) {
		c.handlers = 1
	}
	if size > small {
		c.class = largeClassOf(typ)
		if c.class != 0 {
			c.bytes = uint32(size)
		}
	} else if typ == packet.TypeMessage {
		c.class, c.bytes = packet.ClassMessages, uint32(size+messageOverhead)
	}
	return c
}

// shared tells whether c costs credit of the classes that all streams share.
func (c charge) shared() bool {
	return c.handlers > 0 || c.bytes > 0 && c.class >= packet.StreamClasses
}

// of returns how much of a class c costs.
func (c charge) amount(class packet.Class) uint32 {
	switch class {
	case packet.ClassHandlers:
		return c.handlers
	case c.class:
		return c.bytes
	}
	return 0
}

// largeClassOf returns the class from which large packets of a type need credit, or 0.
func largeClassOf(typ packet.Type) packet.Class {
	switch typ {
	case packet.TypeMessage:
		return packet.ClassLargeMessages
	case packet.TypeRequest:
		return packet.ClassLargeRequests
	case packet.TypeResponse:
		return packet.ClassLargeResponses
	}
	return 0
}

// usesHandler tells whether a packet of a type costs credit of ClassHandlers.
func usesHandler(typ packet.Type) bool {
	return typ == packet.TypeRequest || typ == packet.TypeRegister
}

// ledger accounts for the credit of the classes that all streams of a connection share,
// those from ClassHandlers on, in both directions. It is a plain value that neither locks
// nor waits; Mux.mu guards a Mux's.
//
// # Sending
//
// The charge of a packet is taken when the packet is admitted. In each class
//
//	granted = avail + queued + sent
//
// where granted is the first credit and all Credit frames that came, avail is in tx,
// queued are the charges of packets that were admitted and of which no fragment has been
// sent, and sent those of packets of which one has. take moves a charge from avail to
// queued, refund moves it back, and the first fragment moves it to sent, for good: what a
// packet has cost by then, the peer gives back with Credit frames, whatever becomes of the
// rest of the packet.
//
// Each stream knows its share, what is outstanding of it: the charges of its packets that
// were admitted, until exactly one of these happens to each.
//
//   - refund: nothing of the packet was sent, and nothing will be.
//   - resolve: a request or registration has its answer, or its rest was abandoned.
//   - addCredit: Credit frames for a stream resolve its large messages, byte by byte.
//   - The stream ends.
//
// Large responses and small messages have no share: they are outstanding nowhere.
//
// # Receiving
//
// In each class
//
//	granted  = left + received
//	received = held + released
//	size     = left + held + owed
//
// where left is what the peer may still send, held are the charges of packets that came,
// whole or in part, until release is called for each of them, and owed is what is to be
// granted by the next Credit frame. Large messages are released and granted by stream:
// what is owed in their class is the sum of all streams' largeLedger.owed and closedStreamCredit.
//
// # Both sides
//
// A packet counts as sent at its sender, and as received at its receiver, with its first
// fragment, and with all that it costs. So when no frame is under way and nothing is
// queued, what is avail at one side is left at the other, in each class of the connection
// and of each stream.
type ledger struct {
	connTotals
	tx [packet.Classes]outflow
	rx [packet.Classes]inflow

	closedStreamCredit uint32 // large messages of streams that have ended: bytes owed
	due                bool   // some class of rx has something to grant
}

// streamLedger is what a ledger knows of one stream, and the credit that the peer has
// given for the stream's own classes. Mux.mu guards it. (The windows that the stream gives
// are in recvHalf.rx, under a lock of their own.)
type streamLedger struct {
	streamTotals
	tx            [packet.StreamClasses]outflow
	handlers      uint32 // requests and registrations of this side that are outstanding
	dropsMessages bool   // this side has closed: messages that it held are released
	large         *largeLedger
}

// largeLedger is the part of a streamLedger that only streams with large packets have.
type largeLedger struct {
	requests     map[uint64]uint32 // this side's outstanding large requests, bytes by number
	requestBytes uint32            // the sum of requests
	messageBytes uint32            // this side's outstanding large messages, bytes
	held         uint32            // the peer's large messages that are held here, bytes
	owed         uint32            // the peer's large messages that were released, bytes to be granted
}

// larger returns s.large, made on first use.
func (s *streamLedger) ensureLarge() *largeLedger {
	if s.large == nil {
		s.large = new(largeLedger)
	}
	return s.large
}

// outstanding returns the stream's share of a class: what its packets hold at the peer, as
// far as that is known and counts.
func (s *streamLedger) outstanding(class packet.Class) uint32 {
	switch {
	case class == packet.ClassHandlers:
		return s.handlers
	case s.large == nil:
	case class == packet.ClassLargeRequests:
		return s.large.requestBytes
	case class == packet.ClassLargeMessages:
		return s.large.messageBytes
	}
	return 0
}

// newLedger returns the ledger of a connection between two sides with these settings.
func newLedger(local, peer packet.Settings) (l ledger) {
	for class := packet.ClassHandlers; class < packet.Classes; class++ {
		l.rx[class] = newInflow(local.Credit(class))
		l.tx[class] = newOutflow(peer.Credit(class))
	}
	return l
}

// newStreamLedger returns that of a stream for which the peer gives these windows.
func newStreamLedger(w packet.Windows) (s streamLedger) {
	s.tx[packet.ClassRaw] = newOutflow(w.Raw)
	s.tx[packet.ClassMessages] = newOutflow(w.Messages)
	return s
}

// withinShare tells whether a stream of which held is outstanding may take n of what is
// available to all. A stream that holds more than three times what would be left for
// others gets no more, beyond its first packet: so a stream whose peer is slow cannot take
// all there is. Where there are only two or three, one stream may have them.
func withinShare(n, avail, held uint32) bool {
	return n <= avail && (held == 0 || uint64(held) <= 3*uint64(avail-n)+2)
}

// affords tells whether the stream may take c now.
func (l *ledger) affords(s *streamLedger, c charge) bool {
	if c.handlers > 0 && !withinShare(c.handlers, l.tx[packet.ClassHandlers].avail, s.handlers) {
		return false
	}
	switch {
	case c.bytes == 0:
		return true
	case c.class == packet.ClassMessages:
		return c.bytes <= s.tx[packet.ClassMessages].avail
	}
	return withinShare(c.bytes, l.tx[c.class].avail, s.outstanding(c.class))
}

// take takes c, which the stream affords, for the packet with the number seq.
func (l *ledger) take(s *streamLedger, seq uint64, c charge) {
	if c.handlers > 0 {
		l.tx[packet.ClassHandlers].take(c.handlers)
		s.handlers++
	}
	switch {
	case c.bytes == 0:
		return
	case c.class == packet.ClassMessages:
		s.tx[packet.ClassMessages].take(c.bytes)
		return
	}
	l.tx[c.class].take(c.bytes)
	switch c.class {
	case packet.ClassLargeMessages:
		s.ensureLarge().messageBytes += c.bytes
	case packet.ClassLargeRequests:
		a := s.ensureLarge()
		if a.requests == nil {
			a.requests = make(map[uint64]uint32)
		}
		a.requests[seq] += c.bytes
		a.requestBytes += c.bytes
	}
}

// refund undoes take, for a packet of which nothing was sent.
func (l *ledger) refund(s *streamLedger, seq uint64, c charge) {
	if c.handlers > 0 {
		l.tx[packet.ClassHandlers].restore(c.handlers)
		s.resolve(seq)
	}
	switch {
	case c.bytes == 0:
		return
	case c.class == packet.ClassMessages:
		s.tx[packet.ClassMessages].restore(c.bytes)
		return
	case c.class == packet.ClassLargeMessages:
		s.resolveMessages(c.bytes)
	}
	l.tx[c.class].restore(c.bytes)
}

// resolve says that a request or registration of the stream is not outstanding any more: it
// was answered, or what is left of it was abandoned. The caller of one that was answered
// may be gone long since: its handler was at work until now.
func (s *streamLedger) resolve(seq uint64) {
	s.countResolved(seq)
	s.handlers -= min(s.handlers, 1)
	if a := s.large; a != nil {
		a.requestBytes -= a.requests[seq]
		delete(a.requests, seq)
	}
}

// settleMessages says that the peer holds n bytes less of the stream's large messages.
func (s *streamLedger) resolveMessages(n uint32) {
	if a := s.large; a != nil {
		a.messageBytes -= min(a.messageBytes, n)
	}
}

// credit adds what the peer grants: of a class of the connection, or of the stream's. The
// stream of the Credit frame is nil if there was none, or if it has ended.
func (l *ledger) addCredit(s *streamLedger, class packet.Class, n uint32) error {
	if class < packet.StreamClasses {
		if s == nil {
			return nil // too late
		}
		return s.tx[class].add(class, n)
	}
	if s != nil && class == packet.ClassLargeMessages {
		s.resolveMessages(n)
	}
	return l.tx[class].add(class, n)
}

// receive counts a packet that begins to arrive, or reports that the peer had no credit
// for it. The stream is nil, here and for release, if it takes no packets any more. What
// is owed becomes due also when the peer has less left.
func (l *ledger) receive(s *streamLedger, c charge) error {
	if c.handlers > 0 {
		f := &l.rx[packet.ClassHandlers]
		if err := f.receive(packet.ClassHandlers, uint64(c.handlers)); err != nil {
			return err
		}
		l.due = l.due || f.due()
	}
	if c.bytes == 0 || c.class < packet.StreamClasses {
		return nil
	}
	if err := l.rx[c.class].receive(c.class, uint64(c.bytes)); err != nil {
		return err
	}
	if s != nil && c.class == packet.ClassLargeMessages {
		s.ensureLarge().held += c.bytes
	}
	return nil
}

// release says that a packet is no longer held. What it cost is owed from then on: for the
// stream if it is a large message and the stream is open, else for the connection. Of a
// stream that has dropped its messages, it releases none.
func (l *ledger) release(s *streamLedger, c charge, open bool) {
	if c.handlers > 0 {
		f := &l.rx[packet.ClassHandlers]
		f.release(uint64(c.handlers))
		l.due = l.due || f.due()
	}
	if c.bytes == 0 || c.class < packet.StreamClasses {
		return
	}
	if c.class == packet.ClassLargeMessages {
		if s != nil {
			if s.dropsMessages {
				return
			}
			s.large.held -= c.bytes
			if open {
				s.large.owed += c.bytes
				l.rx[c.class].release(uint64(c.bytes))
				return
			}
		}
		l.closedStreamCredit += c.bytes
	}
	l.rx[c.class].release(uint64(c.bytes))
	l.due = true
}

// drop releases all large messages of a stream that this side has closed: those that
// arrive, those that wait to be received, and those of which the upper layer has yet to
// learn that they are dropped.
func (l *ledger) drop(s *streamLedger) {
	if s.dropsMessages {
		return
	}
	s.dropsMessages = true
	if a := s.large; a != nil && a.held > 0 {
		l.rx[packet.ClassLargeMessages].release(uint64(a.held))
		l.closedStreamCredit += a.held
		a.held = 0
		l.due = true
	}
}

// close moves what is owed for large messages of a stream to the connection, since no
// frame can be sent for the stream any more.
func (l *ledger) close(s *streamLedger) {
	if a := s.large; a != nil && a.owed > 0 {
		l.closedStreamCredit += a.owed
		a.owed = 0
		l.due = true
	}
}

// grant returns how much is to be granted of a class with a frame of the connection, and
// counts it as granted.
func (l *ledger) grant(class packet.Class) (n uint32) {
	f := &l.rx[class]
	switch class {
	case packet.ClassLargeMessages:
		n = l.closedStreamCredit
		l.closedStreamCredit = 0
	case packet.ClassHandlers:
		if !f.due() {
			return 0
		}
		fallthrough
	default:
		n = uint32(f.owed())
	}
	f.give(uint64(n))
	return n
}

// grantStream is grant of large messages with a frame of the stream.
func (l *ledger) grantStream(s *streamLedger) (n uint32) {
	if s.large == nil {
		return 0
	}
	n = s.large.owed
	s.large.owed = 0
	l.rx[packet.ClassLargeMessages].give(uint64(n))
	return n
}
