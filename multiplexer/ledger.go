package multiplexer

import (
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
)

// ledger accounts for the credit of the classes that all streams of a connection share, in
// both directions. These are the classes from packet.ClassHandlers on. A ledger is a plain
// value that neither locks nor waits; Mux.mu guards the ledger of a Mux.
//
// # Sending
//
// A packet is admitted by taking its charge. In each class
//
//	granted = avail + queued + sent
//
// where
//
//   - granted is the first credit plus the amounts of all Credit frames,
//   - avail is outflow.avail in tx,
//   - queued is the sum of the charges of admitted packets of which no fragment was sent,
//   - sent is the sum of the charges of packets of which a fragment was sent.
//
// take moves a charge from avail to queued, refund moves it back, and the first fragment
// moves it to sent. It never leaves sent: the peer gives this credit back with Credit
// frames, also if the rest of the packet is never sent.
//
// Each stream has outstanding credit in each class: the sum of the charges of its admitted
// packets. A charge stops being outstanding when the first of these events happens:
//
//   - refund: no part of the packet was sent or will be.
//   - resolve: the request or registration is answered, or its rest is abandoned.
//   - addCredit: a Credit frame for the stream arrives. It resolves large messages, and small
//     ones that their class pays, by bytes.
//   - The stream ends.
//
// Large responses and messages that the stream's own window pays are not counted as outstanding.
//
// # Receiving
//
// In each class
//
//	granted  = left + received
//	received = held + released
//	size     = left + held + owed
//
// where
//
//   - left is the amount that the peer may still send,
//   - held is the sum of the charges of packets that have arrived, completely or in part,
//     and for which release was not called,
//   - owed is the amount that the next Credit frame may grant.
//
// Large messages are released and granted by stream. The amount owed in their class is the
// sum of largeLedger.owed of all streams and of closedStreamCredit.
//
// # Both sides
//
// The first fragment of a packet makes the whole charge of the packet sent at its sender and
// received at its receiver. So when nothing is queued and no frame is under way, avail at
// one side equals left at the other, in each class of the connection and of each stream.
type ledger struct {
	connTotals
	tx [packet.Classes]outflow // credit that the peer has given; from ClassHandlers on
	rx [packet.Classes]inflow  // credit given to the peer; from ClassHandlers on

	closedStreamCredit uint32 // owed for large messages of streams that have ended, bytes
	due                bool   // a Credit frame of the connection is to be sent
}

// streamLedger accounts for the credit of one stream: its outstanding part of the shared
// classes, and the credit that the peer has given for the stream's own classes. Mux.mu
// guards it. The windows that this side gives to the peer are in recvHalf.rx instead, under
// a lock of their own.
type streamLedger struct {
	streamTotals
	tx            [packet.StreamClasses]outflow // credit of the stream's own classes
	handlers      uint32                        // outstanding requests and registrations of this side
	own           uint16                        // charge.MaxOwn of the peer's first window for messages; read-only
	dropsMessages bool                          // this side has closed and released all messages that it held
	large         *largeLedger                  // nil until the first large packet
}

// largeLedger is the part of a streamLedger that counts large packets. All amounts are bytes.
type largeLedger struct {
	requests     map[uint64]uint32 // this side's outstanding large requests, by number
	requestBytes uint32            // the sum of requests
	messageBytes uint32            // this side's outstanding large messages
	held         uint32            // large messages of the peer that were not released
	owed         uint32            // large messages of the peer that were released and not granted again
}

// ensureLarge returns s.large, which it makes on first use.
func (s *streamLedger) ensureLarge() *largeLedger {
	if s.large == nil {
		s.large = new(largeLedger)
	}
	return s.large
}

// outstanding returns the stream's outstanding credit of a shared class; see ledger.
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

// newLedger returns the ledger of a connection on which the sides have offered these settings.
func newLedger(local, peer packet.Settings) (l ledger) {
	for class := packet.ClassHandlers; class < packet.Classes; class++ {
		l.rx[class] = newInflow(local.Credit(class))
		l.tx[class] = newOutflow(peer.Credit(class))
	}
	return l
}

// newStreamLedger returns the ledger of a stream for which the peer has given the windows w. The
// argument small is the largest body of a small packet to the peer.
func newStreamLedger(w packet.Windows, small int) (s streamLedger) {
	s.own = charge.MaxOwn(w.Messages, small)
	s.tx[packet.ClassRaw] = newOutflow(w.Raw)
	s.tx[packet.ClassMessages] = newOutflow(w.Messages)
	return s
}

// withinShare reports whether a stream may take n of avail in a class of which it has some
// amount outstanding. A stream with nothing outstanding may take any n up to avail. Another
// stream may take n only if at least about a third of its outstanding amount is left for the
// other streams. So a stream whose packets are never answered leaves a quarter of the class.
// The constant 2 lets one stream take all of a class of at most three units.
func withinShare(n, avail, outstanding uint32) bool {
	return n <= avail && (outstanding == 0 || uint64(outstanding) <= 3*uint64(avail-n)+2)
}

// affords reports whether stream s may take c now.
func (l *ledger) affords(s *streamLedger, c charge.Charge) bool {
	if c.Handlers > 0 && !withinShare(c.Handlers, l.tx[packet.ClassHandlers].avail, s.handlers) {
		return false
	}
	switch {
	case c.Bytes == 0:
		return true
	case c.Class == packet.ClassMessages:
		return c.Bytes <= s.tx[packet.ClassMessages].avail
	}
	return withinShare(c.Bytes, l.tx[c.Class].avail, s.outstanding(c.Class))
}

