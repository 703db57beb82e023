package packet

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// offer returns valid settings.
func offer() *Settings {
	return &Settings{
		MaxFrame: DefaultMaxFrame, MaxMessage: 1 << 20, MaxStreams: 100, Raw: 1 << 16,
		Messages: 1 << 15, Handlers: 1000, Large: 1 << 22,
	}
}

const offerJSON = `{"frame":65536,"message":1048576,"streams":100,"raw":65536,"messages":32768,"handlers":1000,"large":4194304}`

// open removes the header of a handshake packet.
func open(t testing.TB, b []byte, server bool) (packetID uint64, body []byte) {
	t.Helper()
	packetID, n, err := ParseHandshakeHeader(b, server)
	require.NoError(t, err)
	require.Len(t, b[HandshakeHeaderLen:], n)
	return packetID, b[HandshakeHeaderLen:]
}

func TestConn(t *testing.T) {
	featured := offer()
	featured.Features = []string{"a", "ü"}
	for _, c := range []struct {
		name string
		conn Conn
		json string
	}{
		{"nothing", Conn{}, `{}`},
		{"all numbers", Conn{PacketID: math.MaxUint64, ClientID: math.MaxUint64 - 1, HeartbeatExponent: 3}, `{}`},
		{"meta", Conn{Meta: []byte{0, 0xff, '<'}}, `{"meta":"AP88"}`},
		{"wire 2", Conn{PacketID: 1, HeartbeatExponent: 1, Settings: offer()}, `{"wire2":` + offerJSON + `}`},
		{"no methods", Conn{Methods: []string{}}, `{"methods":[]}`},
		{"methods", Conn{Methods: []string{"echo", "<ü>", "\""}, Settings: offer()},
			`{"methods":["echo","\u003cü\u003e","\""],"wire2":` + offerJSON + `}`},
		{"features", Conn{Meta: []byte("m"), Settings: featured},
			`{"meta":"bQ==","wire2":` + strings.TrimSuffix(offerJSON, "}") + `,"features":["a","ü"]}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := AppendConn([]byte("before"), c.conn)
			require.NoError(t, err)
			require.Equal(t, "before", string(b[:6]))
			b = b[6:]
			require.Equal(t, []byte{1, 1}, b[:2], "the first bytes, which proxies recognize")
			require.Equal(t, c.json, string(b[HandshakeHeaderLen+connLen:]))

			id, body := open(t, b, true)
			got, err := ParseConn(id, body)
			require.NoError(t, err)
			require.Equal(t, c.conn, got)
			for n := range body {
				_, err := ParseConn(id, body[:n])
				requireMalformed(t, err, "conn")
			}
		})
	}
}

func TestConnAck(t *testing.T) {
	for _, c := range []struct {
		name string
		ack  ConnAck
		json string
	}{
		{"nothing", ConnAck{}, `{}`},
		{"wire 2", ConnAck{PacketID: 7, ClientID: math.MaxUint64, Settings: offer()}, `{"wire2":` + offerJSON + `}`},
		{"methods", ConnAck{ClientID: 1, Methods: []string{"echo"}, Settings: offer()}, `{"methods":["echo"],"wire2":` + offerJSON + `}`},
		{"refused", ConnAck{PacketID: 7, Refused: true, Code: 8, Error: "wire <2> only"},
			`{"error":"wire \u003c2\u003e only","code":8}`},
		{"refused for now", ConnAck{Refused: true, Code: 6, Error: "full", Retry: 1500 * time.Millisecond},
			`{"error":"full","code":6,"retry":1500}`},
		{"refused without a text", ConnAck{Refused: true}, `{}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := AppendConnAck([]byte("before"), c.ack)
			require.NoError(t, err)
			require.Equal(t, "before", string(b[:6]))
			b = b[6:]
			require.Equal(t, []byte{1, 2}, b[:2])
			require.Equal(t, c.json, string(b[HandshakeHeaderLen+connAckLen:]))

			id, body := open(t, b, false)
			got, err := ParseConnAck(id, body)
			require.NoError(t, err)
			require.Equal(t, c.ack, got)
			for n := range body {
				_, err := ParseConnAck(id, body[:n])
				requireMalformed(t, err, "connack")
			}
		})
	}
}

