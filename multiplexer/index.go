package multiplexer

import "github.com/singchia/geminio/packet"

// packetID names a packet of a dialogue.
type packetID struct {
	typ packet.Type
	seq uint64
}

// packetKey names a packet of a connection.
type packetKey struct {
	d   *Dialogue
	typ packet.Type
	seq uint64
}

// index finds packets by their keys. Its memory is given back when it is empty, for one
// burst could leave it large for good. The zero value is empty.
type index[T any] struct {
	all  map[packetKey]*T
	peak int // how many there were at a time
}

// maxRetained is for how many entries an empty index keeps its memory.
const maxRetained = 64

func (x *index[T]) get(key packetKey) *T { return x.all[key] }

// add adds v. Messages that are sent at most once all have the number 0: of those it knows
// the last one.
func (x *index[T]) add(key packetKey, v *T) {
	if x.all == nil {
		x.all = make(map[packetKey]*T)
	}
	x.all[key] = v
	x.peak = max(x.peak, len(x.all))
}

// remove removes v, if it is what the index has under the key.
func (x *index[T]) remove(key packetKey, v *T) {
	if x.all[key] != v {
		return
	}
	delete(x.all, key)
	if len(x.all) == 0 && x.peak > maxRetained {
		x.all, x.peak = nil, 0
	}
}
