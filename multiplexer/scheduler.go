package multiplexer

// scheduler decides which dialogue sends next, and in which lane. It neither locks nor
// waits; Mux.mu guards it.
//
// Control goes first. Packets follow, because goroutines wait for them. Raw bytes get a turn
// when no packets are ready, and after every packetBurst bytes of packets. In each lane the
// dialogues take turns. The caller bounds the size of a turn.
type scheduler struct {
	rings       [lanes]ring
	packetBytes int // bytes of packets since the last turn of raw bytes
}

// lane is a kind of turn that a dialogue can have.
type lane uint8

const (
	laneControl lane = iota // control frames, which are small and bounded in number
	lanePackets             // requests, responses, messages and their answers
	laneRaw                 // raw bytes, and the end of the dialogue
	lanes                   // the number of lanes
)

// packetBurst is the number of bytes of packets after which raw bytes get a turn, if any are
// ready.
const packetBurst = 64 << 10

// ring is a queue of dialogues, linked by Dialogue.next.
type ring struct{ head, tail *Dialogue }

// push adds d to the end of lane l, unless d is in the lane already.
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

// pop removes the dialogue that is next and returns it with its lane, or nil if all lanes
// are empty. With hold set, laneRaw waits.
func (s *scheduler) pop(hold bool) (*Dialogue, lane) {
	l := laneControl
	switch {
	case s.rings[laneControl].head != nil:
	case s.rings[lanePackets].head != nil && (s.packetBytes < packetBurst || hold || s.rings[laneRaw].head == nil):
		l = lanePackets
	case hold:
		return nil, 0
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

// sent reports that the last turn was in lane l and took n bytes.
func (s *scheduler) sent(l lane, n int) {
	switch l {
	case lanePackets:
		s.packetBytes += n
	case laneRaw:
		s.packetBytes = 0
	}
}

// ready reports whether pop returns a dialogue.
func (s *scheduler) ready(hold bool) bool {
	return !s.laneEmpty(laneControl) || !s.laneEmpty(lanePackets) || !hold && !s.laneEmpty(laneRaw)
}

// laneEmpty reports whether lane l is empty.
func (s *scheduler) laneEmpty(l lane) bool { return s.rings[l].head == nil }
