package metadata

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/pairs"
)

// MD is metadata: the values of each key. The keys are in lower case; the methods convert those
// that they get. A nil MD is empty and may be read. An MD is not safe for concurrent use while
// it is changed.
type MD map[string][]string

// New returns the metadata with one value for each key of m.
func New(m map[string]string) MD {
	md := make(MD, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		md.Append(key, m[key])
	}
	return md
}

// Pairs returns the metadata with the pairs kv, a key and a value in turn. A key may occur
// several times. Pairs panics if kv has an odd length.
func Pairs(kv ...string) MD {
	checkPairs("Pairs", kv)
	md := make(MD, len(kv)/2)
	for i := 0; i < len(kv); i += 2 {
		md.Append(kv[i], kv[i+1])
	}
	return md
}

// checkPairs panics if kv has an odd length.
func checkPairs(function string, kv []string) {
	if len(kv)%2 != 0 {
		panic(fmt.Sprintf("metadata: %s got %d strings, which are not pairs", function, len(kv)))
	}
}

// Join returns the metadata with all pairs of mds. The values of a key that occurs in several of
// them have the order of the arguments.
func Join(mds ...MD) MD {
	all := make(MD)
	for _, md := range mds {
		for key, values := range md {
			all.Append(key, values...)
		}
	}
	return all
}

// Len returns the number of keys.
func (md MD) Len() int { return len(md) }

// Size returns the size of the metadata, in bytes, to which the limits apply: the sum of the
// lengths of all keys and values, and 3 for each value. A key counts once for each of its values.
func (md MD) Size() (bytes int) {
	for key, values := range md {
		for _, value := range values {
			bytes += len(key) + len(value) + pairs.Overhead
		}
	}
	return bytes
}

// Copy returns a copy that shares no memory with md.
func (md MD) Copy() MD {
	c := make(MD, len(md))
	for key, values := range md {
		c[key] = slices.Clone(values)
	}
	return c
}

// Get returns the values of a key, or nil. They must not be changed.
func (md MD) Get(key string) []string { return md[strings.ToLower(key)] }

// Set sets the values of a key in place of those that it has. Without values, Set removes the key.
func (md MD) Set(key string, values ...string) {
	if len(values) == 0 {
		md.Delete(key)
		return
	}
	md[strings.ToLower(key)] = slices.Clone(values)
}

// Append adds values to those of a key.
func (md MD) Append(key string, values ...string) {
	if len(values) == 0 {
		return
	}
	key = strings.ToLower(key)
	old := md[key]
	md[key] = append(old[:len(old):len(old)], values...)
}

// Delete removes a key with its values.
func (md MD) Delete(key string) { delete(md, strings.ToLower(key)) }

// Validate returns nil if md can be sent. Otherwise it returns an [*Error] for a key that is not
// allowed, or a [*geminio.LimitError] for a value of more than 65535 bytes and for more than 1024
// values. It does not check the size of all pairs together, which the receiver limits. Validate
// need not be called before md is used: operations call it.
func (md MD) Validate() error {
	n := 0
	for key, values := range md {
		for _, value := range values {
			if err := validate(key, value); err != nil {
				return err
			}
		}
		n += len(values)
	}
	return pairs.CheckCount(n)
}

// validate is Validate for one pair.
func validate(key, value string) error {
	if problem := pairs.CheckKey(key); problem != "" {
		return &Error{Key: key, Reason: problem}
	}
	if len(value) > pairs.MaxValue {
		return &geminio.LimitError{
			What: fmt.Sprintf("metadata: value of key %.40q", key), Value: uint64(len(value)), Limit: pairs.MaxValue, Err: geminio.ErrTooLarge,
		}
	}
	return nil
}

// Error reports a key that metadata must not have.
type Error struct {
	Key    string
	Reason string // what is wrong with the key
}

// Error returns a text with the beginning of the key and the reason.
func (e *Error) Error() string { return fmt.Sprintf("metadata: key %.40q: %s", e.Key, e.Reason) }

// Carrier is implemented by values that have metadata: by responses at the caller, received
// messages, streams and Ends, and by the ConnDescriber and DialogueDescriber of package delegate.
type Carrier interface {
	// Metadata returns a copy of the metadata that the peer has sent with the value; nil if
	// there is none. That of a stream is the metadata of its opener, at both sides. That of
	// an End is the metadata of the peer's handshake.
	Metadata() MD
}

// From returns the metadata that the peer has sent with v: a [geminio.Response],
// [geminio.Message], [geminio.Stream], [geminio.End], or another [Carrier]. The result is a copy.
// It is nil if there is no metadata, or if v is none of these.
func From(v any) MD {
	if c, ok := v.(Carrier); ok {
		return c.Metadata()
	}
	return nil
}
