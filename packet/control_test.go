package packet

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// payload checks the header of the only frame in b and returns its payload.
func payload(t testing.TB, b []byte, typ Type, stream uint64) []byte {
	t.Helper()
	h, err := ParseHeader(b, MinMaxFrame)
	require.NoError(t, err)
	require.Equal(t, Header{Type: typ, Stream: stream, Length: uint32(len(b) - HeaderLen)}, h)
	return b[HeaderLen:]
}

// requireExact checks that parse accepts neither less nor more bytes than p.
func requireExact(t testing.TB, what string, p []byte, parse func([]byte) error) {
	t.Helper()
	require.NoError(t, parse(p))
	for n := range p {
		requireMalformed(t, parse(p[:n]), what, fmt.Sprintf("payload of %d bytes, need %d", n, len(p)))
	}
	requireMalformed(t, parse(append(p, 0)), what, fmt.Sprintf("payload of %d bytes, need %d", len(p)+1, len(p)))
}

func TestPing(t *testing.T) {
	for _, typ := range []Type{TypePing, TypePong} {
		b := AppendPing(nil, typ, 0x0102030405060708)
		assert.Equal(t, unhex(t, fmt.Sprintf("%02x 00 000000000000 00000008 0102030405060708", uint8(typ))), b)
		p := payload(t, b, typ, 0)
		v, err := ParsePing(typ, p)
		require.NoError(t, err)
		assert.Equal(t, uint64(0x0102030405060708), v)
		requireExact(t, typ.String(), p, func(b []byte) error { _, err := ParsePing(typ, b); return err })
	}
}

