package server

import (
	"container/heap"
	"container/list"
)

// share is the memory of a set of sessions: of all, of those of a host, or of those of one
// client id of a host. A share is divided into parts, in a heap that has the largest
// first; the share of a client id has the sessions themselves. sessions.mu guards it.
type share struct {
	bytes  int
	used   uint64         // the number of the session that was added last
	parts  map[any]*share // by host or client id
	order  largestFirst   // the parts again
	place  int            // the index in the order of the share that this one is a part of
	idle   list.List      // the sessions of a client id, the oldest first
	number uint64         // how many sessions were added; counted in the share of all
}

// add adds s to r, which is the share of all sessions.
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

// remove removes s from r, which is the share of all sessions.
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

// shrink restores the order of the parts of r after one has become smaller, and drops that
// part if it is empty.
func (r *share) shrink(name any, part *share) {
	if part.bytes > 0 {
		heap.Fix(&r.order, part.place)
		return
	}
	heap.Remove(&r.order, part.place)
	delete(r.parts, name)
}

// largest returns the oldest session of the largest part of the largest part.
func (r *share) largest() *session {
	for len(r.order) > 0 {
		r = r.order[0]
	}
	return r.idle.Front().Value.(*session)
}

// largestFirst implements heap.Interface. Among shares of the same size, the one to which
// a session was added earlier comes first.
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
