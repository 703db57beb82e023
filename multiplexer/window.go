package multiplexer

import (
	"time"

	"github.com/singchia/geminio/packet"
)

// windowBudget bounds the windows of all streams of a connection, together with the names
// and metas of those that the peer opened, and lets windows grow. It is a plain value that neither locks nor waits; Mux.mu guards a Mux's.
type windowBudget struct {
	limit     uint64 // of the sum of all windows, bytes
	maxWindow uint64 // of one window, bytes
	initial   uint64 // what the two windows of one stream have at first, bytes

	used        uint64 // the sum of all windows, bytes
	intros      uint64 // the names and metas of the peer's streams, bytes
	streams     int    // how many streams have windows
	widest      uint32 // the largest that any window has grown to, bytes
	shrinkAbove uint32 // the window of a stream for which there was no more, while others have larger ones; 0: none
}

// newWindowBudget returns the budget of streams that begin with the windows of w.
func newWindowBudget(limit, most uint64, w packet.Settings) windowBudget {
	return windowBudget{limit: limit, maxWindow: min(most, maxCredit), initial: uint64(w.Raw) + uint64(w.Messages)}
}

// add takes the first windows of one more stream, and what is kept of its Open, unless the
// budget is used up.
func (b *windowBudget) add(intro int) bool {
	if b.used+b.intros+b.initial+uint64(intro) > b.limit {
		return false
	}
	b.used += b.initial
	b.intros += uint64(intro)
	b.streams++
	return true
}

// remove gives back the windows of a stream, whose sizes together are n, and what was kept
// of its Open.
func (b *windowBudget) remove(n uint64, intro int) {
	b.used -= min(b.used, n)
	b.intros -= min(b.intros, uint64(intro))
	b.streams--
}

// resize lets a window follow the path, when half of it or more has been used up since the
// last time. It doubles if that took less than two round trips: then the window, not the
// path, is likely to bound the pace. Streams that share a path slow each other down, and
// those that began last would keep the smallest windows; so a stream whose reader keeps up
// may have as much as another one has. If the budget is used up by then, a stream with a
// larger window gives half of it back. Of messages, keepsUp is false.
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
	// Half of the budget is kept for the first windows of streams to come.
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
