package wire1

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
)

// vector is a packet of a deployed peer.
type vector struct {
	name string
	hex  string // the header and the fixed fields; blanks and "|" are ignored
	tail string // the rest of the body
	want Packet
}

const noDeadlines = `"deadline":"0001-01-01T00:00:00Z","context":{"deadline":"0001-01-01T00:00:00Z"}}`

// vectors were captured from running peers of releases 1.1 and 1.3.
var vectors = []vector{
	{"conn", "01 01 6b02ef1e644f8bd8 00000019 | 18 00 1122334455667788", `{"meta":"bTE="}`, Packet{
		Type: TypeConn, ID: 0x6b02ef1e644f8bd8, Flags: 0x18, Client: 0x1122334455667788, Meta: []byte("m1"),
	}},
	{"connack", "01 02 6b02ef1e644f8bd8 0000000b | 00 1122334455667788", `{}`, Packet{
		Type: TypeConnAck, ID: 0x6b02ef1e644f8bd8, Client: 0x1122334455667788,
	}},
	{"connack refused", "01 02 6b02ef20b2ff23fd 0000001d | 01 0000000000000000", `{"error":"rejected"}`, Packet{
		Type: TypeConnAck, ID: 0x6b02ef20b2ff23fd, Code: 1, Error: "rejected",
	}},
	{"register", "01 81 6b02ef1e4b9ee23d 0000000c | 0000000000000001", `echo`, Packet{
		Type: TypeRegister, ID: 0x6b02ef1e4b9ee23d, Session: 1, Raw: []byte("echo"),
	}},
	{"registerack", "01 82 6b02ef1e4b9ee23d 0000000a | 0000000000000001", `{}`, Packet{
		Type: TypeRegisterAck, ID: 0x6b02ef1e4b9ee23d, Session: 1,
	}},
	{"request", "01 71 6b02ef1e644f8bda 00000093 | 0000000000000001",
		`{"key":"ZWNobw==","value":"aGk=","custom":"Y3U=","deadline":"2026-11-22T13:33:23.809469561Z","context":{"deadline":"0001-01-01T00:00:00Z"}}`,
		Packet{
			Type: TypeRequest, ID: 0x6b02ef1e644f8bda, Session: 1, Content: Content{
				Key: []byte("echo"), Value: []byte("hi"), Custom: []byte("cu"),
				Deadline: time.Date(2026, 11, 22, 13, 33, 23, 809469561, time.UTC),
			},
		}},
	{"response of an unknown method", "01 72 6b02ef1e644f8be2 00000086 | 0000000000000001",
		`{"key":"bm9wZQ==","error":"no such rpc: nope",` + noDeadlines, Packet{
			Type: TypeResponse, ID: 0x6b02ef1e644f8be2, Session: 1, Error: "no such rpc: nope", Content: Content{Key: []byte("nope")},
		}},
	{"message", "01 51 6b02ef1f644f8bee 00000088 | 0000000000000001",
		`{"value":"aGVsbG8=","topic":"t","custom":"Y3U=",` + noDeadlines, Packet{
			Type: TypeMessage, ID: 0x6b02ef1f644f8bee, Session: 1,
			Content: Content{Value: []byte("hello"), Topic: "t", Custom: []byte("cu")},
		}},
	{"messageack", "01 52 6b02ef1f644f8bee 00000059 | 0000000000000001", `{` + noDeadlines, Packet{
		Type: TypeMessageAck, ID: 0x6b02ef1f644f8bee, Session: 1,
	}},
	{"session of a client", "01 31 6b02ef1f644f8bfa 00000025 | 00 10 6b02ef1fa70cf620", `{"meta":"c20=","peer":"pp"}`, Packet{
		Type: TypeSession, ID: 0x6b02ef1f644f8bfa, Flags: FlagAcquireSession, Negotiate: 0x6b02ef1fa70cf620,
		Meta: []byte("sm"), Peer: "pp",
	}},
	{"sessionack", "01 32 6b02ef1f644f8bfa 00000014 | 0000 6b02ef1fa70cf620 6b02ef1f73b04de9", `{}`, Packet{
		Type: TypeSessionAck, ID: 0x6b02ef1f644f8bfa, Negotiate: 0x6b02ef1fa70cf620, Session: 0x6b02ef1f73b04de9,
	}},
	{"session of a server", "01 31 6b02ef1f4b9ee241 0000000c | 00 00 6b02ef1f73b04deb", `{}`, Packet{
		Type: TypeSession, ID: 0x6b02ef1f4b9ee241, Negotiate: 0x6b02ef1f73b04deb,
	}},
	{"stream", "01 61 6b02ef1f644f8bfc 0000000c | 6b02ef1f73b04de9 72617721", "", Packet{
		Type: TypeStream, ID: 0x6b02ef1f644f8bfc, Session: 0x6b02ef1f73b04de9, Raw: []byte("raw!"),
	}},
	{"dismiss", "01 41 6b02ef1f644f8c00 0000000a | 6b02ef1f73b04de9", `{}`, Packet{
		Type: TypeDismiss, ID: 0x6b02ef1f644f8c00, Session: 0x6b02ef1f73b04de9,
	}},
	{"dismissack", "01 42 6b02ef1f644f8c00 0000000a | 6b02ef1f73b04de9", `{}`, Packet{
		Type: TypeDismissAck, ID: 0x6b02ef1f644f8c00, Session: 0x6b02ef1f73b04de9,
	}},
	{"disconn", "01 11 6b02ef1e4b9ee249 00000000", "", Packet{Type: TypeDisConn, ID: 0x6b02ef1e4b9ee249}},
	{"disconnack", "01 12 6b02ef1e4b9ee249 00000003 | 00", `{}`, Packet{Type: TypeDisConnAck, ID: 0x6b02ef1e4b9ee249}},
	{"requestcancel", "01 73 6b02ef3815778aa0 0000000a | 0000000000000001 0001", "", Packet{
		Type: TypeRequestCancel, ID: 0x6b02ef3815778aa0, Session: 1, Kind: KindCanceled,
	}},
	{"heartbeat", "01 21 6b02ef1e644f8bd9 00000000", "", Packet{Type: TypeHeartbeat, ID: 0x6b02ef1e644f8bd9}},
	{"heartbeatack", "01 22 6b02ef1e644f8bd9 00000000", "", Packet{Type: TypeHeartbeatAck, ID: 0x6b02ef1e644f8bd9}},
}

