package packet

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// head is a body that can append its head.
type head interface {
	Append([]byte) []byte
	HeadSize() int
}

// bodies has a parser for each kind of body. The parser returns the body, and the data behind
// the head if the kind has data.
var bodies = map[string]func([]byte) (head, []byte, error){
	"request":  func(b []byte) (head, []byte, error) { p, err := ParseRequest(b); return &p, p.Data, err },
	"response": func(b []byte) (head, []byte, error) { p, err := ParseResponse(b); return &p, p.Data, err },
	"message":  func(b []byte) (head, []byte, error) { p, err := ParseMessage(b); return &p, p.Data, err },
	"ack":      func(b []byte) (head, []byte, error) { p, err := ParseAnswer(TypeAck, b); return &p, nil, err },
}

func TestBodies(t *testing.T) {
	long := strings.Repeat("n", MaxName)
	for _, c := range []struct {
		name string
		what string
		body head
		want string // the head in hex; empty: not checked
	}{
		{"request", "request",
			&Request{ID: 0x0102030405060708, Timeout: 5 * time.Second, Method: []byte("echo"), Custom: []byte("cu"), Data: []byte("hi")},
			"0102030405060708 000000012a05f200 0004 00000002 6563686f 6375"},
		{"empty request", "request",
			&Request{Method: []byte{}, Custom: []byte{}, Data: []byte{}},
			"0000000000000000 0000000000000000 0000 00000000"},
		{"longest method", "request",
			&Request{ID: math.MaxUint64, Timeout: 1 << 62, Method: []byte(long), Custom: []byte{}, Data: []byte("d")}, ""},
		{"request with metadata", "request",
			&Request{ID: 1, Method: []byte("m"), Metadata: someMetadata, Custom: []byte("cu"), Data: []byte("d")},
			"0000000000000001 0000000000000000 0001 80000002 0000000d 6d 01 0001 6b 76 02 0003 6b2d 000aff 6375"},
		{"response with metadata", "response",
			&Response{Code: 1, Text: "no", Metadata: someMetadata, Custom: []byte{}, Data: []byte("d")},
			"00000001 00000002 80000000 0000000d 6e6f 01 0001 6b 76 02 0003 6b2d 000aff"},
		{"message with metadata", "message",
			&Message{Cnss: 2, Topic: []byte{}, Metadata: someMetadata, Custom: []byte("cu"), Data: []byte{}},
			"0000000000000000 0000000000000000 02 0000 80000002 0000000d 01 0001 6b 76 02 0003 6b2d 000aff 6375"},
		{"long custom", "request",
			&Request{ID: 1, Method: []byte{}, Custom: []byte(long + long), Data: []byte{}}, ""},

		{"response", "response",
			&Response{Code: 4, Text: "no such rpc: x", Custom: []byte("cu"), Data: []byte("d")},
			"00000004 0000000e 00000002 6e6f2073756368207270633a2078 6375"},
		{"empty response", "response",
			&Response{Custom: []byte{}, Data: []byte{}}, "00000000 00000000 00000000"},
		{"long text", "response",
			&Response{Code: math.MaxUint32, Text: long + long, Custom: []byte("cu"), Data: []byte(long)}, ""},

		{"message", "message",
			&Message{ID: 7, Timeout: 1, Cnss: 2, Topic: []byte("t"), Custom: []byte("cu"), Data: []byte("hello")},
			"0000000000000007 0000000000000001 02 0001 00000002 74 6375"},
		{"empty message", "message",
			&Message{Cnss: 1, Topic: []byte{}, Custom: []byte{}, Data: []byte{}},
			"0000000000000000 0000000000000000 01 0000 00000000"},
		{"longest topic", "message",
			&Message{Cnss: 1, Topic: []byte(long), Custom: []byte(long + long), Data: []byte("d")}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			parse := bodies[c.what]
			b := c.body.Append([]byte("before"))
			require.Equal(t, "before", string(b[:6]))
			b = b[6:]
			n := c.body.HeadSize()
			require.Len(t, b, n)
			if c.want != "" {
				require.Equal(t, unhex(t, c.want), b)
			}
			b = append(b, data(c.body)...)
			got, _, err := parse(b)
			require.NoError(t, err)
			require.Equal(t, c.body, got)

			// A shorter body lacks a part of its head or of its data.
			step := 1 + len(b)/1000
			for cut := 0; cut < len(b); cut += step {
				got, rest, err := parse(b[:cut])
				if cut < n {
					requireMalformed(t, err, c.what, fmt.Sprintf("a field goes beyond the end at %d bytes", cut))
					continue
				}
				require.NoError(t, err)
				require.Equal(t, n, got.HeadSize())
				require.Equal(t, b[n:cut], rest)
			}
			_, _, err = parse(b[:n-1])
			requireMalformed(t, err, c.what)
		})
	}
}

