package pairs

import (
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/singchia/geminio"
)

const (
	// MaxKey is the length of the longest key, in bytes.
	MaxKey = 1<<8 - 1
	// MaxValue is the length of the longest value, in bytes.
	MaxValue = 1<<16 - 1
	// MaxPairs is the largest number of pairs of a list.
	MaxPairs = 1 << 10
	// Overhead is what a pair needs besides its key and its value, in bytes.
	Overhead = 1 + 2
)

// List is a list of pairs as it is sent. The pairs follow each other:
//
//	+----------------+------------------+-----+-------+
//	| key length (8) | value length (16)| key | value |
//	+----------------+------------------+-----+-------+
type List []byte

// Append appends a pair. The caller has checked both lengths.
func (l List) Append(key, value string) List {
	l = append(l, byte(len(key)))
	l = binary.BigEndian.AppendUint16(l, uint16(len(value)))
	l = append(l, key...)
	return append(l, value...)
}

// Encode returns a list of the pairs of md, ordered by key. The caller has checked md.
func Encode(md map[string][]string) List {
	size := 0
	for key, values := range md {
		for _, value := range values {
			size += Overhead + len(key) + len(value)
		}
	}
	if size == 0 {
		return nil
	}
	var few [8]string
	keys := few[:0]
	for key := range md {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	l := make(List, 0, size)
	for _, key := range keys {
		for _, value := range md[key] {
			l = l.Append(key, value)
		}
	}
	return l
}

// maxShared is the size up to which the strings of Decode share one allocation, in bytes. The
// strings of a longer list do not: a value that is kept would keep all others in memory.
const maxShared = 1 << 10

// Decode returns the pairs of a list that is framed; nil if there are none. The values do not
// alias the list.
func (l List) Decode() map[string][]string {
	if len(l) == 0 {
		return nil
	}
	md := make(map[string][]string)
	values := make([]string, 0, l.Len())
	shared, end := "", 0
	if len(l) <= maxShared {
		shared = string(l)
	}
	for k, v := range l.All() {
		key, value := "", ""
		end += Overhead + len(k) + len(v)
		if shared != "" {
			value = shared[end-len(v) : end]
			key = shared[end-len(v)-len(k) : end-len(v)]
		} else {
			key, value = string(k), string(v)
		}
		if old, ok := md[key]; ok {
			md[key] = append(old, value)
			continue
		}
		values = append(values, value)
		md[key] = values[len(values)-1 : len(values) : len(values)]
	}
	return md
}

// next returns the first pair and the rest of the list. It reports false if the list ends
// within the pair.
func (l List) next() (key, value, rest List, ok bool) {
	if len(l) < Overhead {
		return nil, nil, nil, false
	}
	k := Overhead + int(l[0])
	v := k + int(binary.BigEndian.Uint16(l[1:]))
	if len(l) < v {
		return nil, nil, nil, false
	}
	return l[Overhead:k], l[k:v], l[v:], true
}

// All returns the pairs in their order. Keys and values alias the list. A pair that is not
// complete ends the sequence.
func (l List) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for len(l) > 0 {
			key, value, rest, ok := l.next()
			if !ok || !yield(key, value) {
				return
			}
			l = rest
		}
	}
}

// Framed reports whether the list consists of complete pairs.
func (l List) Framed() bool {
	for len(l) > 0 {
		var ok bool
		if _, _, l, ok = l.next(); !ok {
			return false
		}
	}
	return true
}

// Len returns the number of pairs.
func (l List) Len() (n int) {
	for range l.All() {
		n++
	}
	return n
}

// Without returns a list of the pairs whose keys are not in md.
func (l List) Without(md map[string][]string) (rest List) {
	for key, value := range l.All() {
		if _, drop := md[string(key)]; !drop {
			rest = rest.Append(string(key), string(value))
		}
	}
	return rest
}

// CheckCount returns a *geminio.LimitError if there are too many pairs.
func (l List) CheckCount() error {
	if len(l) <= MaxPairs*Overhead {
		return nil // without counting
	}
	return CheckCount(l.Len())
}

// CheckCount returns a *geminio.LimitError if n pairs are too many.
func CheckCount(n int) error {
	if n <= MaxPairs {
		return nil
	}
	return &geminio.LimitError{What: "pairs of metadata", Value: uint64(n), Limit: MaxPairs, Err: geminio.ErrTooMany}
}

// CheckSize returns a *geminio.LimitError if the list has more than limit bytes. The error names
// the key of the largest value.
func (l List) CheckSize(limit uint64) error {
	if uint64(len(l)) <= limit {
		return nil
	}
	return &geminio.LimitError{What: "metadata, most of it in " + l.largest(), Value: uint64(len(l)), Limit: limit, Err: geminio.ErrTooLarge}
}

// largest returns the key of the largest pair, for an error.
func (l List) largest() string {
	var largest []byte
	size := -1
	for key, value := range l.All() {
		if n := len(key) + len(value); n > size {
			largest, size = key, n
		}
	}
	return fmt.Sprintf("key %.40q", largest)
}

// CheckKey returns a text that says why a key is not valid, or an empty text.
func CheckKey[T string | []byte](key T) (problem string) {
	switch {
	case len(key) == 0:
		return "the key is empty"
	case len(key) > MaxKey:
		return fmt.Sprintf("the key has %d bytes, at most %d are allowed", len(key), MaxKey)
	}
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		case 'A' <= c && c <= 'Z':
			return fmt.Sprintf("the key has the upper-case letter %q", c)
		default:
			return fmt.Sprintf("the key has the character %q; letters from a to z, digits, -, _ and . are allowed", c)
		}
	}
	return ""
}

// Check checks the content of a list that is framed: the keys and the number of pairs. It returns
// a text that says why the content is not valid, or an empty text.
func (l List) Check() (problem string) {
	n := 0
	for key := range l.All() {
		if n++; n > MaxPairs {
			return fmt.Sprintf("more than %d pairs", MaxPairs)
		}
		if problem := CheckKey(key); problem != "" {
			return fmt.Sprintf("key %.40q: %s", key, problem)
		}
	}
	return ""
}
