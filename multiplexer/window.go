package multiplexer

import (
	"time"

	"github.com/singchia/geminio/packet"
)

// windowBudget bounds the sum of the windows of all streams of a connection, together with
// the names and metas of the streams that the peer opened, and decides when a window grows.
// It is a plain value that neither locks nor waits; Mux.mu guards the budget of a Mux.
// The names and metas count because the peer chooses their size.
type windowBudget struct {
	limit     uint64 // the largest sum of all windows, names and metas, bytes
	maxWindow uint64 // the size to which a window may grow, bytes
	initial   uint64 // the sum of the two windows of a new stream, bytes
	first     [packet.StreamClasses]uint32

	used        uint64 // the sum of all windows, bytes
	intros      uint64 // the sum of the names and metas of the peer's streams, bytes
	streams     int    // streams that have windows
	shrinkAbove uint32 // the next raw window above this size gives a part of it back, bytes; 0: no window does
}

// newWindowBudget returns the budget for streams whose first windows are those of w.
func newWindowBudget(limit, maxWindow uint64, w packet.Settings) windowBudget {
	return windowBudget{
		limit: limit, maxWindow: min(maxWindow, maxCredit), initial: uint64(w.Raw) + uint64(w.Messages),
		first: [packet.StreamClasses]uint32{packet.ClassRaw: w.Raw, packet.ClassMessages: w.Messages},
	}
}

// add takes the first windows of a new stream and intro bytes for its name and meta. It
// returns false, and takes nothing, if the budget has no room for them.
func (b *windowBudget) add(intro int) bool {
	if b.used+b.intros+b.initial+uint64(intro) > b.limit {
		return false
	}
	b.used += b.initial
	b.intros += uint64(intro)
	b.streams++
	return true
}

// remove gives back the windows of a stream, n bytes in sum, and intro bytes for its name and
// meta.
func (b *windowBudget) remove(n uint64, intro int) {
	b.used -= min(b.used, n)
	b.intros -= min(b.intros, uint64(intro))
	b.streams--
}

// resize adapts the window f of class when credit for it is due. since is the time since credit
// for f was last due.
//
// The window follows two sizes: the one that p needs, which is the same for all windows, and
// twice the credit that was used in a round trip. It grows towards the first if it is below
// both. If it is much larger than one of them, it shrinks, by not granting a part of the credit
// that was used; credit that was granted stays.
//
// If the budget has no room to grow, shrinkAbove is set: the next raw window that is larger,
// and for which credit becomes due, gives a part back.
func (b *windowBudget) resize(f *inflow, class packet.Class, since time.Duration, p *path) {
	target := min(p.window(), b.maxWindow)
	if target == 0 {
		return
	}
	size, first := uint64(f.size), uint64(b.first[class])
	need := uint64(maxCredit)
	if since > 0 {
		need = uint64(2 * float64(f.owed()) * float64(p.latest) / float64(since))
	}
	switch {
	case class == packet.ClassRaw && b.shrinkAbove != 0 && f.size > b.shrinkAbove:
		b.shrink(f, max(uint64(b.shrinkAbove), first))
		b.shrinkAbove = 0
	case size > target*3/2:
		b.shrink(f, max(target, first))
	case size > 2*need:
		b.shrink(f, max(need, first))
	case size < target && size <= need:
		b.grow(f, min(target, 2*size)-size)
	}
}

// shrink makes the window f smaller, down to a size, by at most half of the credit that is owed.
func (b *windowBudget) shrink(f *inflow, to uint64) {
	if size := uint64(f.size); size > to {
		n := min(size-to, f.owed()/2)
		f.size -= uint32(n)
		b.used -= n
	}
}

// grow makes the window f larger by up to n. All growth together may use half of the budget;
// the rest is for new streams.
func (b *windowBudget) grow(f *inflow, n uint64) {
	grown := b.used - uint64(b.streams)*b.initial
	room := min(b.limit-min(b.used+b.intros, b.limit), b.limit/2-min(grown, b.limit/2))
	short := room < n
	n = min(n, room)
	f.size += uint32(n)
	b.used += n
	if short {
		b.shrinkAbove = f.size
	}
}
