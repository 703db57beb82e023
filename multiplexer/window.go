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

	used        uint64 // the sum of all windows, bytes
	intros      uint64 // the sum of the names and metas of the peer's streams, bytes
	streams     int    // streams that have windows
	widest      uint32 // the largest size that any window has had, bytes
	shrinkAbove uint32 // the next raw window above this size gives half of its size back, bytes; 0: no window does
}

// newWindowBudget returns the budget for streams whose first windows are those of w.
func newWindowBudget(limit, maxWindow uint64, w packet.Settings) windowBudget {
	return windowBudget{limit: limit, maxWindow: min(maxWindow, maxCredit), initial: uint64(w.Raw) + uint64(w.Messages)}
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

// resize adapts the window f when credit for it is due. since is the time since credit for f was
// last due.
//
// The window doubles if the credit was used up in less than two round trips, because then
// the window, and not the path, is likely to limit the rate. Streams that share a path
// lengthen each other's round trips, so the streams that began last would keep the smallest
// windows. Therefore the window of a stream whose reader keeps up also doubles while it is
// smaller than the widest one.
//
// If the budget has no room for such a window, shrinkAbove is set: the next raw window that is
// larger, and for which credit becomes due, gives half of its size back. keepsUp says that the
// reader keeps up; it is false for messages.
func (b *windowBudget) resize(f *inflow, class packet.Class, since, rtt time.Duration, keepsUp bool) {
	size := uint64(f.size)
	if class == packet.ClassRaw && b.shrinkAbove != 0 && f.size > b.shrinkAbove && f.size/2 >= f.held+f.left {
		b.shrinkAbove = 0
		f.size /= 2
		b.used -= size / 2
		return
	}
	narrow := keepsUp && f.size < b.widest
	if since >= 2*rtt && !narrow || 2*size > b.maxWindow {
		return
	}
	// All growth together may use half of the budget; the rest is for new streams.
	grown := b.used - uint64(b.streams)*b.initial
	if b.used+b.intros+size > b.limit || grown+size > b.limit/2 {
		if narrow {
			b.shrinkAbove = f.size
		}
		return
	}
	b.used += size
	f.size *= 2
	b.widest = max(b.widest, f.size)
}
