package conn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/packet"
)

// After GoAway of the peer, no Pong overtakes frames that are to be sent.
func TestPongBehindGoAwayWaits(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		goAway := packet.AppendReason(nil, packet.TypeGoAway, 0, packet.Reason{})
		p.writePing(1, "before")
		assert.EqualValues(t, 1, p.wantPing(packet.TypePong, "the pong"))
		for round := uint64(1); round <= 2; round++ {
			p.write(goAway, "goaway")
			p.writePing(10*round, "the ping after GoAway")
			p.wantIdle(time.Second, "a pong before all frames were sent")
			p.writePing(10*round+1, "a heartbeat")
			u.give(dataFrame(byte(round)))
			c.Kick()
			p.want(packet.TypeData, "the last frame")
			p.wantIdle(time.Second, "a pong before AckGoAway")
			c.AckGoAway()
			assert.EqualValues(t, 10*round+1, p.wantPing(packet.TypePong, "the pong with the last value"))
			p.writePing(10*round+2, "later")
			assert.EqualValues(t, 10*round+2, p.wantPing(packet.TypePong, "the pong"))
		}
	})
}