func TestCredit(t *testing.T) {
	b := AppendCredit(nil, 9, Credit{ClassMessages, 0x01020304})
	assert.Equal(t, unhex(t, "05 00 000000000009 00000005 01 01020304"), b)
	requireExact(t, "credit", payload(t, b, TypeCredit, 9), func(b []byte) error { _, err := ParseCredit(b, 9); return err })

	for _, c := range []struct {
		class                  Class
		name                   string
		onStream, onConnection bool
	}{
		{ClassRaw, "raw bytes", true, false},
		{ClassMessages, "messages", true, false},
		{ClassHandlers, "handlers", false, true},
		{ClassLargeMessages, "large messages", true, true},
		{ClassLargeRequests, "large requests", false, true},
		{ClassLargeResponses, "large responses", false, true},
	} {
		assert.Equal(t, c.name, c.class.String())
		assert.Equal(t, c.onStream && !c.onConnection, c.class < StreamClasses)
		for stream, legal := range map[uint64]bool{0: c.onConnection, 1: c.onStream, MaxStreamID: c.onStream} {
			for _, amount := range []uint32{1, math.MaxUint32} {
				want := Credit{c.class, amount}
				p := payload(t, AppendCredit(nil, stream, want), TypeCredit, stream)
				got, err := ParseCredit(p, stream)
				if !legal {
					requireMalformed(t, err, "credit", fmt.Sprintf("%s on stream %d", c.name, stream))
					continue
				}
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
		}
	}

	_, err := ParseCredit(unhex(t, "00 00000000"), 1)
	requireMalformed(t, err, "credit", "an amount of 0")
	_, err = ParseCredit(unhex(t, "06 00000001"), 0)
	requireMalformed(t, err, "credit", "unknown class 6")
	_, err = ParseCredit(unhex(t, "ff 00000001"), 1)
	requireMalformed(t, err, "credit", "unknown class 255")
	assert.Equal(t, "unknown class", Classes.String())
}

func TestReason(t *testing.T) {
	b := AppendReason(nil, TypeReset, 5, Reason{Code: 6, Retry: 1500 * time.Millisecond, Text: "no"})
	assert.Equal(t, unhex(t, "15 00 000000000005 0000000a 00000006 000005dc 6e6f"), b)

	for _, typ := range []Type{TypeGoAway, TypeClose, TypeRefuse, TypeStop, TypeReset} {
		stream := uint64(3)
		if typ < TypeCredit {
			stream = 0
		}
		for _, n := range []Reason{
			{},
			{Code: math.MaxUint32},
			{Code: 1, Text: "größer"},
			{Code: 9, Retry: math.MaxUint32 * time.Millisecond, Text: strings.Repeat("x", MaxText)},
		} {
			p := payload(t, AppendReason(nil, typ, stream, n), typ, stream)
			require.Len(t, p, reasonLen+len(n.Text))
			got, err := ParseReason(typ, p)
			require.NoError(t, err)
			require.Equal(t, n, got)
		}

		p := make([]byte, reasonLen+MaxText+1)
		for n := range reasonLen {
			_, err := ParseReason(typ, p[:n])
			requireMalformed(t, err, typ.String(), fmt.Sprintf("payload of %d bytes, need 8", n))
		}
		_, err := ParseReason(typ, p)
		requireMalformed(t, err, typ.String(), "length 521 exceeds 520")
		require.ErrorIs(t, err, ErrPacketTooLarge)
	}
}

// TestReasonLimits encodes reasons that do not fit their fields.
func TestReasonLimits(t *testing.T) {
	full := strings.Repeat("x", MaxText)
	for _, c := range []struct{ in, want Reason }{
		{Reason{Retry: -time.Hour}, Reason{}},
		{Reason{Retry: time.Millisecond - 1}, Reason{}},
		{Reason{Retry: math.MaxInt64}, Reason{Retry: math.MaxUint32 * time.Millisecond}},
		{Reason{Text: full + "y"}, Reason{Text: full}},
		{Reason{Text: full[1:] + "ä"}, Reason{Text: full[1:]}},
		{Reason{Text: full[2:] + "ä" + "y"}, Reason{Text: full[2:] + "ä"}},
		{Reason{Text: full[3:] + "\U0001f600"}, Reason{Text: full[3:]}},
		{Reason{Text: full[4:] + "\U0001f600" + "y"}, Reason{Text: full[4:] + "\U0001f600"}},
		{Reason{Text: strings.Repeat("\x80", 600)}, Reason{Text: strings.Repeat("\x80", MaxText-utf8.UTFMax)}},
	} {
		p := payload(t, AppendReason(nil, TypeStop, 1, c.in), TypeStop, 1)
		got, err := ParseReason(TypeStop, p)
		require.NoError(t, err)
		assert.Equal(t, c.want, got)
	}
}

func TestAccept(t *testing.T) {
	b := AppendAccept(nil, 2, Windows{Raw: 0x01020304, Messages: 0x05060708})
	assert.Equal(t, unhex(t, "11 00 000000000002 00000008 01020304 05060708"), b)
	p := payload(t, b, TypeAccept, 2)
	w, err := ParseAccept(p)
	require.NoError(t, err)
	assert.Equal(t, Windows{0x01020304, 0x05060708}, w)
	requireExact(t, "accept", p, func(b []byte) error { _, err := ParseAccept(b); return err })
}

func TestOpen(t *testing.T) {
	b := AppendOpen(nil, 3, Open{Windows: Windows{0x01020304, 0x05060708}, Peer: "peer", Meta: []byte("meta")})
	assert.Equal(t, unhex(t, "10 00 000000000003 00000012 01020304 05060708 0004 70656572 6d657461"), b)

	for _, o := range []Open{
		{Meta: []byte{}},
		{Windows: Windows{1, 2}, Peer: "p", Meta: []byte{}},
		{Windows: Windows{1, 2}, Meta: []byte("only meta")},
		{Windows: Windows{math.MaxUint32, math.MaxUint32}, Peer: strings.Repeat("p", MaxPeer), Meta: make([]byte, 1000)},
		{Peer: "p", Metadata: someMetadata, Meta: []byte("m")},
		{Metadata: someMetadata, Meta: []byte{}},
	} {
		b := AppendOpen([]byte("before"), 7, o)[6:]
		require.Len(t, b, HeaderLen+o.Size())
		h, err := ParseHeader(b, 1<<20)
		require.NoError(t, err)
		require.Equal(t, Header{Type: TypeOpen, Stream: 7, Length: uint32(o.Size())}, h)
		p := b[HeaderLen:]
		got, err := ParseOpen(p)
		require.NoError(t, err)
		require.Equal(t, o, got)

		// The end of Meta has no length of its own, so a cut there is not detected.
		head := o.Overhead() + len(o.Peer) + len(o.Metadata)
		for n := range head {
			_, err := ParseOpen(p[:n])
			requireMalformed(t, err, "open", fmt.Sprintf("beyond the end at %d bytes", n))
		}
		got, err = ParseOpen(p[:head])
		require.NoError(t, err)
		require.Empty(t, got.Meta)
	}
}

func FuzzPing(f *testing.F) {
	f.Add(uint8(TypePing), unhex(f, "0102030405060708"))
	f.Add(uint8(TypePong), unhex(f, "01020304050607"))
	f.Fuzz(func(t *testing.T, typ uint8, b []byte) {
		v, err := ParsePing(Type(typ), b)
		if err != nil {
			requireMalformed(t, err, Type(typ).String())
			return
		}
		require.Equal(t, b, AppendPing(nil, Type(typ), v)[HeaderLen:])
	})
}

func FuzzCredit(f *testing.F) {
	f.Add(uint64(1), unhex(f, "00 00000001"))
	f.Add(uint64(0), unhex(f, "02 ffffffff"))
	f.Add(uint64(0), unhex(f, "05 00000000"))
	f.Fuzz(func(t *testing.T, stream uint64, b []byte) {
		c, err := ParseCredit(b, stream)
		if err != nil {
			requireMalformed(t, err, "credit")
			return
		}
		require.NotZero(t, c.Amount)
		require.Equal(t, b, AppendCredit(nil, stream, c)[HeaderLen:])
	})
}

func FuzzReason(f *testing.F) {
	f.Add(uint8(TypeClose), unhex(f, "00000000 00000000"))
	f.Add(uint8(TypeReset), unhex(f, "00000009 000005dc 6e6f"))
	f.Add(uint8(TypeGoAway), make([]byte, reasonLen+MaxText+1))
	f.Fuzz(func(t *testing.T, typ uint8, b []byte) {
		n, err := ParseReason(Type(typ), b)
		if err != nil {
			requireMalformed(t, err, Type(typ).String())
			return
		}
		require.Equal(t, b, AppendReason(nil, Type(typ), 1, n)[HeaderLen:])
	})
}

func FuzzAccept(f *testing.F) {
	f.Add(unhex(f, "00010000 00008000"))
	f.Add(unhex(f, "00010000 000080"))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := ParseAccept(b)
		if err != nil {
			requireMalformed(t, err, "accept")
			return
		}
		require.Equal(t, b, AppendAccept(nil, 1, w)[HeaderLen:])
	})
}

