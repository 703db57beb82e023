package packet

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// types has all types of wire 2 with their flags.
var types = []struct {
	typ        Type
	name       string
	flags      []Flags
	packet     bool // begins with a fragment header
	fragmented bool
	connection bool // stream 0
	stream     bool // stream not 0
}{
	{typ: 0x01, name: "ping", flags: []Flags{0}, connection: true},
	{typ: 0x02, name: "pong", flags: []Flags{0}, connection: true},
	{typ: 0x03, name: "goaway", flags: []Flags{0}, connection: true},
	{typ: 0x04, name: "close", flags: []Flags{0}, connection: true},
	{typ: 0x05, name: "credit", flags: []Flags{0}, connection: true, stream: true},
	{typ: 0x06, name: "received", flags: []Flags{0}, connection: true},
	{typ: 0x10, name: "open", flags: []Flags{0}, stream: true},
	{typ: 0x11, name: "accept", flags: []Flags{0}, stream: true},
	{typ: 0x12, name: "refuse", flags: []Flags{0}, stream: true},
	{typ: 0x13, name: "data", flags: []Flags{0, FlagFin, FlagFin | FlagClose}, stream: true},
	{typ: 0x14, name: "stop", flags: []Flags{0}, stream: true},
	{typ: 0x15, name: "reset", flags: []Flags{0}, stream: true},
	{typ: 0x20, name: "request", flags: []Flags{0, 1, 2, 3}, stream: true, packet: true, fragmented: true},
	{typ: 0x21, name: "response", flags: []Flags{0, 1, 2, 3}, stream: true, packet: true, fragmented: true},
	{typ: 0x22, name: "message", flags: []Flags{0, 1, 2, 3, FlagShared}, stream: true, packet: true, fragmented: true},
	{typ: 0x23, name: "ack", flags: []Flags{0}, stream: true, packet: true},
	{typ: 0x24, name: "register", flags: []Flags{0}, stream: true, packet: true},
	{typ: 0x25, name: "registered", flags: []Flags{0}, stream: true, packet: true},
	{typ: 0x26, name: "cancel", flags: []Flags{0}, stream: true, packet: true},
	{typ: 0x27, name: "abandon", flags: []Flags{0}, stream: true, packet: true},
}

// TestHeader tries every combination of type, flags and stream against the list.
func TestHeader(t *testing.T) {
	legal := make(map[Header]bool)
	known := make(map[Type]bool)
	for _, d := range types {
		known[d.typ] = true
		assert.Equal(t, d.name, d.typ.String())
		assert.Equal(t, d.packet, d.typ.IsPacket(), d.name)
		assert.Equal(t, d.fragmented, d.typ.Fragmented(), d.name)
		for _, f := range d.flags {
			legal[Header{Type: d.typ, Flags: f}] = d.connection
			for _, stream := range []uint64{1, 0x123456, MaxStreamID} {
				legal[Header{Type: d.typ, Flags: f, Stream: stream}] = d.stream
			}
		}
	}
	for typ := range 256 {
		require.Equal(t, known[Type(typ)], Type(typ).Known(), "0x%02x", typ)
		for flags := range 256 {
			for _, stream := range []uint64{0, 1, 0x123456, MaxStreamID} {
				h := Header{Type: Type(typ), Flags: Flags(flags), Stream: stream}
				want := legal[h] || Type(typ)&Ignorable != 0
				h.Length = 77
				b := AppendHeader([]byte{9}, h)
				if len(b) != 1+HeaderLen || b[0] != 9 {
					t.Fatalf("AppendHeader(%+v) = % x, want %d bytes after 09", h, b, HeaderLen)
				}
				got, err := ParseHeader(b[1:], 77)
				if got != h || (err == nil) != want {
					t.Fatalf("ParseHeader of %+v = %+v, %v, want success: %v", h, got, err, want)
				}
			}
		}
	}
}

