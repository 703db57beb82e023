package multiplexer

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
)

// Held grows with the data that a stream holds, and shrinks when the data is released.
func TestHeld(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		empty := m.Held()
		assert.Equal(t, streamBytes, empty, "one stream without data")
		d := openFrom(t, m, p, 3)
		open := m.Held()
		assert.Equal(t, 2*streamBytes+len("name")+len("meta"), open, "two streams, one with a name and a meta")

		p.writeData(3, 0, 1000, "raw bytes")
		p.writePacket(packet.TypeMessage, 3, 1, 50_000, "a large message")
		p.writePacket(packet.TypeRequest, 3, 1, 10, "a request")
		synctest.Wait()
		assert.Equal(t, open+1000+50_000+handlerBytes, m.Held(), "received data that was not released")
		readBytes(t, d, 1000)
		d.Release(packet.TypeMessage, 50_000)
		d.Release(packet.TypeRequest, 10)
		assert.Equal(t, open, m.Held(), "received data that was released")

		assert.EqualValues(t, 50_000, p.wantCredit(3, packet.ClassLargeMessages, "the message is granted again"))
		blockWriter(t, m)
		_, err := d.Write(make([]byte, 500))
		require.NoError(t, err)
		assert.Equal(t, open+500, m.Held(), "data that waits to be sent")
	})
}
