package multiplexer

import (
	"fmt"

	"github.com/singchia/geminio/packet"
)

// outflow is credit that the peer gave. Its lock is its owner's.
type outflow struct {
	avail uint64
}

// maxCredit bounds what a peer can give; more is an error of its arithmetic.
const maxCredit = 1<<31 - 1

func (f *outflow) add(class packet.Class, n uint32) error {
	if f.avail+uint64(n) > maxCredit {
		return &packet.Error{What: "credit", Reason: fmt.Sprintf("%v: %d on top of %d exceeds %d", class, n, f.avail, maxCredit)}
	}
	f.avail += uint64(n)
	return nil
}

// take takes up to n.
func (f *outflow) take(n int) int {
	n = int(min(uint64(n), f.avail))
	f.avail -= uint64(n)
	return n
}

// inflow is credit given to the peer: at any time it may send as much as was
// granted and not yet received. Its lock is its owner's.
//
//	received <= granted <= released + size
type inflow struct {
	size     uint64 // what the peer may have outstanding
	granted  uint64 // what it was allowed to send so far
	received uint64 // what it has sent so far
	released uint64 // what of that is no longer held here
}

func newInflow(size uint64) inflow { return inflow{size: size, granted: size} }

// receive counts n that arrived, or reports that the peer had no credit for it.
func (f *inflow) receive(class packet.Class, n uint64) error {
	if f.received+n > f.granted {
		return &packet.Error{What: class.String(), Reason: fmt.Sprintf("%d sent with credit for %d", n, f.granted-f.received)}
	}
	f.received += n
	return nil
}

// release counts n that are no longer held.
func (f *inflow) release(n uint64) { f.released += n }

// held is what has arrived and was not released.
func (f *inflow) held() uint64 { return f.received - f.released }

// left is what the peer may still send.
func (f *inflow) left() uint64 { return f.granted - f.received }

// owed is what could be granted now.
func (f *inflow) owed() uint64 { return f.released + f.size - f.granted }

// due tells whether it is time to grant: when the peer has no more left than it
// would get. That is half of the window where all is released at once, and
// sooner where something is held, so that what is free is never withheld from a
// peer that is short of it.
func (f *inflow) due() bool { return f.owed() > 0 && f.owed() >= f.left() }

// dueFor is due for a dialogue's own window, if n more are released. Raw bytes
// have no smallest piece, so half a window is always worth waiting for.
func (f *inflow) dueFor(class packet.Class, n uint64) bool {
	if class == packet.ClassRaw {
		return 2*(f.owed()+n) >= f.size
	}
	return f.due()
}

// grant grants what is owed and returns it.
func (f *inflow) grant() uint32 {
	n := min(f.owed(), maxCredit)
	f.granted += n
	return uint32(n)
}
