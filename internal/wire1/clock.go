package wire1

import "time"

// skew estimates how far the clock of the peer is ahead of the clock of this side. Packets of
// wire 1 have deadlines by the clock of their sender, and do not contain the time of that
// clock. But the upper half of a packet id is a time in seconds: the time at which the peer
// began to count or, in some releases, at which it made the packet. When the packet arrives,
// the clock of the peer shows at least that time. So every packet gives a lower bound, and
// skew keeps the largest one. It is close to the truth if the peer began to count when it
// connected, and too small otherwise.
type skew struct {
	known bool          // a packet has arrived
	ahead time.Duration // the lower bound; negative if the clock of the peer may be behind
}

// learn processes the id of a packet that has arrived now.
func (s *skew) learn(id uint64, now time.Time) {
	ahead := time.Unix(int64(id>>32), 0).Sub(now)
	if !s.known || ahead > s.ahead {
		s.known, s.ahead = true, ahead
	}
}

// left returns an upper bound of the time until a deadline by the clock of the peer, so that
// an operation does not end before its deadline. It returns 0 if there is no deadline, and
// otherwise at least 1.
func (s *skew) left(deadline, now time.Time) time.Duration {
	if deadline.IsZero() {
		return 0
	}
	return max(min(max(deadline.Sub(now), -maxDifference), maxDifference)-s.ahead, 1)
}

// maxDifference bounds differences of times, so that their sums do not overflow.
const maxDifference = 1 << 61

// deadline returns the end of a timeout that begins now, by the clock of the peer as far as it
// is known, or the zero time if there is no timeout. If the clock is ahead, deadline adds a
// second, because packet ids have whole seconds.
func (s *skew) deadline(timeout time.Duration, now time.Time) time.Time {
	switch {
	case timeout <= 0:
		return time.Time{}
	case s.ahead > 0:
		timeout += s.ahead + time.Second
	}
	return now.Add(timeout)
}
