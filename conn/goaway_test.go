package conn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/packet"
)

// Once the peer has sent GoAway, no Pong overtakes what is still to be sent.
func TestPongBehindGoAwayWaits(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		goAway := packet.AppendReason(nil, packet.TypeGoAway, 0, packet.Reason{})
		p.writePing(1, "before")
		assert.EqualValues(t, 1, p.wantPing(packet.TypePong, "as always"))
		for round := uint64(1); round <= 2; round++ {
			p.write(goAway, "goaway")
			p.writePing(10*round, "behind it")
			p.wantIdle(time.Second, "not all is sent")
			p.writePing(10*round+1, "a heartbeat")
			u.give(dataFrame(byte(round)))
			c.Kick()
			p.want(packet.TypeData, "the rest")
			p.wantIdle(time.Second, "not acknowledged yet")
			c.AckGoAway()
			assert.EqualValues(t, 10*round+1, p.wantPing(packet.TypePong, "the last value"))
			p.writePing(10*round+2, "later")
			assert.EqualValues(t, 10*round+2, p.wantPing(packet.TypePong, "as always"))
		}
	})
}
