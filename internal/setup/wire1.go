package setup

import (
	"math/rand/v2"
	"net"
	"time"

	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/wire1"
)

// translate is the Translate function of every conn.Config.
func translate(cc *conn.Config, nc net.Conn, peer conn.Wire1Peer) net.Conn {
	period := wire1.Period(peer.HeartbeatExponent << 4)
	return wire1.NewTransport(nc, wire1.Config{
		Side:     peer.Side,
		Offer:    cc.Settings,
		Budget:   cc.Wire1Budget,
		Period:   period,
		Silence:  2 * max(period, cc.Heartbeat),
		Linger:   cc.Linger,
		PacketID: peer.PacketID,
		FirstID:  uint64(time.Now().Unix())<<32 | uint64(rand.Uint32()>>1),
	}, cc.Clock)
}
