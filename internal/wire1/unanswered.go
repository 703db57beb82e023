package wire1

// unanswered maps the ids or numbers of messages without an answer to their values. Some
// messages are never answered, and the peer does not say which, so the map is bounded. It has
// two generations. When the younger one is full, add drops the older one.
type unanswered[V any] struct {
	young, old map[uint64]V
}

// maxUnanswered is the size of a generation of unanswered.
const maxUnanswered = 64 << 10

// has reports whether there is a message with that id.
func (u *unanswered[V]) has(id uint64) bool {
	if _, ok := u.young[id]; ok {
		return true
	}
	_, ok := u.old[id]
	return ok
}

// add adds a message. It returns the messages that it has dropped.
func (u *unanswered[V]) add(id uint64, v V) (forgotten map[uint64]V) {
	if len(u.young) >= maxUnanswered {
		forgotten, u.old, u.young = u.old, u.young, nil
	}
	if u.young == nil {
		u.young = make(map[uint64]V)
	}
	u.young[id] = v
	return forgotten
}

// take removes the message with that id and returns its value.
func (u *unanswered[V]) take(id uint64) (v V, ok bool) {
	for _, m := range []map[uint64]V{u.young, u.old} {
		if v, ok = m[id]; ok {
			delete(m, id)
			return v, true
		}
	}
	return v, false
}
