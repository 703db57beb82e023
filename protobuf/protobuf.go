package protobuf

import (
	"fmt"
	"reflect"

	"google.golang.org/protobuf/proto"

	"github.com/singchia/geminio/typed"
)

// Codec encodes messages of Protocol Buffers in the binary format. Its name is "protobuf". A value
// that is not a proto.Message is an error. A nil message is encoded like an empty one. Its methods are
// safe for concurrent use.
var Codec typed.Codec = codec{}

type codec struct{}

// Name implements typed.Codec.
func (codec) Name() string { return "protobuf" }

// Append implements typed.Codec.
func (codec) Append(b []byte, v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return b, notMessage(v)
	}
	return proto.MarshalOptions{}.MarshalAppend(b, m)
}

// Unmarshal implements typed.Codec. v points to a message, or to a pointer to one, which becomes a
// new message if it is nil.
func (codec) Unmarshal(data []byte, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		if m, ok = indirect(v); !ok {
			return notMessage(v)
		}
	}
	return proto.Unmarshal(data, m)
}

// indirect returns the message to which the pointer that v points to points, and makes one if that
// pointer is nil.
func indirect(v any) (proto.Message, bool) {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() || p.Type().Elem().Kind() != reflect.Pointer {
		return nil, false
	}
	p = p.Elem()
	if _, ok := p.Interface().(proto.Message); !ok {
		return nil, false
	}
	if p.IsNil() {
		p.Set(reflect.New(p.Type().Elem()))
	}
	return p.Interface().(proto.Message), true
}

// notMessage is the error of a value that is not a proto.Message.
func notMessage(v any) error { return fmt.Errorf("protobuf: %T is not a proto.Message", v) }
