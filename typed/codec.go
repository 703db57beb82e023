package typed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/metadata"
)

// Codec converts values to bytes and back. Its methods must be safe for concurrent use.
type Codec interface {
	// Name returns the name that is sent with the data, such as "json". Both sides must use
	// codecs of the same name.
	Name() string

	// Append appends the encoded value v to b and returns the extended slice. b may be nil.
	Append(b []byte, v any) ([]byte, error)

	// Unmarshal decodes data into the value that v points to. It must not keep data.
	Unmarshal(data []byte, v any) error
}

// JSON is the codec of package encoding/json, with the name "json". It is the default.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

// jsonName is the name of JSON. It is not sent.
const jsonName = "json"

// Name implements Codec.
func (jsonCodec) Name() string { return jsonName }

// Append implements Codec.
func (jsonCodec) Append(b []byte, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if b == nil || err != nil {
		return data, err
	}
	return append(b, data...), nil
}

// Unmarshal implements Codec.
func (jsonCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// ErrCodec matches the error of data that was encoded by another codec.
var ErrCodec = errors.New("encoded by another codec")

// DataError reports data that cannot be encoded or decoded. It is a geminio.Coder.
type DataError struct {
	What  string // names the data, such as `request of "reboot"`
	Codec string // the name of the codec of this side
	Err   error  // the error of the codec, or one that matches ErrCodec
}

// Error returns a text with all fields.
func (e *DataError) Error() string { return fmt.Sprintf("%s: %s: %v", e.What, e.Codec, e.Err) }

// Code returns geminio.CodeInvalid.
func (e *DataError) Code() geminio.Code { return geminio.CodeInvalid }

// Unwrap returns Err.
func (e *DataError) Unwrap() error { return e.Err }

// nameKey is the key of the metadata with the name of the codec.
const nameKey = "content-type"

// coder is a codec, and the name of the method or topic for its errors.
type coder struct {
	Codec
	of string
}

// coderOf returns the coder of a method or topic. A nil c stands for JSON.
func coderOf(c Codec, of string) coder {
	if c == nil {
		c = JSON
	}
	return coder{c, of}
}

// fail returns a *DataError for data of one kind, such as "request".
func (c coder) fail(kind string, err error) error {
	return &DataError{What: fmt.Sprintf("%s of %q", kind, c.of), Codec: c.Name(), Err: err}
}

// encode appends v to b.
func (c coder) encode(b []byte, kind string, v any) ([]byte, error) {
	b, err := c.Append(b, v)
	if err != nil {
		return nil, c.fail(kind, err)
	}
	return b, nil
}

// decode decodes data into v, which is a pointer.
func (c coder) decode(kind string, data []byte, v any) error {
	if err := c.Unmarshal(data, v); err != nil {
		return c.fail(kind, err)
	}
	return nil
}

// outgoing returns a context whose operations send the name of the codec.
func (c coder) outgoing(ctx context.Context) context.Context {
	if name := c.Name(); name != jsonName {
		return metadata.AppendToOutgoingContext(ctx, nameKey, name)
	}
	return ctx
}

// answer has the answer of a handler send the name of the codec. ctx is that of the handler.
func (c coder) answer(ctx context.Context) {
	if name := c.Name(); name != jsonName {
		metadata.SetOutgoing(ctx, metadata.MD{nameKey: {name}})
	}
}

// check returns an error if the names that came with the data are not that of the codec.
func (c coder) check(kind string, names []string) error {
	name := jsonName
	if len(names) > 0 {
		name = names[0]
	}
	if name != c.Name() {
		return c.fail(kind, fmt.Errorf("%w: %q", ErrCodec, name))
	}
	return nil
}

// checkRequest is check for the request that a handler serves.
func (c coder) checkRequest(ctx context.Context) error {
	return c.check("request", metadata.ValueFromIncomingContext(ctx, nameKey))
}

// checkOf is check for a message or response.
func (c coder) checkOf(kind string, v any) error {
	return c.check(kind, metadata.From(v).Get(nameKey))
}
