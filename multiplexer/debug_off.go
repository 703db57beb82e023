//go:build !geminiodebug

package multiplexer

// This file replaces debug_on.go in builds without the tag geminiodebug. Nothing in it costs
// time or memory.

import (
	"sync"

	"github.com/singchia/geminio/internal/charge"
)

// debugging reports whether this is the debug build.
const debugging = false

// checkedMutex is the lock of a Mux, or of the receiving half of a Dialogue.
type checkedMutex struct{ sync.Mutex }

// onUnlock does nothing.
func (*checkedMutex) onUnlock(func() int) {}

// outTotals and inTotals count all credit of an outflow or an inflow in the debug build.
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

// connTotals and streamTotals count the packets that were sent in the debug build.
type (
	connTotals   struct{}
	streamTotals struct{}
)

func (connTotals) countBegun(charge.Charge)           {}
func (streamTotals) countBegun(uint64, charge.Charge) {}
func (streamTotals) countAnswered(uint64)             {}
func (streamTotals) countResolved(uint64)             {}

func (*Mux) verify() int                                  { return 0 }
func (*Dialogue) verify() int                             { return 0 }
func (*Dialogue) verifyEvent(event, lifeState, sendState) {}
func (*Dialogue) countNextSmall()                         {}
