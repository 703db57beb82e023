package server

import (
	"container/heap"
	"container/list"
)

// share is the room that sessions take together: all of them, those of a host, or those of
// one client id of a host. A share is divided into parts, of which the largest is at hand;
// those of client ids have the sessions themselves. sessions.mu guards it.
type share struct {
	bytes  int
	used   uint64 // when a session was added, by counting
	parts  map[any]*share
	order  largestFirst // of parts
	place  int          // in the order of the share that this one is a part of
	idle   list.List    // of a client id: its sessions, the oldest first
	number uint64       // of all that were added; of the share that has all
}

// add adds s to the share that has all.
func (r *share) add(s *session) {
	r.number++
	at := r
	at.bytes += s.bytes
	for _, name := range []any{s.host, s.key.clientID} {
		part := at.parts[name]
		if part == nil {
			part = new(share)
			if at.parts == nil {
				at.parts = make(map[any]*share)
			}
			at.parts[name] = part
			heap.Push(&at.order, part)
		}
		part.bytes += s.bytes
		part.used = r.number
		heap.Fix(&at.order, part.place)
		at = part
	}
	s.among = at.idle.PushBack(s)
}

// remove takes s out.
func (r *share) remove(s *session) {
	host := r.parts[s.host]
	id := host.parts[s.key.clientID]
	id.idle.Remove(s.among)
	s.among = nil
	id.bytes -= s.bytes
	host.shrink(s.key.clientID, id)
	host.bytes -= s.bytes
	r.shrink(s.host, host)
	r.bytes -= s.bytes
}

// shrink puts a part of r that has become smaller in its place, or drops it if nothing is
// left.
func (r *share) shrink(name any, part *share) {
	if part.bytes > 0 {
		heap.Fix(&r.order, part.place)
		return
	}
	heap.Remove(&r.order, part.place)
	delete(r.parts, name)
}

// largest returns, of the largest part of the largest part, the oldest session.
func (r *share) largest() *session {
	for len(r.order) > 0 {
		r = r.order[0]
	}
	return r.idle.Front().Value.(*session)
}

// largestFirst implements heap.Interface. Of shares that are equally large, the one comes
// first to which nothing was added for longer.
type largestFirst []*share

// Len implements heap.Interface.
func (h largestFirst) Len() int { return len(h) }

// Less implements heap.Interface.
func (h largestFirst) Less(i, j int) bool {
	if h[i].bytes != h[j].bytes {
		return h[i].bytes > h[j].bytes
	}
	return h[i].used < h[j].used
}

// Swap implements heap.Interface.
func (h largestFirst) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *largestFirst) Push(x any) {
	s := x.(*share)
	s.place = len(*h)
	*h = append(*h, s)
}

// Pop implements heap.Interface.
func (h *largestFirst) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
