package packet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHandshakeJSON(t *testing.T) {
	for _, c := range []struct {
		object string
		text   string // the error; empty: none
	}{
		{`{}`, ""},
		{"  {\n}\t", ""},
		{`{"other":1,"wire3":{"frame":-1}}`, ""},
		{`{"wire2":null}`, ""},
		{`{"wire2":` + strings.TrimSuffix(offerJSON, "}") + `,"other":[{}]}}`, ""},
		{``, "unexpected end of JSON input"},
		{`{`, "unexpected end of JSON input"},
		{`{}x`, "after top-level value"},
		{`[]`, "its JSON is not an object"},
		{`"text"`, "its JSON is not an object"},
		{"\x00\xff", "invalid character"},
		{`null`, "its JSON is not an object"},
		{`{"wire2":2}`, `the value of "wire2": not an object`},
		{`{"wire2":{"frame":"65536"}}`, `wire2: the value of "frame": not a whole number`},
		{`{"wire2":{"frame":-1}}`, `wire2: the value of "frame": not a whole number`},
		{`{"wire2":{"frame":1e5}}`, `wire2: the value of "frame": not a whole number`},
		{`{"wire2":{"frame":65536.0}}`, `wire2: the value of "frame": not a whole number`},
		{`{"wire2":{"frame":4294967296}}`, `wire2: the value of "frame": not a whole number`},
		{`{"wire2":{"frame":true}}`, `wire2: the value of "frame": not a whole number`},
		{`{"wire2":{"session":[1]}}`, `wire2: the value of "session": not a string`},
		{`{"methods":["a",7]}`, `the value of "methods": not an array of strings`},
		{`{"methods":{}}`, `the value of "methods": not an array of strings`},
		{`{"methods":["` + strings.Repeat("x", 1001) + `"]}`, "a method of 1001 bytes, at most 1000"},
		{`{"methods":[` + strings.Repeat(`"",`, 1024) + `""]}`, "1025 methods, at most 1024"},
		{`{"methods":[` + strings.Repeat(`"",`, 1023) + `""]}`, ""},
		{`{"wire2":{"features":"resume"}}`, `wire2: the value of "features": not an array of strings`},
		{strings.Repeat(`{"a":`, 20000), "exceeded max depth"},
	} {
		name := c.object[:min(len(c.object), 40)]
		_, err := ParseConn(1, connBody(c.object))
		_, errAck := ParseConnAck(1, ackBody(0, c.object))
		if c.text == "" {
			assert.NoError(t, err, name)
			assert.NoError(t, errAck, name)
			continue
		}
		requireMalformed(t, err, "conn", c.text)
		requireMalformed(t, errAck, "connack", c.text)
	}

	_, err := ParseConn(1, connBody(`{"meta":"not base64!"}`))
	requireMalformed(t, err, "conn", `the value of "meta"`, "base64")
	_, err = ParseConn(1, connBody(`{"resume":7}`))
	requireMalformed(t, err, "conn", `the value of "resume"`, "cannot unmarshal number")
	_, err = ParseConnAck(1, ackBody(0, `{"error":7}`))
	requireMalformed(t, err, "connack", `the value of "error": not a string`)
}

// Every field of an offer has a key.
func TestOfferKeys(t *testing.T) {
	w := new(Settings)
	fields := reflect.ValueOf(w).Elem()
	require.Len(t, offerKeys, fields.NumField())
	for i := range offerKeys {
		assert.Equal(t, fields.Field(i).Addr().Interface(), w.value(i), offerKeys[i])
	}
}

