package multiplexer

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
)

// Everything that a peer makes a Mux hold, and that waits for the peer, is in Held.
func TestHeld(t *testing.T) {
	s := newSetup()
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		held := m.Held()
		grows := func(n int, what string) {
			t.Helper()
			synctest.Wait()
			now := m.Held()
			assert.GreaterOrEqual(t, now, held+n, what)
			held = now
		}
		p.writeData(DefaultID, 0, 1000, "raw bytes")
		grows(1000, "raw bytes that were not read")
		p.writePacket(packet.TypeMessage, DefaultID, 1, 500, "a message")
		grows(500, "a message that was not received")
		p.writePacket(packet.TypeRequest, DefaultID, 2, 100, "a request")
		grows(100, "a request whose handler runs")
		openFrom(t, m, p, 3)
		grows(100, "a stream")
		// The peer does not read these.
		d := m.Main()
		require.NoError(t, d.Send(t.Context(), 0, packet.TypeMessage, 1, nil, make([]byte, 100_000), Later))
		synctest.Wait()
		require.NoError(t, d.Send(t.Context(), 0, packet.TypeMessage, 2, nil, make([]byte, 100_000), Later))
		require.NoError(t, d.Send(t.Context(), 0, packet.TypeRequest, 3, nil, make([]byte, 700), Later))
		grows(100_700, "packets that wait to be sent")
		n, err := d.Read(make([]byte, 1000))
		require.NoError(t, err)
		synctest.Wait()
		assert.LessOrEqual(t, m.Held(), held-n)
	})
}

// Packets that the peer has not received are unseen when the connection ends.
func TestNotReceivedPacketsAreUnseen(t *testing.T) {
	s := newSetup()
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := m.Main()
		for seq := uint64(1); seq <= 2; seq++ {
			require.NoError(t, d.Send(t.Context(), 0, packet.TypeRequest, seq, nil, []byte("x"), AtOnce))
			p.wantPacket(packet.TypeRequest, DefaultID, "a request")
		}
		(*frameHandler)(m).NotReceived(packet.Header{Type: packet.TypeRequest, Stream: DefaultID}, 2)
		(*frameHandler)(m).NotReceived(packet.Header{Type: packet.TypeRequest, Stream: 99}, 2)
		assert.False(t, d.Abandon(packet.TypeRequest, 1))
		assert.True(t, d.Abandon(packet.TypeRequest, 2))
	})
}