func FuzzOpen(f *testing.F) {
	f.Add(unhex(f, "00010000 00008000 0004 70656572 6d657461"))
	f.Add(unhex(f, "00010000 00008000 0000"))
	f.Add(unhex(f, "00010000 00008000 ffff 70656572"))
	f.Add(unhex(f, "00010000 00008000 8004 00000005 70656572 01 0001 6b 76 6d657461"))
	f.Add(unhex(f, "00010000 00008000 8000 00000000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOpen(b)
		if err != nil {
			requireMalformed(t, err, "open")
			return
		}
		require.Equal(t, len(b), o.Size())
		require.Equal(t, b, AppendOpen(nil, 1, o)[HeaderLen:])
	})
}

// The longest frames of each type that is not fragmented fit the smallest limit.
func TestControlFitsTheSmallestFrame(t *testing.T) {
	text := strings.Repeat("x", 2*MinMaxFrame)
	n := Reason{Text: text}
	a := Answer{Text: text}
	for name, size := range map[string]int{
		"notice": len(AppendReason(nil, TypeStop, 1, n)) - HeaderLen,
		"answer": 8 + len(a.Append(nil)),
		"accept": len(AppendAccept(nil, 3, Windows{})) - HeaderLen,
		"credit": len(AppendCredit(nil, 3, Credit{})) - HeaderLen,
		"ping":   len(AppendPing(nil, TypePing, 1)) - HeaderLen,
	} {
		assert.LessOrEqual(t, size, MinMaxFrame, name)
	}
}
