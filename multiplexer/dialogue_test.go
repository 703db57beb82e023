package multiplexer

import (
	"net"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// Addresses are those of the transport, and ids those of the connection and the stream.
func TestAddressesAndIDs(t *testing.T) {
	near, far := kit.TCPPair(t)
	m, _, p := newSetup().start(t, near, far)
	assert.Equal(t, near.LocalAddr(), m.Main().LocalAddr())
	assert.Equal(t, near.RemoteAddr(), m.Main().RemoteAddr())
	assert.EqualValues(t, 42, m.Main().ClientID())
	assert.EqualValues(t, DefaultID, m.Main().NegotiatingID())
	var _ net.Conn = m.Main()
	p.nc.Close()
	<-m.c.Done()
}

// Both sides know the name and the meta of the opener, and which side has opened.
func TestIntroduction(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		assert.Equal(t, geminio.RecipientSide, m.Main().Side())
		assert.False(t, m.Main().opener())
		assert.Zero(t, m.Main().introSize())

		mine := m.NewDialogue("name", nil, []byte("meta"))
		assert.Equal(t, geminio.InitiatorSide, mine.Side(), "the side before Open")
		opened := kit.Start(func() error { return m.Open(mine) })
		o := p.wantOpen(2, "an open")
		assert.Equal(t, "name", o.Peer)
		assert.Equal(t, "meta", string(o.Meta))
		require.NoError(t, <-opened)
		assert.Equal(t, geminio.InitiatorSide, mine.Side())
		assert.True(t, mine.opener())
		assert.Zero(t, mine.introSize(), "counted bytes of the own name and meta")
		assert.EqualValues(t, 8<<10, mine.windowSizes())

		p.write(packet.AppendOpen(nil, 3, packet.Open{Peer: "abc", Meta: []byte("de"), Windows: p.windows}), "an open of the peer")
		p.want(packet.TypeAccept, 0, 3, "an accept")
		theirs, err := m.Accept()
		require.NoError(t, err)
		assert.Equal(t, "abc", theirs.Peer())
		assert.Equal(t, "de", string(theirs.Meta()))
		assert.Equal(t, geminio.RecipientSide, theirs.Side())
		assert.False(t, theirs.opener())
		assert.Equal(t, 5, theirs.introSize())
	})
}

// The memory of an idle stream does not grow: a Dialogue fits the size class of 384 bytes.
func TestSizeOfADialogue(t *testing.T) {
	if debugging || unsafe.Sizeof(uintptr(0)) != 8 {
		return // the size is that of a normal build for 64 bits
	}
	assert.LessOrEqual(t, unsafe.Sizeof(Dialogue{}), uintptr(384))
}
