package packet

import "github.com/singchia/geminio/pkg/id"

// PacketFactory numbers requests and messages; their ID methods return the numbers.
// The library does not match answers by these numbers, so duplicates only make logs
// ambiguous. In the earlier releases of this library a factory also built packets. It
// must be safe for concurrent use.
type PacketFactory interface {
	// NewPacketID returns the next number.
	NewPacketID() uint64
}

type factory struct{ ids *id.IDCounter }

func (f factory) NewPacketID() uint64 { return f.ids.GetID() }

// NewPacketFactory returns a factory that takes its numbers from ids, or from
// id.DefaultIncIDCounter if that is nil.
func NewPacketFactory(ids *id.IDCounter) PacketFactory {
	if ids == nil {
		ids = id.DefaultIncIDCounter
	}
	return factory{ids}
}
