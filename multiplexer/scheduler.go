package multiplexer

// lane is a kind of turn that a dialogue can have.
type lane uint8

const (
	laneControl lane = iota // frames made from state; first, since small and bounded
	lanePackets             // requests, responses, messages and answers
	laneRaw                 // raw bytes, and the end of the dialogue
	lanes
)

// packetBurst is how many bytes of packets go before a dialogue with raw bytes
// gets a turn, if any waits.
const packetBurst = 64 << 10

// scheduler decides who writes next: control first; then packets, since somebody
// waits for them, but so that raw bytes get a turn at least every packetBurst
// bytes. In each lane the dialogues take turns, and a turn is bounded by its
// user. It neither locks nor waits; Mux.mu guards it.
type scheduler struct {
	rings       [lanes]ring
	packetBytes int // bytes of packets since the last turn of raw bytes
}

// ring is a queue of dialogues, linked through them.
type ring struct{ head, tail *Dialogue }

// push gives d a turn in the lane, behind all others; once, however often it is
// asked for before the turn comes.
func (s *scheduler) push(d *Dialogue, l lane) {
	if d.queued&(1<<l) != 0 {
		return
	}
	d.queued |= 1 << l
	r := &s.rings[l]
	if r.tail == nil {
		r.head = d
	} else {
		r.tail.next[l] = d
	}
	r.tail = d
}

// pop returns whose turn it is, and in which lane, or nil.
func (s *scheduler) pop() (*Dialogue, lane) {
	l := laneControl
	switch {
	case s.rings[laneControl].head != nil:
	case s.rings[lanePackets].head != nil && (s.packetBytes < packetBurst || s.rings[laneRaw].head == nil):
		l = lanePackets
	default:
		l = laneRaw
	}
	r := &s.rings[l]
	d := r.head
	if d == nil {
		return nil, 0
	}
	r.head = d.next[l]
	if r.head == nil {
		r.tail = nil
	}
	d.next[l] = nil
	d.queued &^= 1 << l
	return d, l
}

// spend says that a turn in the lane took n bytes.
func (s *scheduler) sent(l lane, n int) {
	switch l {
	case lanePackets:
		s.packetBytes += n
	case laneRaw:
		s.packetBytes = 0
	}
}

// empty tells whether nobody waits.
func (s *scheduler) empty() bool {
	for _, r := range s.rings {
		if r.head != nil {
			return false
		}
	}
	return true
}