// TestWire1 parses packets of deployed peers, and encodes them to the same bytes.
func TestWire1(t *testing.T) {
	b := unhex(t, "01 01 6b02ef1e644f8bd8 00000019 18 00 1122334455667788 7b226d657461223a226254453d227d")
	id, body := open(t, b, true)
	c, err := ParseConn(id, body)
	require.NoError(t, err)
	assert.Equal(t, Conn{PacketID: 0x6b02ef1e644f8bd8, ClientID: 0x1122334455667788, HeartbeatExponent: 1, Meta: []byte("m1")}, c)
	again, err := AppendConn(nil, c)
	require.NoError(t, err)
	assert.Equal(t, b, again)

	for _, a := range []struct {
		bytes string
		want  ConnAck
	}{
		{"01 02 6b02ef1e644f8bd8 0000000b 00 1122334455667788 7b7d",
			ConnAck{PacketID: 0x6b02ef1e644f8bd8, ClientID: 0x1122334455667788}},
		{"01 02 6b02ef20b2ff23fd 0000001d 01 0000000000000000 7b226572726f72223a2272656a6563746564227d",
			ConnAck{PacketID: 0x6b02ef20b2ff23fd, Refused: true, Error: "rejected"}},
	} {
		b := unhex(t, a.bytes)
		id, body := open(t, b, false)
		got, err := ParseConnAck(id, body)
		require.NoError(t, err)
		assert.Equal(t, a.want, got)
		again, err := AppendConnAck(nil, got)
		require.NoError(t, err)
		assert.Equal(t, b, again)
	}
}

// connBody returns the body of a Conn with a JSON text, ackBody that of a ConnAck.
func connBody(object string) []byte {
	return append([]byte{connAcquire, 0, 0, 0, 0, 0, 0, 0, 0, 9}, object...)
}

func ackBody(refused byte, object string) []byte {
	return append([]byte{refused, 0, 0, 0, 0, 0, 0, 0, 9}, object...)
}

// offerWith returns offerJSON with one text replaced by another.
func offerWith(t *testing.T, old, replacement string) string {
	t.Helper()
	require.Contains(t, offerJSON, old)
	return `{"wire2":` + strings.Replace(offerJSON, old, replacement, 1) + `}`
}

func TestHandshakeShort(t *testing.T) {
	for n := range connLen {
		_, err := ParseConn(1, make([]byte, n))
		requireMalformed(t, err, "conn", fmt.Sprintf("a field goes beyond the end at %d bytes", n))
	}
	for n := range connAckLen {
		_, err := ParseConnAck(1, make([]byte, n))
		requireMalformed(t, err, "connack", fmt.Sprintf("a field goes beyond the end at %d bytes", n))
	}
}

// TestConnFlags checks that flags that wire 2 does not use are accepted.
func TestConnFlags(t *testing.T) {
	for flags := range 256 {
		b := connBody(`{}`)
		b[0], b[1] = byte(flags), 0xee
		c, err := ParseConn(1, b)
		require.NoError(t, err)
		require.Equal(t, Conn{PacketID: 1, ClientID: 9, HeartbeatExponent: uint8(flags) >> 4 & 3}, c)
	}
}

func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		refused byte
		object  string
		want    ConnAck
	}{
		{1, `{"error":"no","code":6}`, ConnAck{Refused: true, Code: 6, Error: "no"}},
		{7, `{}`, ConnAck{Refused: true}},
		{0, `{"error":"no"}`, ConnAck{Refused: true, Error: "no"}},
		{0, `{"error":""}`, ConnAck{}},
		{1, `{"error":"no","wire2":{}}`, ConnAck{Refused: true, Error: "no", Settings: &Settings{}}}, // the offer of a refusal is not checked
	} {
		a, err := ParseConnAck(1, ackBody(c.refused, c.object))
		require.NoError(t, err)
		c.want.PacketID, c.want.ClientID = 1, 9
		assert.Equal(t, c.want, a)
	}
}

