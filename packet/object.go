package packet

// This file appends and parses the JSON objects of the handshake. Package encoding/json takes
// several times as long, and allocates memory for each value, so it handles the rare values only.

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// object is the JSON object of a handshake packet, or the offer in it.
type object interface {
	// keys returns the keys, in the order in which they are appended. The first mandatory of them
	// have to be present.
	keys() (all []string, mandatory int)
	// value returns a pointer to the value of a key, which the index of the key names: a *uint32,
	// a *[]byte, a *string, a *[]string, an *offered, or a pointer to a pointer, which package
	// encoding/json handles.
	value(key int) any
}

// offered is the value of "wire2".
type offered struct {
	*Settings        // nil: absent
	has       keySet // the keys that were in it when it was parsed
}

// keySet is a set of keys that are in a list: bit i stands for the key i.
type keySet uint32

func (s keySet) has(i int) bool { return s&(1<<i) != 0 }

// appendObject appends o without the values that are absent.
func appendObject(b []byte, o object) []byte {
	all, mandatory := o.keys()
	b = append(b, '{')
	separator := `"`
	for i, key := range all {
		v := o.value(i)
		if i >= mandatory && isAbsent(v) {
			continue
		}
		b = append(append(append(b, separator...), key...), `":`...)
		b = appendValue(b, v)
		separator = `,"`
	}
	return append(b, '}')
}

// isAbsent tells whether a value, of which v is the pointer, is empty.
func isAbsent(v any) bool {
	switch v := v.(type) {
	case *uint32:
		return *v == 0
	case *[]byte:
		return len(*v) == 0
	case *string:
		return *v == ""
	case *[]string:
		return *v == nil
	case *offered:
		return v.Settings == nil
	}
	return reflect.ValueOf(v).Elem().IsZero()
}

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case *uint32:
		return strconv.AppendUint(b, uint64(*v), 10)
	case *[]byte:
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), *v), '"')
	case *string:
		return appendString(b, *v)
	case *[]string:
		b = append(b, '[')
		for i, s := range *v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, s)
		}
		return append(b, ']')
	case *offered:
		return appendObject(b, v.Settings)
	}
	return appendAny(b, v)
}

// appendString appends a JSON string. Package encoding/json escapes some characters.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || strings.IndexByte(`"\<>&`, c) >= 0 {
			return appendAny(b, s)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// appendAny appends v by package encoding/json.
func appendAny(b []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error()) // plain structs of bytes, strings and numbers
	}
	return append(b, text...)
}

// parseObject parses a text that has to be one JSON object. Package encoding/json ignores the case of
// keys and accepts a key that occurs twice; parseObject accepts neither, in the object and in the
// offer.
func parseObject(what string, b []byte, o object) error {
	if !json.Valid(b) {
		var raw json.RawMessage
		return malformed(what, "%v", json.Unmarshal(b, &raw))
	}
	if !utf8.Valid(b) {
		return malformed(what, "its JSON is not UTF-8")
	}
	b = bytes.TrimLeft(b, jsonSpace)
	if b[0] != '{' {
		return malformed(what, "its JSON is not an object")
	}
	_, err := parseMembers(what, "", b, o)
	return err
}

// parseMembers parses a valid JSON object. It returns those of the keys of o whose values are not
// null. The errors begin with the prefix.
func parseMembers(what, prefix string, text []byte, o object) (keys keySet, err error) {
	known, _ := o.keys()
	var seen keySet
	var others map[string]struct{} // keys that are not known
	s := jsonText(text)
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
				return 0, malformed(what, "%sthe key %q is not %q", prefix, key, known[j])
			}
		}
		_, twice := others[string(key)]
		switch {
		case twice || i >= 0 && seen.has(i):
			return 0, malformed(what, "%sthe key %q occurs twice", prefix, key)
		case i < 0:
			if others == nil {
				others = make(map[string]struct{})
			}
			others[string(key)] = struct{}{}
			continue
		}
		seen |= 1 << i
		if string(value) == "null" {
			continue
		}
		keys |= 1 << i
		if err := parseValue(what, value, o.value(i)); err != nil {
			if _, inside := err.(*Error); inside {
				return 0, err
			}
			return 0, malformed(what, "%sthe value of %q: %v", prefix, known[i], err)
		}
	}
	return keys, nil
}

var (
	errNoNumber = errors.New("not a whole number from 0 to 4294967295")
	errNoString = errors.New("not a string")
	errNoTexts  = errors.New("not an array of strings")
	errNoObject = errors.New("not an object")
)

// parseValue parses a valid JSON value into that of which v is the pointer. An *Error is complete.
func parseValue(what string, value []byte, v any) (err error) {
	switch v := v.(type) {
	case *uint32:
		n, err := strconv.ParseUint(string(value), 10, 32)
		if err != nil {
			return errNoNumber
		}
		*v = uint32(n)
		return nil
	case *[]byte:
		if value[0] != '"' {
			return errNoString
		}
		*v, err = base64.StdEncoding.AppendDecode([]byte{}, unquote(value))
		return err
	case *string:
		if value[0] != '"' {
			return errNoString
		}
		*v = string(unquote(value))
		return nil
	case *[]string:
		*v, err = parseStrings(value)
		return err
	case *offered:
		if value[0] != '{' {
			return errNoObject
		}
		v.Settings = new(Settings)
		v.has, err = parseMembers(what, "wire2: ", value, v.Settings)
		return err
	}
	return json.Unmarshal(value, v)
}

// parseStrings parses a valid JSON value.
func parseStrings(value jsonText) ([]string, error) {
	if value[0] != '[' {
		return nil, errNoTexts
	}
	all := []string{}
	value.take() // the bracket
	for value.first() != ']' {
		text := value.value()
		if text[0] != '"' {
			return nil, errNoTexts
		}
		all = append(all, string(unquote(text)))
		if value.first() == ',' {
			value.take()
		}
	}
	return all, nil
}

// jsonSpace has the characters that separate the tokens of JSON.
const jsonSpace = " \t\r\n"

// jsonText is the rest of an object in valid JSON.
type jsonText []byte

// first returns the next byte that is no space.
func (s *jsonText) first() byte {
	t := *s
	for t[0] == ' ' || t[0] == '\t' || t[0] == '\r' || t[0] == '\n' {
		t = t[1:]
	}
	*s = t
	return t[0]
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