func data(body head) []byte {
	switch body := body.(type) {
	case *Request:
		return body.Data
	case *Response:
		return body.Data
	case *Message:
		return body.Data
	}
	return nil
}

// TestMaxHead checks the bound for heads without names, custom bytes and texts.
func TestMaxHead(t *testing.T) {
	for _, h := range []head{&Request{}, &Response{}, &Message{}, &Answer{}} {
		assert.LessOrEqual(t, h.HeadSize(), MaxHead)
	}
}

// TestInnerLengths parses bodies with lengths that exceed the body.
func TestInnerLengths(t *testing.T) {
	const ids = "0000000000000001 0000000000000000 "
	for _, c := range []struct{ what, bytes string }{
		{"request", ids + "0005 00000000 65636865"},
		{"request", ids + "0004 00000001 65636865"},
		{"request", ids + "0000 ffffffff 65636865"},
		{"request", ids + "ffff ffffffff 65636865"},
		{"response", "00000000 00000005 00000000 65636865"},
		{"response", "00000000 00000002 00000003 65636865"},
		{"response", "00000000 ffffffff ffffffff 65636865"},
		{"message", ids + "01 0005 00000000 65636865"},
		{"message", ids + "01 0002 00000003 65636865"},
		{"message", ids + "02 0000 ffffffff 65636865"},
	} {
		b := unhex(t, c.bytes)
		_, _, err := bodies[c.what](b)
		requireMalformed(t, err, c.what, fmt.Sprintf("beyond the end at %d bytes", len(b)))
	}
}

// TestNoOverlap checks that appending to a field does not change the next one.
func TestNoOverlap(t *testing.T) {
	b := (&Request{Method: []byte("echo"), Custom: []byte("cu")}).Append(nil)
	r, err := ParseRequest(append(b, "data"...))
	require.NoError(t, err)
	_ = append(r.Method, "XXXX"...)
	_ = append(r.Custom, "XXXX"...)
	assert.Equal(t, "echo cu data", fmt.Sprintf("%s %s %s", r.Method, r.Custom, r.Data))
}

func TestTimeouts(t *testing.T) {
	for _, c := range []struct {
		in   time.Duration
		wire string
		out  time.Duration
	}{
		{0, "0000000000000000", 0},
		{-1, "0000000000000000", 0},
		{1, "0000000000000001", 1},
		{math.MaxInt64, "7fffffffffffffff", 1 << 62},
	} {
		r := Request{Timeout: c.in}
		b := r.Append(nil)
		assert.Equal(t, unhex(t, c.wire), b[8:16])
		r, err := ParseRequest(b)
		require.NoError(t, err)
		assert.Equal(t, c.out, r.Timeout)

		m := Message{Timeout: c.in, Cnss: 1}
		b = m.Append(nil)
		assert.Equal(t, unhex(t, c.wire), b[8:16])
		m, err = ParseMessage(b)
		require.NoError(t, err)
		assert.Equal(t, c.out, m.Timeout)
	}
	b := append(make([]byte, 8), bytes.Repeat([]byte{0xff}, 8)...)
	r, err := ParseRequest(append(b, make([]byte, 6)...))
	require.NoError(t, err)
	assert.Equal(t, time.Duration(1<<62), r.Timeout)
}

func TestCnss(t *testing.T) {
	for cnss := range 256 {
		b := (&Message{Cnss: uint8(cnss)}).Append(nil)
		m, err := ParseMessage(b)
		if cnss == 1 || cnss == 2 {
			require.NoError(t, err)
			require.Equal(t, uint8(cnss), m.Cnss)
			continue
		}
		requireMalformed(t, err, "message", fmt.Sprintf("unknown cnss %d", cnss))
	}
}