func TestOffer(t *testing.T) {
	for _, c := range []struct {
		change func(*Settings)
		text   string // the error; empty: none
	}{
		{func(w *Settings) { w.MaxFrame = 1024 }, ""},
		{func(w *Settings) { w.MaxFrame = 1023 }, "largest frame of 1023 bytes, need 1024"},
		{func(w *Settings) { w.MaxFrame = math.MaxUint32 }, ""},
		{func(w *Settings) { w.MaxStreams = 0 }, ""},
		{func(w *Settings) { w.Raw = 1 }, ""},
		{func(w *Settings) { w.Raw = 0 }, "first credit too small: raw 0, messages 32768, handlers 1000"},
		{func(w *Settings) { w.Messages = 1024 }, ""},
		{func(w *Settings) { w.Messages = 1023 }, "first credit too small: raw 65536, messages 1023"},
		{func(w *Settings) { w.Handlers = 0 }, "handlers 0"},
		{func(w *Settings) { w.Large = w.MaxMessage + MinLarge }, ""},
		{func(w *Settings) { w.Large = w.MaxMessage + MinLarge - 1 }, "credit of 1048735 for large messages of 1048576"},
		{func(w *Settings) { w.MaxMessage, w.Large = math.MaxUint32, math.MaxUint32 }, "credit of 4294967295 for large messages of 4294967295"},
		{func(w *Settings) { w.Requests = w.MaxMessage + MaxHead }, ""},
		{func(w *Settings) { w.Requests = 1 }, "credit of 1 for large requests of 1048576"},
		{func(w *Settings) { w.MaxMessage, w.Large = 0, MinLarge }, ""},
		{func(w *Settings) { w.Session = make([]byte, 32) }, ""},
		{func(w *Settings) { w.Session = make([]byte, 33) }, "session of 33 bytes, at most 32"},
	} {
		w := offer()
		c.change(w)
		b, err := AppendConn(nil, Conn{Settings: w})
		require.NoError(t, err)
		id, body := open(t, b, true)
		_, err = ParseConn(id, body)
		b, errAck := AppendConnAck(nil, ConnAck{ClientID: 1, Settings: w})
		require.NoError(t, errAck)
		id, body = open(t, b, false)
		_, errAck = ParseConnAck(id, body)
		if c.text == "" {
			assert.NoError(t, err)
			assert.NoError(t, errAck)
			continue
		}
		requireMalformed(t, err, "conn", c.text)
		requireMalformed(t, errAck, "connack", c.text)
	}
}

func TestHandshakeHeader(t *testing.T) {
	for _, c := range []struct {
		bytes  string
		server bool
		text   string
	}{
		{"01 01 0000000000000001 00000000", true, ""},
		{"01 01 0000000000000001 00010000", true, ""},
		{"01 02 0000000000000001 00010000", false, ""},
		{"01 01 0000000000000001 00000000", false, "malformed connack: it begins with 01 01, not with 01 02"},
		{"01 02 0000000000000001 00000000", true, "malformed conn: it begins with 01 02, not with 01 01"},
		{"02 01 0000000000000001 00000000", true, "it begins with 02 01"},
		{"47 45 54202f2048545450 2f312e31", true, "it begins with 47 45"}, // GET / HTTP/1.1
		{"16 03 0100000000000000 00000000", true, "it begins with 16 03"}, // TLS
	} {
		id, n, err := ParseHandshakeHeader(unhex(t, c.bytes), c.server)
		if c.text == "" {
			assert.NoError(t, err)
			assert.Equal(t, uint64(1), id)
			assert.Contains(t, []int{0, MaxHandshakeLen}, n)
			continue
		}
		assert.ErrorContains(t, err, c.text)
		assert.NotErrorIs(t, err, ErrPacketTooLarge)
	}
}

func TestHandshakeTooLarge(t *testing.T) {
	_, _, err := ParseHandshakeHeader(unhex(t, "01 01 0000000000000001 00010001"), true)
	requireMalformed(t, err, "conn", "length 65537 exceeds 65536")
	require.ErrorIs(t, err, ErrPacketTooLarge)
	_, _, err = ParseHandshakeHeader(unhex(t, "01 02 0000000000000001 ffffffff"), false)
	requireMalformed(t, err, "connack", "length 4294967295 exceeds 65536")
	require.ErrorIs(t, err, ErrPacketTooLarge)

	// The largest Meta is the base64 text that fits into 64 KiB together with {"meta":""}.
	largest := base64.StdEncoding.DecodedLen(MaxHandshakeLen-connLen-len(`{"meta":""}`)) / 3 * 3
	b, err := AppendConn(nil, Conn{Meta: make([]byte, largest)})
	require.NoError(t, err)
	id, body := open(t, b, true)
	require.LessOrEqual(t, len(body), MaxHandshakeLen)
	require.Greater(t, len(body), MaxHandshakeLen-4)
	c, err := ParseConn(id, body)
	require.NoError(t, err)
	require.Len(t, c.Meta, largest)

	b, err = AppendConn([]byte("before"), Conn{Meta: make([]byte, largest+1)})
	requireMalformed(t, err, "handshake", "exceeds 65536")
	require.ErrorIs(t, err, ErrPacketTooLarge)
	require.Equal(t, "before", string(b))
	_, err = AppendConnAck(nil, ConnAck{Refused: true, Error: strings.Repeat("x", MaxHandshakeLen)})
	require.ErrorIs(t, err, ErrPacketTooLarge)
}

