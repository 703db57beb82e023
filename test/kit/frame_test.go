package kit

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
)

func TestReadFrame(t *testing.T) {
	b := AppendFrame(nil, packet.Header{Type: packet.TypeData, Flags: packet.FlagFin, Stream: 3}, []byte("data"))
	b = AppendPacket(b, packet.TypeMessage, 5, 7, []byte("body"))
	r := bytes.NewReader(b)

	h, payload, err := ReadFrame(r, AnyFrame)
	require.NoError(t, err)
	assert.Equal(t, packet.Header{Type: packet.TypeData, Flags: packet.FlagFin, Stream: 3, Length: 4}, h)
	assert.Equal(t, "data", string(payload))

	h, payload, err = ReadFrame(r, AnyFrame)
	require.NoError(t, err)
	f, err := packet.ParseFragmentHeader(payload, h)
	require.NoError(t, err)
	assert.Equal(t, packet.FragmentHeader{Seq: 7, Total: 4}, f)
	assert.Equal(t, "body", string(payload[packet.FragmentHeaderLen(h):]))

	_, _, err = ReadFrame(r, AnyFrame)
	assert.Equal(t, io.EOF, err, "after the last frame")
	_, _, err = ReadFrame(bytes.NewReader(b[:packet.HeaderLen+1]), AnyFrame)
	assert.Equal(t, io.ErrUnexpectedEOF, err, "in the payload")
	_, _, err = ReadFrame(bytes.NewReader(b), 3)
	assert.ErrorIs(t, err, packet.ErrPacketTooLarge)
}

func TestAppendFragment(t *testing.T) {
	want := packet.FragmentHeader{Seq: 7, Total: 100}
	b := AppendFragment([]byte("before"), packet.TypeRequest, packet.FlagMore, 5, want, []byte("part"))
	h, payload, err := ReadFrame(bytes.NewReader(b[len("before"):]), AnyFrame)
	require.NoError(t, err)
	f, err := packet.ParseFragmentHeader(payload, h)
	require.NoError(t, err)
	assert.Equal(t, want, f)
	assert.Equal(t, "part", string(payload[packet.FragmentHeaderLen(h):]))
}

func TestReadHandshake(t *testing.T) {
	hello, err := packet.AppendConn(nil, packet.Conn{PacketID: 4, ClientID: 5})
	require.NoError(t, err)
	c, err := ReadConn(bytes.NewReader(hello))
	require.NoError(t, err)
	assert.EqualValues(t, 4, c.PacketID)
	assert.EqualValues(t, 5, c.ClientID)

	answer, err := packet.AppendConnAck(nil, packet.ConnAck{PacketID: 4, ClientID: 6})
	require.NoError(t, err)
	a, err := ReadConnAck(bytes.NewReader(answer))
	require.NoError(t, err)
	assert.EqualValues(t, 4, a.PacketID)
	assert.EqualValues(t, 6, a.ClientID)

	_, err = ReadConnAck(bytes.NewReader(hello))
	assert.Error(t, err, "the packet of a client is no answer")
}