func TestHeaderBytes(t *testing.T) {
	for _, c := range []struct {
		h    Header
		want string
	}{
		{Header{TypePing, 0, 0, 8}, "01 00 000000000000 00000008"},
		{Header{TypeData, FlagFin | FlagClose, 3, 0}, "13 03 000000000003 00000000"},
		{Header{TypeRequest, FlagMore | FlagNext, MaxStreamID, 1<<32 - 1}, "20 03 ffffffffffff ffffffff"},
		{Header{TypeMessage, FlagNext, 0x0102030405, 0x06070809}, "22 02 000102030405 06070809"},
	} {
		b := AppendHeader(nil, c.h)
		assert.Equal(t, unhex(t, c.want), b)
		h, err := ParseHeader(b, 1<<32-1)
		assert.NoError(t, err)
		assert.Equal(t, c.h, h)
	}
	// A stream id that does not fit stays out of the type and the flags.
	assert.Equal(t, unhex(t, "13 01 000000000005 00000000"),
		AppendHeader(nil, Header{Type: TypeData, Flags: FlagFin, Stream: 1<<50 | 5}))
}

func TestHeaderMalformed(t *testing.T) {
	for _, c := range []struct {
		bytes string
		what  string
		text  string
	}{
		{"00 00 000000000000 00000000", "header", "unknown type 0x00"},
		{"07 00 000000000000 00000000", "header", "unknown type 0x07"},
		{"06 00 000000000003 00000008", "received", "stream 3 in a frame of the connection"},
		{"7f 00 000000000001 00000000", "header", "unknown type 0x7f"},
		{"13 04 000000000001 00000000", "data", "unknown flags 0x04"},
		{"13 81 000000000001 00000000", "data", "unknown flags 0x80"},
		{"13 02 000000000001 00000000", "data", "close without fin"},
		{"01 01 000000000000 00000008", "ping", "unknown flags 0x01"},
		{"23 01 000000000001 00000008", "ack", "unknown flags 0x01"},
		{"04 00 000000000005 00000008", "close", "stream 5 in a frame of the connection"},
		{"10 00 000000000000 0000000a", "open", "stream 0 in a frame of a stream"},
		{"22 00 000000000000 0000000a", "message", "stream 0 in a frame of a stream"},
	} {
		_, err := ParseHeader(unhex(t, c.bytes), DefaultMaxFrame)
		requireMalformed(t, err, c.what, c.text)
		assert.NotErrorIs(t, err, ErrPacketTooLarge)
	}
}

func TestHeaderTooLarge(t *testing.T) {
	for _, typ := range []Type{TypeData, TypeRequest, 0xc1} {
		b := AppendHeader(nil, Header{Type: typ, Stream: 1, Length: 1025})
		_, err := ParseHeader(b, 1024)
		requireMalformed(t, err, typ.String(), "length 1025 exceeds 1024")
		require.ErrorIs(t, err, ErrPacketTooLarge)
		_, err = ParseHeader(b, 1025)
		require.NoError(t, err)
	}
}

func TestTypeString(t *testing.T) {
	assert.Equal(t, "type 0x07", Type(7).String())
	assert.Equal(t, "type 0xff", Type(255).String())
}

func TestPutLength(t *testing.T) {
	b := AppendHeader(nil, Header{Type: TypeRequest, Flags: FlagMore, Stream: 7})
	PutLength(b)
	assert.Equal(t, unhex(t, "20 01 000000000007 00000000"), b)
	b = append(b, make([]byte, 0x10203)...)
	PutLength(b)
	assert.Equal(t, unhex(t, "20 01 000000000007 00010203"), b[:HeaderLen])
}

