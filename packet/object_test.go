package packet

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
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
		{`[]`, "cannot unmarshal array"},
		{`"text"`, "cannot unmarshal string"},
		{"\x00\xff", "invalid character"},
		{`{"wire2":2}`, "cannot unmarshal number"},
		{`{"wire2":{"frame":"65536"}}`, "cannot unmarshal string"},
		{`{"wire2":{"frame":-1}}`, "cannot unmarshal number -1"},
		{`{"wire2":{"frame":4294967296}}`, "cannot unmarshal number 4294967296"},
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
	requireMalformed(t, err, "conn", "base64")
	_, err = ParseConnAck(1, ackBody(0, `{"error":7}`))
	requireMalformed(t, err, "connack", "cannot unmarshal number")
}

// The list of the keys is that of the fields.
func TestOfferKeys(t *testing.T) {
	var all []string
	mandatory := 0
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Settings]()) {
		key, optional, _ := strings.Cut(field.Tag.Get("json"), ",")
		all = append(all, key)
		if optional == "" {
			mandatory++
			require.Len(t, all, mandatory, "%s is behind an optional key", key)
		}
	}
	assert.Equal(t, all, offerKeys)
	assert.Equal(t, mandatory, mandatoryKeys)
}

// Package encoding/json ignores the case of keys, and accepts keys that occur twice or are
// missing. The handshake accepts none of these.
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

// decodedMembers is members by a json.Decoder.
func decodedMembers(what, prefix string, object []byte, known []string) (keys keySet, wire2 []byte, err error) {
	seen := make(map[string]bool)
	d := json.NewDecoder(bytes.NewReader(object))
	d.Token() // the brace
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return 0, nil, malformed(what, "%v", err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return 0, nil, malformed(what, "%v", err)
		}
		key := token.(string)
		if seen[key] {
			return 0, nil, malformed(what, "%sthe key %q occurs twice", prefix, key)
		}
		seen[key] = true
		i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, key) })
		if i >= 0 && known[i] != key {
			return 0, nil, malformed(what, "%sthe key %q is not %q", prefix, key, known[i])
		}
		if i >= 0 && string(value) != "null" {
			keys |= 1 << i
			if key == "wire2" {
				wire2 = value
			}
		}
	}
	return keys, wire2, nil
}

// The scanner finds the same members in an object as package encoding/json.
func FuzzMembers(f *testing.F) {
	for _, object := range []string{
		`{}`, " {\n} ", `{"wire2":` + offerJSON + `}`, `{ "wire2" : { "frame" : 1 } , "a" : [ ] }`,
		`{"wire2":null,"b":true}`, `{"a":1,"a":2}`, `{"WIRE2":1}`, `{"w\u0069re2":[{"}":"]"}],"":"\\\""}`,
		`{"wire2":-1.5e+9 }`, `{"\ud800":1,"\ufffd":2}`, `{"k":1,"\u212a":2}`,
	} {
		f.Add([]byte(object))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		if o := bytes.TrimLeft(object, jsonSpace); !utf8.Valid(object) || !json.Valid(object) || o[0] != '{' {
			return
		}
		object = bytes.TrimLeft(object, jsonSpace)
		known := []string{"wire2", "k", "meta"}
		keys, wire2, err := members("conn", "", object, known)
		wantKeys, wantWire2, wantErr := decodedMembers("conn", "", object, known)
		assert.Equal(t, wantErr, err)
		assert.Equal(t, wantKeys, keys)
		assert.Equal(t, string(wantWire2), string(wire2))
	})
}

// The check of the keys allocates nothing.
func TestMembersAllocates(t *testing.T) {
	object, inner := []byte(`{"wire2":`+offerJSON+`}`), []byte(offerJSON)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		if _, value, err := members("conn", "", object, []string{"meta", "wire2"}); err != nil || value == nil {
			t.Error(err)
		}
		if _, _, err := members("conn", "", inner, offerKeys); err != nil {
			t.Error(err)
		}
	}))
}
