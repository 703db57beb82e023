package multiplexer

// event is something that happens to a dialogue and may change the state of its life, of
// its sending half or of its receiving half. The table of each of the three (lifeTable,
// sendTable, recvTable) has an entry for every event that changes a state; an event
// without an entry leaves the state as it is. docs/multiplexing.md shows the tables as
// diagrams, which TestStateDiagrams generates.
type event uint8

const (
	// evCloseRead: the user has called CloseRead.
	evCloseRead event = iota
	// evPeerFin: a Data frame with FlagFin has come, the last one with raw bytes.
	evPeerFin
	// evEnd: the dialogue has ended, for any reason.
	evEnd

	events
)

var eventNames = [events]string{
	evCloseRead: "CloseRead",
	evPeerFin:   "the peer's fin flag",
	evEnd:       "the dialogue ends",
}

func (e event) String() string { return eventNames[e] }