// equalOffers compares offers. Empty and nil features are equal, as in JSON.
func equalOffers(a, b *Settings) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.Features, y.Features = nil, nil
	return fmt.Sprint(x) == fmt.Sprint(y) && slices.Equal(a.Features, b.Features)
}

func FuzzHandshakeHeader(f *testing.F) {
	f.Add(unhex(f, "01 01 6b02ef1e644f8bd8 00000019"), true)
	f.Add(unhex(f, "01 02 6b02ef1e644f8bd8 00010001"), false)
	f.Add([]byte("GET / HTTP/1.1"), true)
	f.Fuzz(func(t *testing.T, b []byte, server bool) {
		if len(b) < HandshakeHeaderLen {
			return
		}
		id, n, err := ParseHandshakeHeader(b, server)
		if err != nil {
			require.Contains(t, []string{"conn", "connack"}, err.(*Error).What)
			return
		}
		require.LessOrEqual(t, n, MaxHandshakeLen)
		typ := byte(typeConnAck)
		if server {
			typ = typeConn
		}
		want := unhex(t, fmt.Sprintf("01 %02x %016x %08x", typ, id, n))
		require.Equal(t, want, b[:HandshakeHeaderLen])
	})
}

// FuzzConn checks that a parsed packet has the same meaning when it is encoded and parsed again.
// The bytes may differ, because JSON has many forms.
func FuzzConn(f *testing.F) {
	f.Add(connBody(`{}`))
	f.Add(connBody(`{"meta":"bTE=","wire2":` + offerJSON + `,"other":0}`))
	f.Add(connBody(`{"meta":"bT`))
	f.Add(connBody(`{"metadata":"AQABa3Y="}`))
	f.Add(connBody(`{"meta":null,"wire2":null,"Wire2":{},"wire2":{"raw":1,"raw":2}}`))
	f.Add([]byte{0x18})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseConn(7, b)
		if err != nil {
			requireMalformed(t, err, "conn")
			return
		}
		again, err := AppendConn(nil, c)
		if err != nil {
			require.ErrorIs(t, err, ErrPacketTooLarge) // for instance because < becomes \u003c
			return
		}
		id, body := open(t, again, true)
		d, err := ParseConn(id, body)
		require.NoError(t, err)
		require.True(t, bytes.Equal(c.Meta, d.Meta) && equalOffers(c.Settings, d.Settings), "%+v and %+v", c, d)
		c.Meta, d.Meta, c.Settings, d.Settings = nil, nil, nil, nil
		require.Equal(t, c, d)
	})
}

// FuzzConnAck is FuzzConn for ConnAck.
func FuzzConnAck(f *testing.F) {
	f.Add(ackBody(0, `{}`))
	f.Add(ackBody(0, `{"wire2":`+offerJSON+`}`))
	f.Add(ackBody(1, `{"error":"rejected","code":1}`))
	f.Add(ackBody(1, `{"error":7}`))
	f.Add(ackBody(0, `{"metadata":"AQABa3Y="}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseConnAck(7, b)
		if err != nil {
			requireMalformed(t, err, "connack")
			return
		}
		again, err := AppendConnAck(nil, a)
		if err != nil {
			require.ErrorIs(t, err, ErrPacketTooLarge)
			return
		}
		id, body := open(t, again, false)
		c, err := ParseConnAck(id, body)
		require.NoError(t, err)
		require.True(t, equalOffers(a.Settings, c.Settings), "%+v and %+v", a, c)
		a.Settings, c.Settings = nil, nil
		require.Equal(t, a, c)
	})
}
