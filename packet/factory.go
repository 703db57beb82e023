package packet

import "github.com/singchia/geminio/pkg/id"

// PacketFactory numbers requests and messages: what their ID method returns. In
// the earlier library it also built packets; now it can do nothing but number.
// Answers are matched by numbers of the connection's own, so a factory that
// repeats itself confuses nobody but its readers. It must be safe for
// concurrent use.
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