func TestFragmentHeader(t *testing.T) {
	for _, c := range []struct {
		name  string
		typ   Type
		flags Flags
		rest  int // bytes of the body behind the fragment header
		total uint32
		want  string
	}{
		{"whole", TypeRequest, 0, 5, 5, "0102030405060708"},
		{"whole and empty", TypeMessage, 0, 0, 0, "0102030405060708"},
		{"whole, never in fragments", TypeAck, 0, 4, 4, "0102030405060708"},
		{"first", TypeResponse, FlagMore, 5, 0x100, "0102030405060708 00000100"},
		{"first, almost all", TypeRequest, FlagMore, 5, 6, "0102030405060708 00000006"},
		{"first and empty", TypeRequest, FlagMore, 0, 1, "0102030405060708 00000001"},
		{"first of the most", TypeMessage, FlagMore, 5, 1<<32 - 1, "0102030405060708 ffffffff"},
		{"middle", TypeRequest, FlagMore | FlagNext, 5, 5, "0102030405060708"},
		{"last", TypeRequest, FlagNext, 5, 5, "0102030405060708"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := FragmentHeader{Seq: 0x0102030405060708, Total: c.total}
			b := AppendFragmentHeader(nil, f, c.flags)
			require.Equal(t, unhex(t, c.want), b)
			h := Header{Type: c.typ, Flags: c.flags, Stream: 1, Length: uint32(len(b) + c.rest)}
			require.Equal(t, len(b), FragmentHeaderLen(h))

			got, err := ParseFragmentHeader(append(b, 1, 2, 3), h)
			require.NoError(t, err)
			require.Equal(t, f, got)

			for n := range b {
				h.Length = uint32(n)
				_, err := ParseFragmentHeader(b[:n], h)
				requireMalformed(t, err, c.typ.String(), fmt.Sprintf("payload of %d bytes, need %d", n, len(b)))
				_, err = ParseFragmentHeader(b, h) // b has the beginning of the next frame too
				requireMalformed(t, err, c.typ.String())
			}
		})
	}
}

func TestFragmentTotals(t *testing.T) {
	for carried := range 4 {
		for total := range 6 {
			h := Header{Type: TypeRequest, Flags: FlagMore, Stream: 1, Length: uint32(FragmentLen + carried)}
			b := AppendFragmentHeader(nil, FragmentHeader{Seq: 1, Total: uint32(total)}, h.Flags)
			_, err := ParseFragmentHeader(b, h)
			if total > carried {
				require.NoError(t, err)
				continue
			}
			requireMalformed(t, err, "request", fmt.Sprintf("total of %d in a first fragment of %d bytes", total, carried))
		}
	}
}

func FuzzHeader(f *testing.F) {
	for _, s := range []string{
		"01 00 000000000000 00000008",
		"05 00 000000000003 00000005",
		"13 02 000000000003 00000000",
		"20 03 ffffffffffff ffffffff",
		"ff ff 000000000000 00000001",
		"06 00 000000000000 00000000",
	} {
		f.Add(unhex(f, s), uint32(DefaultMaxFrame))
	}
	f.Fuzz(func(t *testing.T, b []byte, maxFrame uint32) {
		if len(b) < HeaderLen {
			return
		}
		h, err := ParseHeader(b, maxFrame)
		if err != nil {
			requireMalformed(t, err, err.(*Error).What)
			return
		}
		require.Equal(t, b[:HeaderLen], AppendHeader(nil, h))
		require.LessOrEqual(t, h.Length, maxFrame)
		require.LessOrEqual(t, h.Stream, uint64(MaxStreamID))
		require.True(t, h.Type.Known() || h.Type&Ignorable != 0)
	})
}

func FuzzFragmentHeader(f *testing.F) {
	f.Add(uint8(TypeRequest), uint8(FlagMore), uint32(13), unhex(f, "0000000000000001 00000002 61"))
	f.Add(uint8(TypeRequest), uint8(FlagNext), uint32(9), unhex(f, "0000000000000001 62"))
	f.Add(uint8(TypeMessage), uint8(0), uint32(8), unhex(f, "0000000000000001"))
	f.Add(uint8(TypeAck), uint8(0), uint32(7), unhex(f, "00000000000000"))
	f.Fuzz(func(t *testing.T, typ, flags uint8, length uint32, b []byte) {
		h := Header{Type: Type(typ), Flags: Flags(flags), Stream: 1, Length: length}
		h, err := ParseHeader(AppendHeader(nil, h), 1<<32-1)
		if err != nil || !h.Type.IsPacket() {
			return
		}
		p, err := ParseFragmentHeader(b, h)
		if err != nil {
			requireMalformed(t, err, h.Type.String())
			return
		}
		n := FragmentHeaderLen(h)
		require.Equal(t, b[:n], AppendFragmentHeader(nil, p, h.Flags))
		if n < FragmentLen {
			require.Equal(t, length-uint32(n), p.Total)
		} else {
			require.Greater(t, p.Total, length-uint32(n))
		}
	})
}
