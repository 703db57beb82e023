package wire1

import "time"

// skew is an estimate of how far the peer's clock is ahead of this side's. Packets
// of wire 1 have deadlines by their sender's clock, and nothing that says what that
// clock shows. But the upper half of a packet id is the second in which the peer began
// to count or, in some releases, in which it made the packet. So the peer's clock shows
// at least that when the packet arrives. The most that any packet has told is close to
// the truth where the peer began to count when it connected, and too little otherwise.
type skew struct {
	known bool
	ahead time.Duration // at least; negative: the clock may be behind by so much
}

// learn notes the id of a packet that has arrived.
func (s *skew) learn(id uint64, now time.Time) {
	ahead := time.Unix(int64(id>>32), 0).Sub(now)
	if !s.known || ahead > s.ahead {
		s.known, s.ahead = true, ahead
	}
}

// left returns how much time the peer has left until a deadline of its clock, at
// least: never less than it has, since an operation must not end before its time. It
// returns 0 if there is no deadline.
func (s *skew) left(deadline, now time.Time) time.Duration {
	if deadline.IsZero() {
		return 0
	}
	return max(min(max(deadline.Sub(now), -farAway), farAway)-s.ahead, 1)
}

// farAway bounds differences of time, so that sums of them do not overflow.
const farAway = 1 << 61

// deadline returns when a timeout that begins now is over, by the peer's clock as far
// as that is known; zero if there is no timeout. A clock that is ahead may be ahead by
// a second more than its packets tell.
func (s *skew) deadline(timeout time.Duration, now time.Time) time.Time {
	switch {
	case timeout <= 0:
		return time.Time{}
	case s.ahead > 0:
		timeout += s.ahead + time.Second
	}
	return now.Add(timeout)
}
