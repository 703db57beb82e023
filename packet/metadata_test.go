package packet

import (
	"encoding/base64"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/internal/pairs"
)

// someMetadata has two pairs, one with a binary value.
var someMetadata = pairs.List{}.Append("k", "v").Append("k-", "\x00\n\xff")

// TestUnframedMetadata parses bodies with metadata whose length is not that of its pairs.
func TestUnframedMetadata(t *testing.T) {
	const unframed = "the length of its metadata is not that of its pairs"
	const ids = "0000000000000001 0000000000000000 "
	for _, c := range []struct{ what, bytes string }{
		{"request", ids + "0001 80000000 00000000 6d"},
		{"request", ids + "0001 80000000 00000001 6d 01"},
		{"request", ids + "0001 80000000 00000004 6d 01 0001 6b 76"},
		{"request", ids + "0001 80000000 00000006 6d 01 0001 6b 76 6b"},
		{"response", "00000000 00000000 80000000 00000000"},
		{"response", "00000000 00000000 80000000 00000005 02 0001 6b 76"},
		{"message", ids + "02 0000 80000000 00000005 ff ffff 6b 76"},
		{"message", ids + "02 0000 80000000 00000000"},
	} {
		_, _, err := bodies[c.what](unhex(t, c.bytes))
		requireMalformed(t, err, c.what, unframed)
	}
	for _, bytes := range []string{
		"00000001 00000400 8000 00000000",
		"00000001 00000400 8001 00000004 70 01 0001 6b 76",
	} {
		_, err := ParseOpen(unhex(t, bytes))
		requireMalformed(t, err, "open", unframed)
	}
	b64 := base64.StdEncoding.EncodeToString([]byte{1, 0, 1, 'k'})
	_, err := ParseConn(1, connBody(`{"metadata":"`+b64+`"}`))
	requireMalformed(t, err, "conn", unframed)
	_, err = ParseConnAck(1, ackBody(0, `{"metadata":"`+b64+`"}`))
	requireMalformed(t, err, "connack", unframed)
}

// TestMetadataBeyondTheEnd parses bodies whose metadata exceeds the body.
func TestMetadataBeyondTheEnd(t *testing.T) {
	for _, c := range []struct{ what, bytes string }{
		{"request", "0000000000000001 0000000000000000 0001 80000000"},
		{"request", "0000000000000001 0000000000000000 0001 80000000 00000006 6d 01 0001 6b 76"},
		{"response", "00000000 00000000 80000000 ffffffff 01 0001 6b 76"},
	} {
		_, _, err := bodies[c.what](unhex(t, c.bytes))
		requireMalformed(t, err, c.what, "a field goes beyond the end")
	}
	_, err := ParseOpen(unhex(t, "00000001 00000400 8000 00000006 01 0001 6b 76"))
	requireMalformed(t, err, "open", "a field goes beyond the end")
}

func TestCheckMetadata(t *testing.T) {
	many := pairs.List{}
	for range pairs.MaxPairs {
		many = many.Append("k", "")
	}
	require.NoError(t, CheckMetadata("open", nil, 0))
	require.NoError(t, CheckMetadata("open", someMetadata, uint32(len(someMetadata))))
	require.NoError(t, CheckMetadata("open", many, math.MaxUint32))
	err := CheckMetadata("open", someMetadata, uint32(len(someMetadata)-1))
	requireMalformed(t, err, "open", "metadata of 13 bytes, at most 12")
	require.ErrorIs(t, err, ErrPacketTooLarge)
	requireMalformed(t, CheckMetadata("open", many.Append("k", ""), math.MaxUint32), "open", "more than 1024 pairs")
	for key, want := range map[string]string{
		"":               `the key is empty`,
		"Key":            `key "Key": the key has the upper-case letter 'K'`,
		"a\x00":          `key "a\x00": the key has the character '\x00'`,
		"a b":            `the character ' '`,
		"ü":              `the character 'Ã'`,
		"a:":             `the character ':'`,
		"(binary)\xff\n": `the character '('`,
	} {
		requireMalformed(t, CheckMetadata("open", pairs.List{}.Append(key, "v"), 1000), "open", want)
	}
}

// TestHandshakeContent checks that the largest meta and metadata fit into the handshake with the
// longest form of everything else.
func TestHandshakeContent(t *testing.T) {
	most := uint32(math.MaxUint32)
	settings := &Settings{
		most, most, most, most, most, most, most, most, most, make([]byte, MaxSession), most, most, []string{FeatureResume},
	}
	value := strings.Repeat("v", 20000-pairs.Overhead-1)
	for meta := MaxHandshakeContent - 20000; meta > MaxHandshakeContent-20003; meta-- {
		value, md := value+"vvv"[:MaxHandshakeContent-20000-meta], pairs.List(nil)
		md = md.Append("k", value)
		require.Equal(t, MaxHandshakeContent, meta+len(md))
		_, err := AppendConn(nil, Conn{
			Meta: make([]byte, meta), Metadata: md, Settings: settings,
			Resume: &Resume{ID: make([]byte, TicketIDLen), Attempt: math.MaxUint64, Received: math.MaxUint64, Proof: make([]byte, ProofLen)},
		})
		assert.NoError(t, err)
	}
	resumed := &Resumed{Received: math.MaxUint64, Proof: make([]byte, ProofLen)}
	b, err := AppendConnAck(nil, ConnAck{
		Metadata: pairs.List(make([]byte, MaxHandshakeContent)), Settings: settings, Ended: resumed, Resumed: resumed,
		Ticket: &Ticket{ID: make([]byte, TicketIDLen), Secret: make([]byte, SecretLen), Keep: most},
	})
	require.NoError(t, err)
	assert.Less(t, len(b), MaxHandshakeLen)
}

func TestMetadataInHandshakes(t *testing.T) {
	c := Conn{PacketID: 1, Metadata: someMetadata, Settings: offer()}
	b, err := AppendConn(nil, c)
	require.NoError(t, err)
	got, err := ParseConn(1, b[HandshakeHeaderLen:])
	require.NoError(t, err)
	assert.Equal(t, c, got)
	a := ConnAck{PacketID: 1, ClientID: 7, Metadata: someMetadata, Settings: offer()}
	b, err = AppendConnAck(nil, a)
	require.NoError(t, err)
	ack, err := ParseConnAck(1, b[HandshakeHeaderLen:])
	require.NoError(t, err)
	assert.Equal(t, a, ack)
}

// FuzzMetadata checks that a list of complete pairs is that of its decoded pairs, and that
// CheckMetadata accepts what package metadata would send.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte(someMetadata))
	f.Add(unhex(f, "01 0001 6b 76 01 0001 6b 77"))
	f.Add(unhex(f, "00 0000"))
	f.Add(unhex(f, "01 0001 4b 76"))
	f.Add(unhex(f, "01 ffff 6b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := pairs.List(b)
		again, n := pairs.List{}, 0
		for key, value := range l.All() {
			again = again.Append(string(key), string(value))
			n++
		}
		require.Equal(t, l.Framed(), string(again) == string(b))
		require.Equal(t, n, l.Len())
		if !l.Framed() {
			return
		}
		if CheckMetadata("request", l, math.MaxUint32) != nil {
			return
		}
		sorted := pairs.Encode(l.Decode())
		require.Len(t, sorted, len(l))
		require.NoError(t, CheckMetadata("request", sorted, uint32(len(l))))
		require.Equal(t, l.Decode(), sorted.Decode())
	})
}
