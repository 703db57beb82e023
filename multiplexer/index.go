package multiplexer

import "github.com/singchia/geminio/packet"

// index finds values of packets by their keys. The zero value is empty. When an index becomes
// empty after a large burst, it frees its memory.
type index[T any] struct {
	all  map[packetKey]*T
	peak int // the largest number of entries since all was made
}

// maxRetained is the number of entries up to which an empty index keeps its memory.
const maxRetained = 64

// packetKey identifies a packet of a connection.
type packetKey struct {
	d   *Dialogue
	typ packet.Type
	seq uint64
}

// packetID identifies a packet of a dialogue.
type packetID struct {
	typ packet.Type
	seq uint64
}

// get returns the value for key, or nil.
func (x *index[T]) get(key packetKey) *T { return x.all[key] }

// add adds v, and replaces the value for key if there is one. That happens with messages that
// are sent at most once, which all have the number 0.
func (x *index[T]) add(key packetKey, v *T) {
	if x.all == nil {
		x.all = make(map[packetKey]*T)
	}
	x.all[key] = v
	x.peak = max(x.peak, len(x.all))
}

// remove removes v if it is the value for key.
func (x *index[T]) remove(key packetKey, v *T) {
	if x.all[key] != v {
		return
	}
	delete(x.all, key)
	if len(x.all) == 0 && x.peak > maxRetained {
		x.all, x.peak = nil, 0
	}
}
