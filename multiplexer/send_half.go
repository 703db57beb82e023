package multiplexer

import (
	"net"
	"sync"
	"time"

	"github.com/singchia/geminio/internal/chunk"
)

// sendState is the state of a sending half. sendTable has the events that lead from one state
// to another.
type sendState uint8

const (
	// sendReady: the dialogue is not open yet. Write fails.
	sendReady sendState = iota
	// sendOpen: Write may add raw bytes.
	sendOpen
	// sendEnding: Write fails. Raw bytes that wait are still to be sent, and behind them a
	// flag that says that they were the last.
	sendEnding
	// sendCut: as sendEnding, but a Write that was under way has failed. A Reset is to be
	// sent in place of the flag, so that the reader does not take the raw bytes for
	// complete. The default dialogue cannot be reset, so the Close frame of the connection
	// has the reason.
	sendCut
	// sendEnded: Write fails. The peer knows that no raw bytes follow, discards raw
	// bytes, or can no longer be reached.
	sendEnded

	sendStates
)

var sendNames = [sendStates]string{
	sendReady:  "Ready",
	sendOpen:   "Open",
	sendEnding: "Ending",
	sendCut:    "Cut",
	sendEnded:  "Ended",
}

func (s sendState) String() string { return sendNames[s] }

// sendTable has the state that follows each state and event. An entry of 0, sendReady, says
// that the event does not change the state.
var sendTable = [sendStates][events]sendState{
	sendReady: {
		evAccept:     sendOpen,
		evPeerAccept: sendOpen,
		evRefuse:     sendEnded,
		evPeerRefuse: sendEnded,
		evGiveUp:     sendEnded,
		evPeerReset:  sendEnded,
		evConnClose:  sendEnded,
		evConnEnd:    sendEnded,
	},
	sendOpen: {
		evCloseWrite: sendEnding,
		evClose:      sendEnding,
		evConnClose:  sendEnding,
		evReset:      sendEnded,
		evPeerStop:   sendEnded,
		evPeerClose:  sendEnded,
		evPeerReset:  sendEnded,
		evConnEnd:    sendEnded,
	},
	sendEnding: {
		evWriteCut:  sendCut,
		evFinSent:   sendEnded,
		evCloseSent: sendEnded,
		evReset:     sendEnded,
		evPeerStop:  sendEnded,
		evPeerClose: sendEnded,
		evPeerReset: sendEnded,
		evConnEnd:   sendEnded,
	},
	sendCut: {
		evResetSent: sendEnded,
		evReset:     sendEnded,
		evPeerReset: sendEnded,
	},
}

// sendHalf is the sending half of a dialogue: its raw bytes that wait to be sent, and the
// state of its Writes. Mux.mu guards it. Dialogue.credit has the credit for raw bytes.
type sendHalf struct {
	buf         chunk.Queue // raw bytes that Write has copied
	sent        uint64      // raw bytes that batches contain
	err         error       // what Write returns; nil in sendReady and sendOpen
	writers     *writers    // nil until first use
	state       sendState
	writing     bool // a Write has its turn
	delaysClose bool // the half counts in Mux.delayingClose
}

// writers is the part of a sendHalf that is needed only by Writes that wait or lend their
// memory, and by deadlines.
type writers struct {
	lent     []byte        // raw bytes behind those in sendHalf.buf, in the memory of a Write's caller
	loans    int           // pieces of the memory of Write's callers that are in batches
	waiting  int           // Writes that wait for their turn
	blocked  time.Duration // when the Write that has its turn began to wait for credit, by the connection's clock; 0 if it does not
	cond     sync.Cond
	deadline *deadline // nil if none is set
}

// on enters the state that follows an event.
func (h *sendHalf) on(ev event) {
	if next := sendTable[h.state][ev]; next != sendReady {
		h.state = next
	}
}

// fail sets the error of Write, unless there is one, and wakes all Writes.
func (h *sendHalf) fail(err error) {
	if h.err == nil {
		h.err = err
	}
	h.wake()
}

// underWay reports whether a Write has its turn or waits for it.
func (h *sendHalf) underWay() bool {
	return h.writing || h.writers != nil && h.writers.waiting > 0
}

// writable returns an error if Write cannot add raw bytes.
func (h *sendHalf) writable() error {
	switch {
	case h.err != nil:
		return h.err
	case h.state == sendReady:
		return net.ErrClosed
	}
	return h.deadlineErr()
}

// deadlineErr returns os.ErrDeadlineExceeded if the deadline has passed.
func (h *sendHalf) deadlineErr() error {
	if h.writers == nil {
		return nil
	}
	return h.writers.deadline.err()
}

// lent returns the raw bytes that are lent and not yet in a batch.
func (h *sendHalf) lent() []byte {
	if h.writers == nil {
		return nil
	}
	return h.writers.lent
}

// makeWriters returns h.writers, made on first use. The lock is the one that guards h.
func (h *sendHalf) makeWriters(lock sync.Locker) *writers {
	if h.writers == nil {
		h.writers = &writers{cond: sync.Cond{L: lock}}
	}
	return h.writers
}

// wake wakes all Writes.
func (h *sendHalf) wake() {
	if h.writers != nil {
		h.writers.cond.Broadcast()
	}
}
