package setup

import (
	"log/slog"
	"sync/atomic"

	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/packet"
)

// DelegateOrNil returns d as a Delegate. It returns nil if d is nil.
func DelegateOrNil[D interface {
	comparable
	Delegate
}](d D) Delegate {
	var none D
	if d == none {
		return nil
	}
	return d
}

// LogError logs err, the error of the callback what, if it is not nil. It is for callbacks whose
// errors have no other effect.
func LogError(log *slog.Logger, what string, about interface{ ClientID() uint64 }, err error) {
	if err != nil {
		log.Warn("the delegate's "+what+" failed", "client", about.ClientID(), "err", guard.Describe(log, err).Text)
	}
}

// numbers wraps the PacketFactory of a user. If the factory panics, NewPacketID returns a number
// from a separate count, which may not be unique.
type numbers struct {
	packet.PacketFactory
	log  *slog.Logger
	last atomic.Uint64 // the last number of the separate count
}

// NewPacketID implements packet.PacketFactory.
func (n *numbers) NewPacketID() (id uint64) {
	defer func() {
		if v := recover(); v != nil {
			guard.Panicked(n.log, "NewPacketID", v)
			id = n.last.Add(1)
		}
	}()
	return n.PacketFactory.NewPacketID()
}
