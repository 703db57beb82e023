package multiplexer

// This file counts the credit of one class in one direction. Its types are plain values that
// neither lock nor wait.

import (
	"fmt"

	"github.com/singchia/geminio/packet"
)

// maxCredit is the largest credit of one class that a peer can give. A peer that gives more
// violates the protocol.
const maxCredit = 1<<31 - 1

// outflow is credit of one class that the peer has given to this side. The lock of its owner
// guards it.
type outflow struct {
	outTotals
	avail uint32 // may still be used
}

func newOutflow(initial uint32) (f outflow) {
	initial = min(initial, maxCredit)
	f.avail = initial
	f.countGranted(initial)
	return f
}

// add adds n, or returns an error if the sum exceeds maxCredit.
func (f *outflow) add(class packet.Class, n uint32) error {
	if uint64(f.avail)+uint64(n) > maxCredit {
		return &packet.Error{What: "credit", Reason: fmt.Sprintf("%v: %d on top of %d exceeds %d", class, n, f.avail, maxCredit)}
	}
	f.avail += n
	f.countGranted(n)
	return nil
}

// take uses n, which must not exceed avail.
func (f *outflow) take(n uint32) {
	f.avail -= n
	f.countTaken(n)
}

// takeUpTo uses n, or avail if that is less, and returns the amount used.
func (f *outflow) takeUpTo(n int) int {
	n = int(min(uint64(n), uint64(f.avail)))
	f.take(uint32(n))
	return n
}

// restore undoes take of n.
func (f *outflow) restore(n uint32) {
	f.avail += n
	f.countRestored(n)
}

// inflow is credit of one class that this side has given to the peer. The lock of its owner
// guards it. At any time
//
//	held + left <= size
type inflow struct {
	inTotals
	size uint32 // the size of the window: the most that may be left and held
	left uint32 // granted to the peer and not received yet
	held uint32 // received and not released yet
}

func newInflow(size uint32) inflow {
	size = min(size, maxCredit)
	f := inflow{size: size, left: size}
	f.countGranted(uint64(size))
	return f
}

// receive moves n from left to held. It returns an error, and changes nothing, if the peer
// had less credit.
func (f *inflow) receive(class packet.Class, n uint64) error {
	if n > uint64(f.left) {
		return &packet.Error{What: class.String(), Reason: fmt.Sprintf("%d sent with credit for %d", n, f.left)}
	}
	f.left -= uint32(n)
	f.held += uint32(n)
	f.countReceived(n)
	return nil
}

// release removes n from held.
func (f *inflow) release(n uint64) {
	f.held -= uint32(n)
	f.countReleased(n)
}

// owed returns the amount that can be granted now.
func (f *inflow) owed() uint64 { return uint64(f.size - f.held - f.left) }

// due reports whether a Credit frame is worth sending: the peer would get at least as much
// as it has left. If nothing is held, credit is due from half of the window on. If something
// is held, credit is due earlier, so that a peer with little credit left gets all of the
// free part.
func (f *inflow) due() bool { return f.owed() > 0 && f.owed() >= uint64(f.left) }

// dueFor reports whether credit is due for a dialogue's own window when n more are released.
// Raw bytes can be sent in pieces of any size, so their credit is due from a quarter of the
// window on, however much is held: a window is in use almost as a whole.
func (f *inflow) dueFor(class packet.Class, n uint64) bool {
	if class == packet.ClassRaw {
		return 4*(f.owed()+n) >= uint64(f.size)
	}
	return f.due()
}

// grant grants the amount that is owed and returns it.
func (f *inflow) grant() uint32 {
	n := f.owed()
	f.give(n)
	return uint32(n)
}

// give grants n, which must not exceed owed.
func (f *inflow) give(n uint64) {
	f.left += uint32(n)
	f.countGranted(n)
}
