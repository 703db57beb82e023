package wire1

// maxUnanswered is how many messages may at least be without an answer.
const maxUnanswered = 64 << 10

// unanswered maps the ids or numbers of messages without an answer to their values. Some
// messages are never answered, and the peer does not say which, so the map is bounded.
// It has two generations; when the younger one is full, the older one is dropped.
type unanswered[V any] struct {
	young, old map[uint64]V
}

// has reports whether there is a message with that id.
func (u *unanswered[V]) has(id uint64) bool {
	if _, ok := u.young[id]; ok {
		return true
	}
	_, ok := u.old[id]
	return ok
}

// add adds a message, and returns what is forgotten for it.
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

// take takes the message with that id out.
func (u *unanswered[V]) take(id uint64) (v V, ok bool) {
	for _, m := range []map[uint64]V{u.young, u.old} {
		if v, ok = m[id]; ok {
			delete(m, id)
			return v, true
		}
	}
	return v, false
}
