package multiplexer

import (
	"io"
	"math"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
)

// New takes the limits of each direction from the settings of the receiving side.
func TestNew(t *testing.T) {
	s := newSetup()
	s.peer.MaxFrame, s.peer.MaxMessage = 1<<20, 3<<30
	s.peer.Messages, s.local.Messages = 2048, 8192
	s.peer.Raw, s.peer.Handlers, s.local.Handlers = 3000, 5, 7
	s.peer.Large = math.MaxUint32
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		assert.EqualValues(t, packet.DefaultMaxFrame, m.maxFrame, "frames to the peer")
		assert.Equal(t, charge.MaxSmall(s.peer), m.smallTx, "small packets to the peer")
		assert.Equal(t, charge.MaxSmall(s.local), m.smallRx, "small packets from the peer")
		assert.Equal(t, math.MaxInt32, m.MaxBody(), "MaxBody is at most the largest int of 32 bits")
		assert.EqualValues(t, 5, m.ledger.tx[packet.ClassHandlers].avail, "handlers of the peer")
		assert.EqualValues(t, 7, m.ledger.rx[packet.ClassHandlers].left, "handlers of this side")
		d := m.Main()
		assert.EqualValues(t, DefaultID, d.DialogueID())
		assert.EqualValues(t, 3000, d.credit.tx[packet.ClassRaw].avail, "raw bytes of the default dialogue")
		assert.EqualValues(t, 2048, d.credit.tx[packet.ClassMessages].avail, "messages of the default dialogue")
		assert.EqualValues(t, s.local.Raw+s.local.Messages, m.windows.used, "windows of the default dialogue")
		assert.Same(t, m.c, m.Conn())
	})
}

// The ids of the two sides do not overlap.
func TestIsLocalID(t *testing.T) {
	for _, side := range []geminio.Side{geminio.InitiatorSide, geminio.RecipientSide} {
		s := newSetup()
		s.side = side
		s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for id := uint64(2); id < 10; id++ {
				odd := id%2 == 1
				assert.Equal(t, odd == (side == geminio.InitiatorSide), m.isLocalID(id), "id %d at the %v", id, side)
			}
			assert.True(t, m.isLocalID(m.streams.nextID), "the first id of the %v", side)
		})
	}
}

// Dialogues lists the dialogues that are open at this side, the default one first.
func TestDialogues(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		assert.Equal(t, []*Dialogue{m.Main()}, m.Dialogues())
		a, b := openFrom(t, m, p, 3), openTo(t, m, p)
		assert.ElementsMatch(t, []*Dialogue{m.Main(), a, b}, m.Dialogues())
		assert.Same(t, m.Main(), m.Dialogues()[0])
		h.mu.Lock()
		h.onOpened = func(*Dialogue) {}
		h.mu.Unlock()
		p.writeOpen(5, "an Open that the Handler does not answer")
		synctest.Wait()
		assert.Len(t, m.Dialogues(), 3, "a dialogue that is not accepted is not open")
		require.NoError(t, a.Close())
		p.want(packet.TypeData, packet.FlagFin|packet.FlagClose, 3, "Close sends the close flag")
		assert.ElementsMatch(t, []*Dialogue{m.Main(), b}, m.Dialogues(), "a closed dialogue is not open")
		p.nc.Close()
		<-m.c.Done()
		assert.Empty(t, m.Dialogues(), "dialogues after the end")
	})
}

// Close delivers the bytes and packets that were accepted before.
func TestCloseDelivers(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		blockWriter(t, m)
		_, err := d.Write(make([]byte, 1000))
		require.NoError(t, err)
		require.NoError(t, d.Send(t.Context(), 0, packet.TypeMessage, 1, nil, make([]byte, 10), AtOnce))
		m.Close(io.EOF, packet.Reason{Code: uint32(geminio.CodeGoingAway), Text: "maintenance"})
		var types []packet.Type
		raw := 0
		for {
			head, payload := p.next("the queued frames are sent before the Close frame")
			types = append(types, head.Type)
			if head.Type == packet.TypeData && head.Stream == 3 {
				raw += len(payload)
			}
			if head.Type == packet.TypeClose {
				n, err := packet.ParseReason(head.Type, payload)
				require.NoError(t, err)
				assert.Equal(t, "maintenance", n.Text)
				break
			}
		}
		assert.Equal(t, 1000, raw, "raw bytes of the stream")
		assert.Contains(t, types, packet.TypeMessage)
		_, err = d.Write([]byte{1})
		assert.Error(t, err, "Write after the end")
		assert.Equal(t, io.EOF, m.Open(m.NewDialogue("", nil, nil)))
	})
}
