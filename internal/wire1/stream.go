package wire1

import (
	"time"

	"github.com/singchia/geminio/internal/chunk"
	"github.com/singchia/geminio/packet"
)

// streamState is where a stream is in its life. It only ever grows.
type streamState uint8

const (
	// streamOffered: the peer wants to open it, and the Conn decides. Left by the
	// Conn's Accept or Refuse.
	streamOffered streamState = iota
	// streamAsked: the Conn wants to open it, and the peer decides. Left by the
	// peer's SessionAck, or by the Conn's Reset.
	streamAsked
	// streamUnwanted: the Conn has given up while the peer decides. Left by the
	// peer's SessionAck.
	streamUnwanted
	// streamOpen: both sides may send. Left by the Conn's close or Reset, or by the
	// peer's Dismiss.
	streamOpen
	// streamEnding: the peer has dismissed it. What it has sent goes to the Conn, and
	// then a close. Left when that was sent, or by the Conn's close or Reset.
	streamEnding
	// streamEnded: the Conn was sent a close. Left by its answer.
	streamEnded
	// streamClosed: nothing is sent to the Conn any more, and nothing comes from it.
	streamClosed
)

// stream is a stream of the Conn and a session of the peer.
type stream struct {
	number  uint64 // of the stream
	session uint64 // the id of the session, once it is known
	offered Packet // the peer's Session packet, in streamOffered
	byPeer  bool   // the peer has opened it
	state   streamState
	credit  balance                     // what may be sent to the Conn, of the stream's classes
	given   [packet.StreamClasses]grant // what the Conn may send

	// What has come from the peer and waits for credit.
	raw       chunk.Queue
	messages  []*held
	requests  []*held // and registrations
	responses []*held
	waits     bool // it is in Translator.waiting

	deaf    bool      // the Conn reads no further raw bytes
	fin     bool      // the Conn writes no raw bytes any more
	packets bool      // packets have gone either way
	endAt   time.Time // streamEnding: when the peer's DismissAck is not waited for any more
	acked   bool      // streamEnding: the DismissAck has come

	// Packets for a peer that is not ready for them.
	early   []early
	holding bool      // they are held back,
	until   time.Time // until then at the latest; zero as long as SessionAck was not sent

	// What waits for an answer.
	calls   map[uint64]callKey // of the Conn, by number
	served  map[uint64]served  // of the peer, by number
	cancels map[uint64]uint64  // numbers of the peer's requests, by packet id
}

// early is a packet that is held back.
type early struct {
	packet []byte
	m      mark
}

// callKey tells the answers of the peer apart.
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
	id     uint64
	method []byte
	held   *held // not yet given to the Conn
}

// held is a packet of the peer, to be given to the Conn when there is credit.
type held struct {
	typ  packet.Type
	call uint64
	p    Packet
	size int  // of the body
	gone bool // its sender no longer waits for the answer
}

// heldOverhead is what a held packet counts beside its body.
const heldOverhead = 512

// weight is what the packet counts against the budget.
func (h *held) weight() uint64 { return uint64(h.size) + heldOverhead }

// holds reports whether anything waits for credit.
func (s *stream) holds() bool {
	return s.raw.Len() > 0 || len(s.messages)+len(s.requests)+len(s.responses) > 0
}