func TestAnswer(t *testing.T) {
	for _, typ := range []Type{TypeAck, TypeRegistered, TypeCancel} {
		a := Answer{Code: 0x01020304, Text: "no"}
		b := a.Append(nil)
		require.Equal(t, unhex(t, "01020304 6e6f"), b)
		require.Len(t, b, a.HeadSize())
		got, err := ParseAnswer(typ, b)
		require.NoError(t, err)
		require.Equal(t, a, got)
		got, err = ParseAnswer(typ, b[:4])
		require.NoError(t, err)
		require.Equal(t, Answer{Code: 0x01020304}, got)
		for n := range 4 {
			_, err := ParseAnswer(typ, b[:n])
			requireMalformed(t, err, typ.String(), fmt.Sprintf("beyond the end at %d bytes", n))
		}
	}
}

func TestAbandon(t *testing.T) {
	for v := range 256 {
		typ, err := ParseAbandon([]byte{byte(v)})
		switch Type(v) {
		case TypeRequest, TypeResponse, TypeMessage:
			require.NoError(t, err)
			require.Equal(t, Type(v), typ)
		default:
			requireMalformed(t, err, "abandon", fmt.Sprintf("body %02x names no packet", v))
		}
	}
	for _, b := range [][]byte{{}, {byte(TypeRequest), 0}, make([]byte, 1000)} {
		_, err := ParseAbandon(b)
		requireMalformed(t, err, "abandon", "names no packet")
		require.Less(t, len(err.Error()), 100)
	}
}

// fuzzBody checks that a parsed body is encoded to the same bytes. Only timeouts above 2^62 ns
// have two forms.
func fuzzBody(f *testing.F, what string, seeds ...string) {
	for _, s := range seeds {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		body, rest, err := bodies[what](b)
		if err != nil {
			requireMalformed(t, err, what)
			return
		}
		again := body.Append(nil)
		require.Len(t, again, body.HeadSize())
		if what != "ack" {
			again = append(again, rest...)
		}
		if (what == "request" || what == "message") && bytes.Compare(b[8:16], []byte{0x40, 0, 0, 0, 0, 0, 0, 0}) > 0 {
			copy(again[8:], b[8:16])
		}
		require.Equal(t, b, again)
	})
}

func FuzzRequest(f *testing.F) {
	fuzzBody(f, "request",
		"0102030405060708 000000012a05f200 0004 00000002 6563686f 6375 6869",
		"0000000000000001 ffffffffffffffff 0000 00000000",
		"0000000000000001 0000000000000000 0004 ffffffff 6563686f",
		"0000000000000001 0000000000000000 0001 80000002 0000000d 6d 01 0001 6b 76 02 0003 6b2d 000aff 6375 64",
		"0000000000000001 0000000000000000 0000 80000000 00000004 01 0001 6b")
}

func FuzzResponse(f *testing.F) {
	fuzzBody(f, "response",
		"00000000 00000000 00000000 6869",
		"00000004 00000002 00000001 6e6f 63",
		"00000004 00000002 ffffffff 6e6f",
		"00000001 00000002 80000000 00000005 6e6f 01 0001 6b 76 64")
}

func FuzzMessage(f *testing.F) {
	fuzzBody(f, "message",
		"0000000000000007 0000000000000000 02 0001 00000002 74 6375 68656c6c6f",
		"0000000000000007 7fffffffffffffff 01 0000 00000000",
		"0000000000000007 0000000000000000 03 0000 00000000",
		"0000000000000007 0000000000000000 02 0001 80000001 00000004 74 01 0000 6b 63 64")
}

func FuzzAnswer(f *testing.F) {
	fuzzBody(f, "ack", "00000000", "00000001 6e6f", "000000")
}

func FuzzAbandon(f *testing.F) {
	f.Add([]byte{byte(TypeRequest)})
	f.Add([]byte{byte(TypeAck)})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		typ, err := ParseAbandon(b)
		if err != nil {
			requireMalformed(t, err, "abandon")
			return
		}
		require.Equal(t, b, []byte{byte(typ)})
		require.True(t, typ.Fragmented())
	})
}
