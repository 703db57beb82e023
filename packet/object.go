package packet

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
)

// offerKeys are the keys of an offer. The first mandatoryKeys of them are mandatory.
var offerKeys = []string{
	"frame", "message", "streams", "raw", "messages", "handlers", "large",
	"requests", "session", "log", "metadata", "features",
}

const mandatoryKeys = 7

// parseObject parses the JSON object of a handshake packet into v, which has the
// given keys. Package encoding/json ignores the case of keys and accepts a key that occurs
// twice. parseObject accepts neither, in the object and in the offer. It reports for each
// key of the offer whether it has a value.
func parseObject(what string, b []byte, v any, keys ...string) (offer map[string]bool, err error) {
	if err := json.Unmarshal(b, v); err != nil {
		return nil, malformed(what, "%v", err)
	}
	if !utf8.Valid(b) {
		return nil, malformed(what, "its JSON is not UTF-8")
	}
	if b = bytes.TrimLeft(b, " \t\r\n"); b[0] != '{' { // null, which Unmarshal accepts for every type
		return nil, malformed(what, "its JSON is not an object")
	}
	_, value, err := members(what, "", b, keys)
	if err != nil || value == nil {
		return nil, err
	}
	offer, _, err = members(what, "wire2: ", value, offerKeys)
	return offer, err
}

// members reports for each key of a valid JSON object whether its value is not null, and
// returns the value of "wire2". A key that occurs twice is an error, and so is a key that
// differs from a known one only in case. The errors begin with the prefix.
func members(what, prefix string, object []byte, known []string) (keys map[string]bool, wire2 json.RawMessage, err error) {
	keys = make(map[string]bool)
	d := json.NewDecoder(bytes.NewReader(object))
	d.Token() // the brace
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, nil, malformed(what, "%v", err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, nil, malformed(what, "%v", err)
		}
		key := token.(string) // as in every object
		if _, twice := keys[key]; twice {
			return nil, nil, malformed(what, "%sthe key %q occurs twice", prefix, key)
		}
		if i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, key) }); i >= 0 && known[i] != key {
			return nil, nil, malformed(what, "%sthe key %q is not %q", prefix, key, known[i])
		}
		keys[key] = string(value) != "null"
		if keys[key] && key == "wire2" {
			wire2 = value
		}
	}
	return keys, wire2, nil
}

// complete reports the first mandatory key that has no value in an offer.
func complete(what string, offer map[string]bool) error {
	for _, key := range offerKeys[:mandatoryKeys] {
		if !offer[key] {
			return malformed(what, "wire2: the key %q is missing", key)
		}
	}
	return nil
}
