package multiplexer

// event is something that happens to a dialogue and may change the state of its life, of
// its sending half or of its receiving half. The table of each of the three (lifeTable,
// sendTable, recvTable) has an entry for every event that changes a state; an event
// without an entry leaves the state as it is. If lifeTable has entries for an event, but
// none for the present state of the life, the event changes none of the three states.
// docs/multiplexing.md shows the tables as diagrams, which TestStateDiagrams generates.
//
//go:generate go test . -run ^TestStateDiagrams$ -update
type event uint8

const (
	// evOpen: the user opens the dialogue.
	evOpen event = iota
	// evPeerAccept: the peer has answered this side's Open with Accept.
	evPeerAccept
	// evPeerRefuse: the peer has answered this side's Open with Refuse.
	evPeerRefuse
	// evGiveUp: the user has stopped waiting for the answer to Open.
	evGiveUp
	// evAccept: the Handler answers the peer's Open with Accept.
	evAccept
	// evRefuse: the Handler answers the peer's Open with Refuse.
	evRefuse

	// evCloseWrite: the user has called CloseWrite.
	evCloseWrite
	// evWriteCut: a Write has returned although not all of its bytes were added.
	evWriteCut
	// evCloseRead: the user has called CloseRead.
	evCloseRead
	// evClose: the user has called Close, or CloseWrite has cut a Write off.
	evClose
	// evReset: the user has called Reset.
	evReset

	// evPeerFin: a Data frame with FlagFin has come, the last one with raw bytes.
	evPeerFin
	// evPeerStop: a Stop has come.
	evPeerStop
	// evPeerClose: a Data frame with FlagClose has come.
	evPeerClose
	// evPeerReset: a Reset has come.
	evPeerReset

	// evFinSent: a frame with FlagFin and without FlagClose is in a batch.
	evFinSent
	// evCloseSent: FlagClose is in a batch.
	evCloseSent
	// evResetSent: the Reset that says that a Write was cut off is in a batch.
	evResetSent

	// evHeartbeat: a heartbeat interval has passed.
	evHeartbeat
	// evConnClose: this side has closed the connection. Queued bytes and packets are still
	// sent.
	evConnClose
	// evConnEnd: the connection has ended in another way. Nothing more is sent.
	evConnEnd
	// evEnd: the dialogue has ended, for any of the reasons above.
	evEnd

	events
)

var eventNames = [events]string{
	evOpen:       "Open",
	evPeerAccept: "the peer accepts",
	evPeerRefuse: "the peer refuses",
	evGiveUp:     "Open gives up",
	evAccept:     "Accept",
	evRefuse:     "Refuse",
	evCloseWrite: "CloseWrite",
	evWriteCut:   "a Write is cut off",
	evCloseRead:  "CloseRead",
	evClose:      "Close",
	evReset:      "Reset",
	evPeerFin:    "the peer's fin flag",
	evPeerStop:   "the peer's stop",
	evPeerClose:  "the peer's close flag",
	evPeerReset:  "the peer's reset",
	evFinSent:    "fin flag sent",
	evCloseSent:  "close flag sent",
	evResetSent:  "reset sent",
	evHeartbeat:  "a heartbeat",
	evConnClose:  "this side closes the connection",
	evConnEnd:    "the connection ends otherwise",
	evEnd:        "the dialogue ends",
}

func (e event) String() string { return eventNames[e] }
