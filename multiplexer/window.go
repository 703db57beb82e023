package multiplexer

import (
	"time"

	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
)

// windowBudget bounds the sum of the windows of all streams of a connection, together with
// the names and metas of the streams that the peer opened, and decides how large windows are.
// It is a plain value that neither locks nor waits; Mux.mu guards the budget of a Mux.
// The names and metas count because the peer chooses their size.
//
// Each window has a least size, for which there is room. What windows have beyond it comes from
// a part of the budget, the spare part. The first streams have windows of at least leastWindow.
// Further ones, from wide on, have at least crowdedRaw for raw bytes and nothing for messages;
// the credit for large messages pays theirs.
//
// The memory of the streams themselves is not part of the sum, but the budget bounds it too:
// there are at most as many streams as would fill the budget with streamBytes each.
type windowBudget struct {
	limit     uint64                       // the largest sum of all windows, names and metas, bytes
	spare     uint64                       // the largest sum of what windows have beyond their least sizes, bytes
	maxWindow uint64                       // the size to which a window may grow, bytes
	first     [packet.StreamClasses]uint32 // the first sizes of the windows of a stream, bytes
	floor     [packet.StreamClasses]uint32 // the sizes below which windows do not shrink, bytes

	used        uint64 // the sum of all windows, bytes
	intros      uint64 // the sum of the names and metas of the peer's streams, bytes
	streams     int    // streams that have windows
	shrinkAbove uint32 // the next raw window above this size gives a part of it back, bytes; 0: no window does
}

const (
	leastWindow = 1 << 10  // the least size of each window of the first streams, bytes
	crowdedRaw  = 128      // the least size of the window for raw bytes of further streams, bytes
	wideShare   = 16 << 10 // the bytes of the budget for each stream that counts as one of the first
)

// LeastWindows returns the sum of the least windows of a number of streams, in bytes. A
// connection has them within a budget for windows of limit bytes.
func LeastWindows(limit, streams uint64) uint64 {
	wide := min(streams, limit/wideShare)
	return wide*2*leastWindow + (streams-wide)*crowdedRaw
}

// newWindowBudget returns the budget for streams whose first windows are those of w.
func newWindowBudget(lim Limits, w packet.Settings) windowBudget {
	return windowBudget{
		limit: lim.Windows, spare: min(lim.Spare, lim.Windows), maxWindow: min(lim.MaxWindow, maxCredit),
		first: [packet.StreamClasses]uint32{packet.ClassRaw: w.Raw, packet.ClassMessages: w.Messages},
		floor: [packet.StreamClasses]uint32{packet.ClassRaw: min(leastWindow, w.Raw), packet.ClassMessages: charge.FullWindow(charge.MaxSmall(w))},
	}
}

// least returns the least windows of the next stream.
func (b *windowBudget) least() packet.Windows {
	if uint64(b.streams) < b.limit/wideShare {
		return packet.Windows{Raw: min(leastWindow, b.first[packet.ClassRaw]), Messages: min(leastWindow, b.first[packet.ClassMessages])}
	}
	return packet.Windows{Raw: min(crowdedRaw, b.first[packet.ClassRaw])}
}

// spareRoom returns how many bytes windows may grow in sum.
func (b *windowBudget) spareRoom() uint64 {
	grown := b.used - min(b.used, LeastWindows(b.limit, uint64(b.streams)))
	return min(b.spare-min(b.spare, grown), b.limit-min(b.limit, b.used+b.intros))
}

// add takes the first windows of a new stream and intro bytes for its name and meta, and returns
// the windows. They have their first sizes while more than half of the spare part is free, half
// of these while more than a quarter is free, and so on, down to their least sizes. add returns
// false, and takes nothing, if the budget has no room for them.
func (b *windowBudget) add(intro int) (w packet.Windows, ok bool) {
	least, room := b.least(), b.spareRoom()
	leastSum := uint64(least.Raw) + uint64(least.Messages)
	if b.used+b.intros+leastSum+uint64(intro) > b.limit || uint64(b.streams) >= b.limit/streamBytes {
		return w, false
	}
	halvings := 0
	for halvings < 31 && room <= b.spare>>(halvings+1) {
		halvings++
	}
	w.Raw = max(b.first[packet.ClassRaw]>>halvings, least.Raw)
	w.Messages = max(b.first[packet.ClassMessages]>>halvings, least.Messages)
	if w.Messages < leastWindow && w.Messages < b.first[packet.ClassMessages] {
		w.Messages = 0 // it would pay the smallest messages only
	}
	sum := uint64(w.Raw) + uint64(w.Messages)
	if b.used+b.intros+sum+uint64(intro) > b.limit || sum > leastSum+room {
		w, sum = least, leastSum
	}
	b.used += sum
	b.intros += uint64(intro)
	b.streams++
	return w, true
}

// remove gives back the windows of a stream, n bytes in sum.
func (b *windowBudget) remove(n uint64) {
	b.used -= min(b.used, n)
	b.streams--
}

// removeIntro gives back n bytes for the name and the meta of a stream.
func (b *windowBudget) removeIntro(n int) { b.intros -= min(b.intros, uint64(n)) }

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
	size, floor := uint64(f.size), uint64(b.floor[class])
	need := uint64(maxCredit)
	if since > 0 {
		need = uint64(2 * float64(f.owed()) * float64(p.latest) / float64(since))
	}
	switch {
	case class == packet.ClassRaw && b.shrinkAbove != 0 && f.size > b.shrinkAbove:
		b.shrink(f, max(uint64(b.shrinkAbove), floor))
		b.shrinkAbove = 0
	case size > target*3/2:
		b.shrink(f, max(target, floor))
	case size > 2*need:
		b.shrink(f, max(need, uint64(b.first[class])))
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

// grow makes the window f larger by up to n.
func (b *windowBudget) grow(f *inflow, n uint64) {
	room := b.spareRoom()
	short := room < n
	n = min(n, room)
	f.size += uint32(n)
	b.used += n
	if short {
		b.shrinkAbove = f.size
	}
}
