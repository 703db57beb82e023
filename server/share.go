package server

import (
	"container/list"

	"github.com/singchia/geminio/internal/heap"
)

// share is the memory of a set of sessions: of all, of those of a host, or of those of one
// client id of a host. A share is divided into parts; the share of a client id has the
// sessions themselves. sessions.mu guards it.
type share struct {
	heap.Place                   // in the order of the share that this one is a part of
	bytes      int               // the memory of the sessions
	used       uint64            // the number of the session that was added last
	parts      map[any]*share    // by host or client id
	order      heap.Heap[*share] // the parts, the largest first
	idle       list.List         // the sessions of a client id, the oldest first
	number     uint64            // how many sessions were added; counted in the share of all
}

// Before implements heap.Element: the larger share comes first. Among shares of the same size,
// the one to which a session was added earlier comes first.
func (r *share) Before(other *share) bool {
	if r.bytes != other.bytes {
		return r.bytes > other.bytes
	}
	return r.used < other.used
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
			at.order.Push(part)
		}
		part.bytes += s.bytes
		part.used = r.number
		at.order.Fix(part)
		at = part
	}
	s.shared = at.idle.PushBack(s)
}

// remove removes s from r, which is the share of all sessions.
func (r *share) remove(s *session) {
	host := r.parts[s.host]
	id := host.parts[s.key.clientID]
	id.idle.Remove(s.shared)
	s.shared = nil
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
		r.order.Fix(part)
		return
	}
	r.order.Remove(part)
	delete(r.parts, name)
}

// largest returns the oldest session of the client id that takes most memory, among
// the client ids of the host that takes most memory.
func (r *share) largest() *session {
	for r.order.Len() > 0 {
		r = r.order.First()
	}
	return r.idle.Front().Value.(*session)
}