// The handshake accepts no keys with another case, and none that occur twice or are missing.
func TestHandshakeKeys(t *testing.T) {
	for _, c := range []struct {
		object string
		text   string // the error; empty: none
	}{
		{offerWith(t, `"frame":65536,`, ``), `wire2: the key "frame" is missing`},
		{offerWith(t, `"message":1048576,`, ``), `wire2: the key "message" is missing`},
		{offerWith(t, `"streams":100,`, ``), `wire2: the key "streams" is missing`},
		{offerWith(t, `"raw":65536,`, ``), `wire2: the key "raw" is missing`},
		{offerWith(t, `"messages":32768,`, ``), `wire2: the key "messages" is missing`},
		{offerWith(t, `"handlers":1000,`, ``), `wire2: the key "handlers" is missing`},
		{offerWith(t, `,"large":4194304`, ``), `wire2: the key "large" is missing`},
		{offerWith(t, `"streams":100`, `"streams":null`), `wire2: the key "streams" is missing`},
		{`{"wire2":{}}`, `wire2: the key "frame" is missing`},

		{offerWith(t, `"raw":65536`, `"raw":65536,"raw":65536`), `wire2: the key "raw" occurs twice`},
		{offerWith(t, `"raw":65536`, `"raw":65536,"requests":4194304,"requests":4194304`), `wire2: the key "requests" occurs twice`},
		{offerWith(t, `"raw":65536`, `"raw":65536,"r\u0061w":65536`), `wire2: the key "raw" occurs twice`},
		{offerWith(t, `"raw":65536`, `"raw":65536,"new":1,"new":2`), `wire2: the key "new" occurs twice`},
		{`{"wire2":` + offerJSON + `,"wire2":` + offerJSON + `}`, `the key "wire2" occurs twice`},
		{`{"wire2":null,"wire2":` + offerJSON + `}`, `the key "wire2" occurs twice`},
		{`{"new":1,"new":1}`, `the key "new" occurs twice`},

		{offerWith(t, `"streams"`, `"Streams"`), `wire2: the key "Streams" is not "streams"`},
		{offerWith(t, `"raw":65536`, `"raw":65536,"SESSION":""`), `wire2: the key "SESSION" is not "session"`},
		{offerWith(t, `"message":`, `"me\u017f\u017fage":`), "wire2: the key \"me\u017f\u017fage\" is not \"message\""},
		{`{"Wire2":` + offerJSON + `}`, `the key "Wire2" is not "wire2"`},

		{"{\"other\":\"\xff\"}", "not UTF-8"},
		{"{\"\xff\":1}", "not UTF-8"},

		// Unknown keys are ignored if they are JSON.
		{offerWith(t, `"raw":65536`, `"raw":65536,"new":{"Frame":1,"a":1,"a":2},"old":null`), ""},
		{`{"new":{"a":1,"a":2},"":[{"b":1,"b":2}]}`, ""},
		{offerWith(t, `"raw":65536`, `"raw":65536,"requests":null,"session":null,"features":null`), ""},
	} {
		_, err := ParseConn(1, connBody(c.object))
		_, errAck := ParseConnAck(1, ackBody(0, c.object))
		if c.text == "" {
			assert.NoError(t, err, c.object)
			assert.NoError(t, errAck, c.object)
			continue
		}
		if assert.Error(t, err, c.object) && assert.Error(t, errAck, c.object) {
			requireMalformed(t, err, "conn", c.text)
			requireMalformed(t, errAck, "connack", c.text)
		}
	}

	for object, text := range map[string]string{
		`{"meta":"bTE=","meta":"bTE="}`: `the key "meta" occurs twice`,
		`{"META":"bTE="}`:               `the key "META" is not "meta"`,
		`{"meta":null}`:                 "",
		`{"error":"","Error":""}`:       "", // that of a server
	} {
		_, err := ParseConn(1, connBody(object))
		if text == "" {
			assert.NoError(t, err, object)
		} else if assert.Error(t, err, object) {
			requireMalformed(t, err, "conn", text)
		}
	}
	for object, text := range map[string]string{
		`{"error":"no","error":"yes"}`:                `the key "error" occurs twice`,
		`{"error":"no","Code":6}`:                     `the key "Code" is not "code"`,
		`{"error":"no","RETRY":6}`:                    `the key "RETRY" is not "retry"`,
		`{"error":"no","wire2":{"frame":1}}`:          "", // a refusal needs no offer
		`{"meta":"","Meta":""}`:                       "", // that of a client
		`{"error":null,"code":null,"retry":null}`:     "",
		`{"error":"no","wire2":{"raw":1,"raw":1}}`:    `wire2: the key "raw" occurs twice`,
		`{"error":"no","wire2":{"raw":1,"FRAME":10}}`: `wire2: the key "FRAME" is not "frame"`,
	} {
		_, err := ParseConnAck(1, ackBody(0, object))
		if text == "" {
			assert.NoError(t, err, object)
		} else if assert.Error(t, err, object) {
			requireMalformed(t, err, "connack", text)
		}
	}
}

// anyObject is an object with a known key, whose value may be of any kind.
type anyObject struct{ known any }

func (o *anyObject) keys() ([]string, int) { return []string{"known"}, 0 }
func (o *anyObject) value(int) any         { return &o.known }

// decodedObject is parseObject by package encoding/json, for valid JSON.
func decodedObject(text []byte) (o anyObject, fault string) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.Token() // the brace
	seen := make(map[string]bool)
	for d.More() {
		token, _ := d.Token()
		key := token.(string)
		var value any
		d.Decode(&value)
		switch {
		case seen[key]:
			return o, fmt.Sprintf("the key %q occurs twice", key)
		case key == "known":
			o.known = value
		case strings.EqualFold(key, "known"):
			return o, fmt.Sprintf("the key %q is not \"known\"", key)
		}
		seen[key] = true
	}
	return o, ""
}

// An object has the same keys and values as for package encoding/json.
func FuzzObject(f *testing.F) {
	for _, text := range []string{
		`{}`, " {\n} ", `{"known":` + offerJSON + `}`, `{ "known" : { "frame" : 1 } , "a" : [ ] }`,
		`{"known":null,"b":true}`, `{"a":1,"a":2}`, `{"KNOWN":1}`, `{"k\u006eown":[{"}":"]"}],"":"\\\""}`,
		`{"known":-1.5e+9 }`, `{"\ud800":1,"\ufffd":2}`, `{"known":1,"\u212anown":2}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if o := bytes.TrimLeft(text, jsonSpace); !utf8.Valid(text) || !json.Valid(text) || o[0] != '{' {
			return
		}
		var o anyObject
		err := parseObject("conn", text, &o)
		want, fault := decodedObject(text)
		if fault == "" && err != nil {
			// A number that is too large for a float64 is valid JSON.
			require.ErrorContains(t, err, "cannot unmarshal number")
			return
		}
		if fault != "" {
			requireMalformed(t, err, "conn", fault)
			return
		}
		assert.Equal(t, want, o)
	})
}

// Few allocations are made: the packet, the object and the offer.
func TestHandshakeAllocates(t *testing.T) {
	c := Conn{PacketID: 1, Settings: offer()}
	b, err := AppendConn(nil, c)
	require.NoError(t, err)
	id, body := open(t, b, true)
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() { AppendConn(nil, c) }), 3.) // 2 without the race detector
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() { ParseConn(id, body) }), 3.)
}
