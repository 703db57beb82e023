package wire1

import (
	"time"

	"github.com/singchia/geminio/internal/chunk"
	"github.com/singchia/geminio/packet"
)

// streamState is the state of a stream. It never returns to an earlier one.
type streamState uint8

const (
	// streamOffered: the peer has opened the session, and the Conn has not answered.
	// Accept and Refuse of the Conn leave it.
	streamOffered streamState = iota
	// streamAsked: the Conn has opened the stream, and the peer has not answered. The
	// SessionAck of the peer and a Reset of the Conn leave it.
	streamAsked
	// streamUnwanted: the Conn has reset the stream before the peer has answered. The
	// SessionAck of the peer leaves it.
	streamUnwanted
	// streamOpen: both sides may send. A close flag or Reset of the Conn and a Dismiss
	// of the peer leave it.
	streamOpen
	// streamEnding: the peer has dismissed the session. Held bytes and packets go to the
	// Conn, then a close flag. That close flag, or a close flag or Reset of the Conn,
	// leaves it.
	streamEnding
	// streamEnded: the close flag was sent to the Conn. The answer of the Conn leaves it.
	streamEnded
	// streamClosed: the stream has ended towards the Conn.
	streamClosed
)

// stream is a stream of the Conn and a session of the peer.
type stream struct {
	number  uint64 // the id of the stream
	session uint64 // the id of the session; 0 until it is known
	offered Packet // the Session packet of the peer; only in streamOffered
	byPeer  bool   // the peer has opened the stream
	state   streamState
	own     uint16                      // charge.MaxOwn of the Conn's first window for messages
	credit  balance                     // credit of the stream's classes that the Conn has given
	given   [packet.StreamClasses]grant // credit that the Conn has been given

	// Bytes and packets of the peer that wait for credit.
	raw       chunk.Queue
	messages  []*held
	requests  []*held // requests and registrations
	responses []*held
	waiting   bool // the stream is in Translator.waiting

	stopped         bool      // the Conn has sent Stop: raw bytes of the peer are discarded
	fin             bool      // the Conn has sent the fin flag
	usesPackets     bool      // a packet has been sent in either direction
	dismissDeadline time.Time // in streamEnding: the time at which the wait for the DismissAck ends
	dismissAcked    bool      // in streamEnding: the DismissAck has arrived, or is not awaited

	// Packets for a peer that is not ready for them; see EarlyPause.
	delayed  []delayedPacket
	delaying bool      // packets are added to delayed
	until    time.Time // the time at which delaying ends; zero until the SessionAck was sent

	// Operations that wait for their answers.
	calls   map[uint64]callKey // of the Conn, by number
	served  map[uint64]served  // of the peer, by number
	cancels map[uint64]uint64  // the numbers of the peer's requests, by packet id
}

// delayedPacket is an encoded packet in stream.delayed.
type delayedPacket struct {
	packet []byte
	m      mark
}

// callKey identifies an answer of the peer.
type callKey struct {
	typ Type // TypeResponse or TypeRegisterAck
	id  uint64
}

// call is a request or registration of the Conn that waits for its answer.
type call struct {
	s      *stream
	number uint64
}

// served is a request or registration of the peer that waits for its answer.
type served struct {
	id     uint64 // the id of its packet
	method []byte // the method of a request
	held   *held  // nil if it was passed to the Conn
}

// held is a packet of the peer that waits for credit of the Conn.
type held struct {
	typ      packet.Type
	number   uint64
	p        Packet
	size     int  // of the body in wire 2, bytes
	canceled bool // the caller no longer waits for the answer
}

// heldOverhead is the cost of a held packet in addition to its body, in bytes of the budget.
const heldOverhead = 512

// budgetSize returns the cost of the packet in bytes of the budget.
func (h *held) budgetSize() uint64 { return uint64(h.size) + heldOverhead }

// holds reports whether bytes or packets of s wait for credit.
func (s *stream) holds() bool {
	return s.raw.Len() > 0 || len(s.messages)+len(s.requests)+len(s.responses) > 0
}
