package multiplexer

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/internal/chunk"
	"github.com/singchia/geminio/packet"
)

// recvState is the state of a receiving half. recvTable has the events that lead from one
// state to another.
type recvState uint8

const (
	// recvOpen: raw bytes may arrive, and are queued for Read.
	recvOpen recvState = iota
	// recvFin: the last raw byte has arrived. Read returns the bytes that are queued, then
	// the error.
	recvFin
	// recvDiscard: the dialogue has ended before the last raw byte arrived. Read returns the
	// bytes that are queued, then the error. Bytes that arrive are discarded.
	recvDiscard
	// recvStopped: CloseRead was called before the last raw byte arrived. Read returns the
	// error. Bytes that arrive are discarded.
	recvStopped
	// recvStoppedFin: CloseRead was called, and the last raw byte has arrived. Read returns
	// the error.
	recvStoppedFin

	recvStates
)

var recvNames = [recvStates]string{
	recvOpen:       "Open",
	recvFin:        "Fin",
	recvDiscard:    "Discard",
	recvStopped:    "Stopped",
	recvStoppedFin: "StoppedFin",
}

func (s recvState) String() string { return recvNames[s] }

// recvTable has the state that follows each state and event. An entry of 0, recvOpen, says
// that the event does not change the state.
var recvTable = [recvStates][events]recvState{
	recvOpen: {
		evPeerFin:   recvFin,
		evEnd:       recvDiscard,
		evCloseRead: recvStopped,
	},
	recvFin: {
		evCloseRead: recvStoppedFin,
	},
	recvDiscard: {
		evPeerFin:   recvFin,
		evCloseRead: recvStopped,
	},
	recvStopped: {
		evPeerFin: recvStoppedFin,
	},
}

// finished reports whether the last raw byte has arrived.
func (s recvState) finished() bool { return s == recvFin || s == recvStoppedFin }

// stopped reports whether CloseRead was called.
func (s recvState) stopped() bool { return s == recvStopped || s == recvStoppedFin }

// recvHalf is the receiving half of a dialogue: the raw bytes that have arrived, the state of
// its Reads, and the windows that this side gives. mu guards all fields, and is held during
// all methods.
type recvHalf struct {
	mu      checkedMutex
	buf     chunk.Queue                         // raw bytes that have arrived and were not read
	begun   uint64                              // raw bytes of the frames that have begun to arrive
	rx      [packet.StreamClasses]inflow        // the window of each class
	granted [packet.StreamClasses]time.Duration // when credit of each class was last granted, by the connection's clock
	err     error                               // what Read returns when buf is empty; nil in recvOpen
	readers *readers                            // nil until first use
	state   recvState
	reading bool   // a Read has its turn
	own     uint16 // charge.MaxOwn of the first window for messages; read-only after init
	// receivedSinceWrite says that a Data frame has arrived since the last Write. The peer is
	// then likely to wait for an answer.
	receivedSinceWrite bool
}

// readers is the part of a recvHalf that is needed only by Reads that wait, and by deadlines.
type readers struct {
	dst      []byte // the buffer of the Read that waits for bytes; nil if none waits
	n        int    // how many bytes of dst are filled
	lent     bool   // the reading goroutine is writing into dst
	cond     sync.Cond
	deadline *deadline // nil if none is set
}

// init sets the first windows. The argument small is the largest body of a small packet from the
// peer.
func (h *recvHalf) init(w packet.Windows, small int) {
	h.own = charge.MaxOwn(w.Messages, small)
	h.rx[packet.ClassRaw] = newInflow(w.Raw)
	h.rx[packet.ClassMessages] = newInflow(w.Messages)
}

// on enters the state that follows an event.
func (h *recvHalf) on(ev event) {
	if next := recvTable[h.state][ev]; next != recvOpen {
		h.state = next
	}
}

// fail sets the error of Read, unless there is one, and wakes all Reads.
func (h *recvHalf) fail(err error) {
	if h.err == nil {
		h.err = err
	}
	h.wake()
}

// end ends the half with its dialogue.
func (h *recvHalf) end(err error) {
	h.on(evEnd)
	h.fail(err)
}

// closeRead discards the bytes that have arrived and that will arrive. It reports whether a
// Stop is to be sent.
func (h *recvHalf) closeRead() (tell bool) {
	tell = h.state == recvOpen
	h.on(evCloseRead)
	h.buf.Forget() // a Read may be copying from it
	h.fail(io.EOF)
	return tell
}

// begin counts a Data frame that begins to arrive, with n bytes. It returns an error if the
// peer has no credit for the frame, or has sent its last raw byte before. After its last
// raw byte, the peer may only send a frame without bytes that closes the dialogue.
func (h *recvHalf) begin(stream uint64, n uint32, closes bool) error {
	if h.state.finished() && (n > 0 || !closes) {
		return &packet.Error{What: "data", Reason: fmt.Sprintf("%d bytes behind the end of stream %d", n, stream)}
	}
	h.receivedSinceWrite = true
	h.begun += uint64(n)
	return h.rx[packet.ClassRaw].receive(packet.ClassRaw, uint64(n))
}

// fin handles the fin flag: the last raw byte has arrived.
func (h *recvHalf) fin() {
	h.on(evPeerFin)
	h.fail(io.EOF)
}

// windowSizes returns the sum of the windows, bytes.
func (h *recvHalf) windowSizes() uint64 {
	return uint64(h.rx[packet.ClassRaw].size) + uint64(h.rx[packet.ClassMessages].size)
}

// makeReaders returns h.readers, made on first use.
func (h *recvHalf) makeReaders() *readers {
	if h.readers == nil {
		h.readers = &readers{cond: sync.Cond{L: &h.mu}}
	}
	return h.readers
}

// waiting reports whether a Read waits for bytes.
func (h *recvHalf) waiting() bool { return h.readers != nil && h.readers.dst != nil }

// deadlineErr returns os.ErrDeadlineExceeded if the deadline has passed.
func (h *recvHalf) deadlineErr() error {
	if h.readers == nil {
		return nil
	}
	return h.readers.deadline.err()
}

// readable returns os.ErrDeadlineExceeded if the deadline has passed and h.err is not set. If
// it is set, Reads do not wait, and the deadline does not concern them.
func (h *recvHalf) readable() error {
	if h.err != nil {
		return nil
	}
	return h.deadlineErr()
}

// wait waits until the state has changed for the Reads.
func (h *recvHalf) wait() { h.makeReaders().cond.Wait() }

// wake wakes all Reads.
func (h *recvHalf) wake() {
	if h.readers != nil {
		h.readers.cond.Broadcast()
	}
}

// endAwait ends the await of the Read that waits for bytes.
func (h *recvHalf) endAwait() {
	h.readers.dst = nil
	h.wake()
}