// bytes returns the bytes of the packet.
func (v vector) bytes(t testing.TB) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "|", "").Replace(v.hex))
	require.NoError(t, err, v.name)
	return append(b, v.tail...)
}

// parse parses a packet that is all of b.
func parse(b []byte) (Packet, error) {
	if len(b) < HeaderLen {
		return Packet{}, malformed("header", "%d bytes", len(b))
	}
	h, err := ParseHeader(b)
	if err != nil {
		return Packet{}, err
	}
	body := b[HeaderLen:]
	if len(body) != int(h.Length) {
		return Packet{}, malformed(h.Type.String(), "body of %d bytes, announced are %d", len(body), h.Length)
	}
	return Parse(h, body)
}

func TestVectors(t *testing.T) {
	seen := make(map[Type]bool)
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			b := v.bytes(t)
			p, err := parse(b)
			require.NoError(t, err)
			assert.Equal(t, v.want, p, "decoded")
			assert.Equal(t, b, Append(nil, v.want), "encoded")
			assert.Equal(t, append([]byte("before"), b...), Append([]byte("before"), v.want), "appended to other bytes")
		})
		seen[v.want.Type] = true
	}
	for typ := range layouts {
		assert.True(t, seen[typ], "no vector of type %v", typ)
	}
}

// Parsing a body that is cut fails, unless the rest is raw bytes. It never panics.
func TestTruncatedVectors(t *testing.T) {
	for _, v := range vectors {
		b := v.bytes(t)
		raw := layouts[v.want.Type].tail == tailRaw
		for n := HeaderLen; n < len(b); n++ {
			_, err := parse(cutTo(b, n))
			if raw && n >= HeaderLen+8 {
				assert.NoError(t, err, "%s: %d bytes of raw ones", v.name, n)
				continue
			}
			var bad *packet.Error
			assert.ErrorAs(t, err, &bad, "%s: %d bytes", v.name, n)
		}
	}
}

// cutTo returns the first n bytes of a packet, with a header for this length.
func cutTo(b []byte, n int) []byte {
	short := append([]byte(nil), b[:n]...)
	short[10], short[11], short[12], short[13] = 0, 0, 0, byte(n-HeaderLen)
	return short
}

func TestHeaderRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		header string
		want   string
	}{
		{"another version", "02 71 0000000000000001 00000010", "malformed header: version 0x02, not 0x01"},
		{"an unknown type", "01 91 0000000000000001 00000010", "malformed header: unknown type 0x91 (this is wire 1)"},
		{"a heartbeat with a body", "01 21 0000000000000001 00000001", "malformed heartbeat: body of 1 bytes, at most 0"},
		{"a disconn with a body", "01 11 0000000000000001 ffffffff", "malformed disconn: body of 4294967295 bytes, at most 0"},
		{"a cancel without its kind", "01 73 0000000000000001 00000008", "malformed requestcancel: body of 8 bytes, need 10"},
		{"a cancel with half its kind", "01 73 0000000000000001 00000009", "malformed requestcancel: body of 9 bytes, need 10"},
		{"a connack without its id", "01 02 0000000000000001 00000008", "malformed connack: body of 8 bytes, need 11"},
		{"a conn that would underflow", "01 01 0000000000000001 00000009", "malformed conn: body of 9 bytes, need 12"},
		{"a disconnack without its code", "01 12 0000000000000001 00000000", "malformed disconnack: body of 0 bytes, need 3"},
		{"a session without its number", "01 31 0000000000000001 00000009", "malformed session: body of 9 bytes, need 12"},
		{"a sessionack without its number", "01 32 0000000000000001 00000011", "malformed sessionack: body of 17 bytes, need 20"},
		{"a dismiss without its session", "01 41 0000000000000001 00000007", "malformed dismiss: body of 7 bytes, need 10"},
		{"a message without its object", "01 51 0000000000000001 00000008", "malformed message: body of 8 bytes, need 10"},
		{"raw bytes without a session", "01 61 0000000000000001 00000007", "malformed stream: body of 7 bytes, need 8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := hex.DecodeString(strings.ReplaceAll(c.header, " ", ""))
			require.NoError(t, err)
			_, err = ParseHeader(b)
			assert.EqualError(t, err, c.want)
		})
	}
}

func TestObjects(t *testing.T) {
	request := func(object string) (Packet, error) {
		return Parse(Header{Type: TypeRequest}, append(make([]byte, 8), object...))
	}
	t.Run("unknown keys mean nothing", func(t *testing.T) {
		p, err := request(`{"future":[{"a":[1,2,{}]}],"value":"aGk=","timeout":5000000000}`)
		require.NoError(t, err)
		assert.Equal(t, []byte("hi"), p.Value)
		assert.True(t, p.Deadline.IsZero() && p.ContextDeadline.IsZero())
	})
	t.Run("text is escaped as it always was", func(t *testing.T) {
		b := Append(nil, Packet{Type: TypeMessage, Content: Content{Topic: "<a&b>\xff\u2028"}})
		assert.Contains(t, string(b), `"topic":"\u003ca\u0026b\u003e\ufffd\u2028"`)
		p, err := parse(b)
		require.NoError(t, err)
		assert.Equal(t, "<a&b>\ufffd\u2028", p.Topic)
	})
	t.Run("a deadline that JSON cannot have is cut", func(t *testing.T) {
		far := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(9000, 0, 0)
		p, err := parse(Append(nil, Packet{Type: TypeRequest, Content: Content{Deadline: far, ContextDeadline: far}}))
		require.NoError(t, err)
		assert.Equal(t, 9999, p.Deadline.Year())
		assert.Equal(t, 9999, p.ContextDeadline.Year())
	})
	for name, object := range map[string]string{
		"empty":            ``,
		"no object":        `1`,
		"cut off":          `{"value":"aGk="`,
		"trailing":         `{} {}`,
		"no base64":        `{"value":"a"}`,
		"a number as text": `{"topic":1}`,
		"no time":          `{"deadline":"soon"}`,
		"deep":             `{"a":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `}`,
		"deeper":           strings.Repeat(`{"context":`, 1<<18),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := request(object)
			var bad *packet.Error
			assert.ErrorAs(t, err, &bad)
		})
	}
}

func TestPeriod(t *testing.T) {
	assert.Equal(t, 20*time.Second, Period(0x18), "the flags of deployed clients")
	assert.Equal(t, 5*time.Second, Period(0x0f))
	assert.Equal(t, 80*time.Second, Period(0x20))
	assert.Equal(t, 320*time.Second, Period(0xff))
}

func TestTypeNames(t *testing.T) {
	assert.Equal(t, "sessionack", TypeSessionAck.String())
	assert.Equal(t, "type 0x99", Type(0x99).String())
	assert.False(t, Type(0x99).Known())
	assert.True(t, TypeConn.Known())
}

// FuzzPacket decodes packets. Encoding and decoding the result again must give the same packet.
func FuzzPacket(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.bytes(f))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parse(b)
		if err != nil {
			return
		}
		first := Append(nil, p)
		again, err := parse(first)
		if err != nil {
			t.Fatalf("%+v\nencoded as %q: %v", p, first, err)
		}
		if second := Append(nil, again); string(first) != string(second) {
			t.Fatalf("encoded as %q\nthen as %q", first, second)
		}
	})
}
