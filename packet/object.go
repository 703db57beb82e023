package packet

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode/utf8"
)

// offerKeys are the keys of an offer. The first mandatoryKeys of them are mandatory.
var offerKeys = []string{
	"frame", "message", "streams", "raw", "messages", "handlers", "large",
	"requests", "small", "session", "log", "metadata", "features",
}

const mandatoryKeys = 7

// keySet is a set of keys that are in a list: bit i stands for the key i.
type keySet uint32

func (s keySet) has(i int) bool { return s&(1<<i) != 0 }

// parseObject parses the JSON object of a handshake packet into v, which has the
// given keys. Package encoding/json ignores the case of keys and accepts a key that occurs
// twice. parseObject accepts neither, in the object and in the offer. It returns those of
// offerKeys that have a value in the offer.
func parseObject(what string, b []byte, v any, keys ...string) (offer keySet, err error) {
	if err := json.Unmarshal(b, v); err != nil {
		return 0, malformed(what, "%v", err)
	}
	if !utf8.Valid(b) {
		return 0, malformed(what, "its JSON is not UTF-8")
	}
	if b = bytes.TrimLeft(b, jsonSpace); b[0] != '{' { // null, which Unmarshal accepts for every type
		return 0, malformed(what, "its JSON is not an object")
	}
	_, value, err := members(what, "", b, keys)
	if err != nil || value == nil {
		return 0, err
	}
	offer, _, err = members(what, "wire2: ", value, offerKeys)
	return offer, err
}

// members returns those of the known keys whose values in a valid JSON object are not null, and
// the value of "wire2". A key that occurs twice is an error, and so is a key that differs from
// a known one only in case. The errors begin with the prefix.
func members(what, prefix string, object []byte, known []string) (keys keySet, wire2 []byte, err error) {
	var seen keySet
	var others map[string]struct{} // keys that are not known
	s := jsonText(object)
	s.take() // the brace
	for s.first() != '}' {
		key := unquote(s.value())
		s.take() // the colon
		value := s.value()
		if s.first() == ',' {
			s.take()
		}
		i := slices.IndexFunc(known, func(k string) bool { return k == string(key) })
		if i < 0 {
			if j := slices.IndexFunc(known, func(k string) bool { return bytes.EqualFold([]byte(k), key) }); j >= 0 {
				return 0, nil, malformed(what, "%sthe key %q is not %q", prefix, key, known[j])
			}
		}
		_, twice := others[string(key)]
		switch {
		case twice || i >= 0 && seen.has(i):
			return 0, nil, malformed(what, "%sthe key %q occurs twice", prefix, key)
		case i < 0:
			if others == nil {
				others = make(map[string]struct{})
			}
			others[string(key)] = struct{}{}
			continue
		}
		seen |= 1 << i
		if string(value) != "null" {
			keys |= 1 << i
			if known[i] == "wire2" {
				wire2 = value
			}
		}
	}
	return keys, wire2, nil
}

// complete reports the first mandatory key that has no value in an offer.
func complete(what string, offer keySet) error {
	for i, key := range offerKeys[:mandatoryKeys] {
		if !offer.has(i) {
			return malformed(what, "wire2: the key %q is missing", key)
		}
	}
	return nil
}

// jsonSpace has the characters that separate the tokens of JSON.
const jsonSpace = " \t\r\n"

// jsonText is the rest of an object in valid JSON. A json.Decoder would allocate memory for
// every token.
type jsonText []byte

// first returns the next byte that is no space.
func (s *jsonText) first() byte {
	*s = bytes.TrimLeft(*s, jsonSpace)
	return (*s)[0]
}

// take removes the next byte that is no space.
func (s *jsonText) take() {
	s.first()
	*s = (*s)[1:]
}

// value removes the next value, which may be a key, and returns it.
func (s *jsonText) value() []byte {
	n := 0
	switch s.first() {
	case '"':
		n = stringLen(*s)
	case '{', '[':
		n = compoundLen(*s)
	default: // a number or a word
		n = bytes.IndexAny(*s, ",]}"+jsonSpace)
	}
	v := (*s)[:n]
	*s = (*s)[n:]
	return v
}

// stringLen returns the length of the string with which b begins, with its quotes.
func stringLen(b []byte) int {
	i := 1
	for b[i] != '"' {
		if b[i] == '\\' {
			i++
		}
		i++
	}
	return i + 1
}

// compoundLen returns the length of the object or array with which b begins.
func compoundLen(b []byte) int {
	depth := 0
	for i := 0; ; i++ {
		switch b[i] {
		case '"':
			i += stringLen(b[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
}

// unquote returns the text of a JSON string.
func unquote(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var text string
	json.Unmarshal(quoted, &text) // valid JSON
	return []byte(text)
}
