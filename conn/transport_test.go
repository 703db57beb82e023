package conn

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

func TestPushDoesNotWaitForAFullSocket(t *testing.T) {
	near, far := kit.TCPPair(t)
	p := &peer{t, far}
	c, u := startOn(t, geminio.RecipientSide, near, p, testConfig())
	frames := u.fillUp(t, c, dataFrame(make([]byte, 60_000)...))
	for range frames {
		p.want(packet.TypeData, "a frame")
	}
	go c.Close(errMine, packet.Reason{})
	p.wantReason(packet.TypeClose, 0, "the Close frame")
	p.nc.Close()
	<-c.Done()
	<-u.over
}

func TestTransportThatCannotLendCopies(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		lender := &countingOwner{}
		u.from = lender
		frame := dataFrame(1, 2, 3)
		u.give(frame)
		c.Push(nil, false)
		synctest.Wait() // until the writer waits for the peer
		assert.Zero(t, c.Reclaim(lender), "buffers that are lent")
		clear(frame)
		assert.Equal(t, []byte{1, 2, 3}, p.want(packet.TypeData, "the copy of the buffer"))
		synctest.Wait()
		assert.Zero(t, lender.returned())
	})
}
