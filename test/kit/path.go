package kit

import (
	"time"

	"github.com/singchia/geminio/internal/chunk"
)

// Path describes a path through a network, the same in both directions.
type Path struct {
	// Rate is the number of bytes that the path carries in a second in each direction.
	// It must be positive.
	Rate int
	// RTT is the round trip of a byte when nothing waits. Each direction takes half of it.
	RTT time.Duration
	// Queue is the number of bytes that can wait for the path in each direction, up to a
	// piece. A Write waits while the queue is full. 0: the queue has no bound, as in a proxy
	// that buffers.
	Queue int
}

// BDP returns the number of bytes that are on the path when it is in full use and nothing
// waits: the product of the rate and the round trip.
func (p Path) BDP() int { return int(int64(p.Rate) * int64(p.RTT) / int64(time.Second)) }

// piece returns the number of bytes that arrive together: those of half a millisecond, within
// bounds.
func (p Path) piece() int { return min(max(p.Rate/2000, 1400), 16<<10) }

// takes returns the time in which the path takes n bytes up.
func (p Path) takes(n int) time.Duration {
	return time.Duration(int64(n) * int64(time.Second) / int64(p.Rate))
}

// lane computes when the bytes of one direction of a path arrive. It is a plain value that
// neither locks nor waits; times are those since the beginning. The bytes pass three stages:
// they wait in the queue, they are on the path, and they have arrived.
type lane struct {
	path Path

	bytes   chunk.Queue   // all bytes that were added and not taken
	waiting []int         // the sizes of the pieces in the queue
	queued  int           // the sum of waiting
	free    time.Duration // when the path has taken up all pieces before waiting
	flying  []flight      // the pieces on the path
	arrived int           // bytes that have arrived and were not taken
}

// flight is a piece on a path.
type flight struct {
	n  int
	at time.Duration // when it arrives
}

// advance moves the pieces to the stages in which they are at the time now.
func (l *lane) advance(now time.Duration) {
	for len(l.waiting) > 0 {
		n := l.waiting[0]
		leaves := l.free + l.path.takes(n)
		if leaves > now {
			break
		}
		at := leaves + l.path.RTT/2
		if len(l.flying) > 0 { // the order stays when the path becomes shorter
			at = max(at, l.flying[len(l.flying)-1].at)
		}
		l.flying = append(l.flying, flight{n, at})
		l.waiting = l.waiting[1:]
		l.queued -= n
		l.free = leaves
	}
	for len(l.flying) > 0 && l.flying[0].at <= now {
		l.arrived += l.flying[0].n
		l.flying = l.flying[1:]
	}
}

// add adds pieces of p until the queue is full, and returns the number of bytes.
func (l *lane) add(now time.Duration, p []byte) (total int) {
	l.advance(now)
	if len(l.waiting) == 0 {
		l.free = max(l.free, now)
	}
	for len(p) > 0 {
		if l.path.Queue > 0 && l.queued >= l.path.Queue {
			break
		}
		n := min(len(p), l.path.piece())
		l.bytes.Append(p[:n])
		l.waiting = append(l.waiting, n)
		l.queued += n
		total += n
		p = p[n:]
	}
	return total
}

// take moves bytes that have arrived to p, and returns their number.
func (l *lane) take(now time.Duration, p []byte) (total int) {
	l.advance(now)
	for len(p) > 0 && l.arrived > 0 {
		n := copy(p, l.bytes.Head().Bytes()[:min(l.bytes.Head().Len(), l.arrived)])
		l.bytes.Took(n)
		l.arrived -= n
		total += n
		p = p[n:]
	}
	return total
}

// roomAt returns when the queue has room again. The queue must be full.
func (l *lane) roomAt() time.Duration { return l.free + l.path.takes(l.waiting[0]) }

// arrivalAt returns when the next piece arrives. It returns false if none is under way.
func (l *lane) arrivalAt() (time.Duration, bool) {
	switch {
	case len(l.flying) > 0:
		return l.flying[0].at, true
	case len(l.waiting) > 0:
		return l.roomAt() + l.path.RTT/2, true
	}
	return 0, false
}

// set replaces the path at the time now. Pieces on the path arrive as before.
func (l *lane) set(now time.Duration, p Path) {
	l.advance(now)
	l.path = p
}
