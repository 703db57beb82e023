package conn

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/packet"
)

// Frames count with their headers, except link frames.
func TestTraffic(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		assert.Equal(t, Traffic{}, c.Snapshot().Sent)
		p.write(dataFrame([]byte("hello")...), "a frame")
		p.write(dataFrame(make([]byte, 1000)...), "another one")
		p.writePing(1, "a ping")
		p.wantPing(packet.TypePong, "the pong")
		u.give(dataFrame([]byte("bye")...), dataFrame())
		c.Kick()
		p.want(packet.TypeData, "a frame of this side")
		p.want(packet.TypeData, "another one")
		synctest.Wait()
		s := c.Snapshot()
		assert.Equal(t, Traffic{Bytes: 2*packet.HeaderLen + 1005, Frames: 2}, s.Received)
		assert.Equal(t, Traffic{Bytes: 2*packet.HeaderLen + 3, Frames: 2}, s.Sent)
		assert.Equal(t, Open, s.State)
		assert.False(t, s.Interrupted)
		assert.WithinDuration(t, s.Begin, s.Since, 1)
	})
}

// A payload may be spread over several pieces of a batch.
func TestFramesInPieces(t *testing.T) {
	frame := func(n int) []byte {
		return packet.AppendHeader(nil, packet.Header{Type: packet.TypeData, Stream: 3, Length: uint32(n)})
	}
	c := &Conn{}
	b := newBatch(true)
	defer b.free()
	b.Buf = packet.AppendPing(b.Buf, packet.TypePing, 1)
	b.Buf = append(b.Buf, frame(10)...)
	b.add(make([]byte, 4))
	b.add(make([]byte, 6))
	b.Buf = append(append(b.Buf, frame(0)...), frame(1)...)
	b.Buf = append(b.Buf, 'x')
	b.Buf = append(b.Buf, frame(5)...)
	b.add(make([]byte, 5))
	b.seal()
	c.countFrames(b)
	assert.Equal(t, Traffic{Bytes: 4*packet.HeaderLen + 16, Frames: 4}, c.Snapshot().Sent)
}
