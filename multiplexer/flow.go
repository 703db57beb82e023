package multiplexer

import (
	"fmt"

	"github.com/singchia/geminio/packet"
)

// maxCredit bounds what a peer can give; more is an error of its arithmetic.
const maxCredit = 1<<31 - 1

// outflow is credit that the peer gave. Its lock is its owner's.
type outflow struct {
	outTotals
	avail uint32
}

func newOutflow(first uint32) (f outflow) {
	first = min(first, maxCredit)
	f.avail = first
	f.countGranted(first)
	return f
}

func (f *outflow) add(class packet.Class, n uint32) error {
	if uint64(f.avail)+uint64(n) > maxCredit {
		return &packet.Error{What: "credit", Reason: fmt.Sprintf("%v: %d on top of %d exceeds %d", class, n, f.avail, maxCredit)}
	}
	f.avail += n
	f.countGranted(n)
	return nil
}

// take takes n, which is not more than there is.
func (f *outflow) take(n uint32) {
	f.avail -= n
	f.countTaken(n)
}

// takeUpTo takes up to n, and returns how much.
func (f *outflow) takeUpTo(n int) int {
	n = int(min(uint64(n), uint64(f.avail)))
	f.take(uint32(n))
	return n
}

// restore gives back n that was taken and not used.
func (f *outflow) restore(n uint32) {
	f.avail += n
	f.countRestored(n)
}

// inflow is credit given to the peer: at any time it may send as much as was
// granted and not yet received. Its lock is its owner's.
//
//	held + left <= size
type inflow struct {
	inTotals
	size uint32 // what the peer may have outstanding
	left uint32 // what it was granted and has not sent yet
	held uint32 // what it has sent and is not yet released here
}

func newInflow(size uint32) inflow {
	size = min(size, maxCredit)
	f := inflow{size: size, left: size}
	f.countGranted(uint64(size))
	return f
}

// receive counts n that arrived, or reports that the peer had no credit for it.
func (f *inflow) receive(class packet.Class, n uint64) error {
	if n > uint64(f.left) {
		return &packet.Error{What: class.String(), Reason: fmt.Sprintf("%d sent with credit for %d", n, f.left)}
	}
	f.left -= uint32(n)
	f.held += uint32(n)
	f.countReceived(n)
	return nil
}

// release counts n that are no longer held.
func (f *inflow) release(n uint64) {
	f.held -= uint32(n)
	f.countReleased(n)
}

// owed is what could be granted now.
func (f *inflow) owed() uint64 { return uint64(f.size - f.held - f.left) }

// due tells whether it is time to grant: when the peer has no more left than it
// would get. That is half of the window where all is released at once, and
// sooner where something is held, so that what is free is never withheld from a
// peer that is short of it.
func (f *inflow) due() bool { return f.owed() > 0 && f.owed() >= uint64(f.left) }

// dueFor is due for a dialogue's own window, if n more are released. Raw bytes
// have no smallest piece, so half a window is always worth waiting for.
func (f *inflow) dueFor(class packet.Class, n uint64) bool {
	if class == packet.ClassRaw {
		return 2*(f.owed()+n) >= uint64(f.size)
	}
	return f.due()
}

// grant grants what is owed and returns it.
func (f *inflow) grant() uint32 {
	n := f.owed()
	f.give(n)
	return uint32(n)
}

// give grants n, which is not more than what is owed.
func (f *inflow) give(n uint64) {
	f.left += uint32(n)
	f.countGranted(n)
}
