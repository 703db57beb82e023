//go:build !geminiodebug

package multiplexer

import "sync"

// debugging tells whether this is the debug build, in which the invariants of the ledgers
// and queues are checked whenever a lock is released. See debug_on.go.
const debugging = false

// guard is the lock of a Mux, or of the receiving side of a Dialogue.
type checkedMutex struct{ sync.Mutex }

// onUnlock has verify called before the lock is released, in the debug build.
func (*checkedMutex) onUnlock(func() int) {}

// outTotals and inTotals count what has become of credit, ever, in the debug build.
type (
	outTotals struct{}
	inTotals  struct{}
)

func (outTotals) countGranted(uint32)  {}
func (outTotals) countTaken(uint32)    {}
func (outTotals) countRestored(uint32) {}

func (inTotals) countGranted(uint64)  {}
func (inTotals) countReceived(uint64) {}
func (inTotals) countReleased(uint64) {}

// connTotals and streamTotals count which packets have begun to be sent, and which of those
// have no answer yet, in the debug build.
type (
	connTotals   struct{}
	streamTotals struct{}
)

func (connTotals) countBegun(charge)           {}
func (streamTotals) countBegun(uint64, charge) {}
func (streamTotals) countAnswered(uint64)      {}
func (streamTotals) countResolved(uint64)      {}

func (*Mux) verify() int          { return 0 }
func (*Dialogue) verify() int     { return 0 }
func (*Dialogue) countNextSmall() {}
