package setup

import (
	"math/rand/v2"
	"net"
	"time"

	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/wire1"
)

// translate returns the Translate function of the configuration cc. Translators share
// the memory budget except the part for the windows of streams.
func translate(cc *conn.Config, budget uint64) func(net.Conn, conn.Wire1Peer) net.Conn {
	return func(nc net.Conn, peer conn.Wire1Peer) net.Conn {
		period := wire1.Period(peer.HeartbeatExponent << 4)
		return wire1.NewTransport(nc, wire1.Config{
			Side:     peer.Side,
			Offer:    cc.Settings,
			Budget:   budget / parts * (parts - 1),
			Period:   period,
			Silence:  2 * max(period, cc.Heartbeat),
			Linger:   cc.Linger,
			PacketID: peer.PacketID,
			FirstID:  uint64(time.Now().Unix())<<32 | uint64(rand.Uint32()>>1),
		}, cc.Clock)
	}
}