// take admits packet seq of stream s: it takes c, which s affords.
func (l *ledger) take(s *streamLedger, seq uint64, c charge.Charge) {
	if c.Handlers > 0 {
		l.tx[packet.ClassHandlers].take(c.Handlers)
		s.handlers++
	}
	switch {
	case c.Bytes == 0:
		return
	case c.Class == packet.ClassMessages:
		s.tx[packet.ClassMessages].take(c.Bytes)
		return
	}
	l.tx[c.Class].take(c.Bytes)
	switch c.Class {
	case packet.ClassLargeMessages:
		s.ensureLarge().messageBytes += c.Bytes
	case packet.ClassLargeRequests:
		a := s.ensureLarge()
		if a.requests == nil {
			a.requests = make(map[uint64]uint32)
		}
		a.requests[seq] += c.Bytes
		a.requestBytes += c.Bytes
	}
}

// refund undoes take, for a packet of which no part was sent.
func (l *ledger) refund(s *streamLedger, seq uint64, c charge.Charge) {
	if c.Handlers > 0 {
		l.tx[packet.ClassHandlers].restore(c.Handlers)
		s.resolve(seq)
	}
	switch {
	case c.Bytes == 0:
		return
	case c.Class == packet.ClassMessages:
		s.tx[packet.ClassMessages].restore(c.Bytes)
		return
	case c.Class == packet.ClassLargeMessages:
		s.resolveMessages(c.Bytes)
	}
	l.tx[c.Class].restore(c.Bytes)
}

// resolve reports that request or registration seq is no longer outstanding: it is answered,
// or its rest is abandoned. The caller may have given up before the answer; the packet is
// outstanding until then, because the peer's handler runs until then.
func (s *streamLedger) resolve(seq uint64) {
	s.countResolved(seq)
	s.handlers -= min(s.handlers, 1)
	if a := s.large; a != nil {
		a.requestBytes -= a.requests[seq]
		delete(a.requests, seq)
	}
}

// resolveMessages reports that n bytes of large messages are no longer outstanding.
func (s *streamLedger) resolveMessages(n uint32) {
	if a := s.large; a != nil {
		a.messageBytes -= min(a.messageBytes, n)
	}
}

// addCredit adds n, which a Credit frame has granted. Stream s is nil if the frame is for the
// connection, or for a stream that has ended.
func (l *ledger) addCredit(s *streamLedger, class packet.Class, n uint32) error {
	if class < packet.StreamClasses {
		if s == nil {
			return nil // the stream has ended
		}
		return s.tx[class].add(class, n)
	}
	if s != nil && class == packet.ClassLargeMessages {
		s.resolveMessages(n)
	}
	return l.tx[class].add(class, n)
}

// receive counts a packet whose first fragment has arrived. It returns an error if the peer
// had no credit for the packet. Stream s is nil if it has ended. receive may set l.due,
// because credit that is owed becomes due when the peer has less left.
func (l *ledger) receive(s *streamLedger, c charge.Charge) error {
	if c.Handlers > 0 {
		f := &l.rx[packet.ClassHandlers]
		if err := f.receive(packet.ClassHandlers, uint64(c.Handlers)); err != nil {
			return err
		}
		l.due = l.due || f.due()
	}
	if c.Bytes == 0 || c.Class < packet.StreamClasses {
		return nil
	}
	if err := l.rx[c.Class].receive(c.Class, uint64(c.Bytes)); err != nil {
		return err
	}
	if s != nil && c.Class == packet.ClassLargeMessages {
		s.ensureLarge().held += c.Bytes
	}
	return nil
}

// release reports that a packet with charge c is no longer held, so that c is owed. A large
// message of an open stream is owed for the stream, all else for the connection. If the
// stream has dropped its messages, release ignores large messages, because drop has released
// them. Stream s is nil if it had ended when the packet arrived.
func (l *ledger) release(s *streamLedger, c charge.Charge, open bool) {
	if c.Handlers > 0 {
		f := &l.rx[packet.ClassHandlers]
		f.release(uint64(c.Handlers))
		l.due = l.due || f.due()
	}
	if c.Bytes == 0 || c.Class < packet.StreamClasses {
		return
	}
	if c.Class == packet.ClassLargeMessages {
		if s != nil {
			if s.dropsMessages {
				return
			}
			s.large.held -= c.Bytes
			if open {
				s.large.owed += c.Bytes
				l.rx[c.Class].release(uint64(c.Bytes))
				return
			}
		}
		l.closedStreamCredit += c.Bytes
	}
	l.rx[c.Class].release(uint64(c.Bytes))
	l.due = true
}

// drop releases all large messages of stream s, which this side has closed: those that are
// arriving, those that wait to be received, and those that the Handler is about to release.
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

// close moves the credit that is owed for large messages of stream s to the connection,
// because no frame can be sent for s any more.
func (l *ledger) close(s *streamLedger) {
	if a := s.large; a != nil && a.owed > 0 {
		l.closedStreamCredit += a.owed
		a.owed = 0
		l.due = true
	}
}

// grant grants the amount of a class that a Credit frame of the connection is to grant now,
// and returns it. 0 means that no frame is to be sent.
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

// grantStream is grant for large messages and a Credit frame of stream s.
func (l *ledger) grantStream(s *streamLedger) (n uint32) {
	if s.large == nil {
		return 0
	}
	n = s.large.owed
	s.large.owed = 0
	l.rx[packet.ClassLargeMessages].give(uint64(n))
	return n
}
