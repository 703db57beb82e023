package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
)

// envelopeVersion is the first byte of every request and answer. A node refuses another version.
const envelopeVersion = 1

// errEnvelope reports a request or an answer of another node that does not have the expected form.
var errEnvelope = errors.New("cluster: malformed request or answer of another node")

// kind says what a request asks for.
type kind uint8

const (
	// callKind: call a method of a client.
	callKind kind = iota
	// publishKind: publish a message to a client.
	publishKind
	// openKind: open a stream to a client.
	openKind
	// broadcastKind: publish a message to the members of a group.
	broadcastKind
)

// request is what one node asks another one to do with a client. On the way it has a header, which
// appendHeader writes, and the data:
//
//	byte     version, 1
//	byte     kind
//	uint64   id of the client, big-endian
//	uvarint  timeout in nanoseconds; 0 for none
//	byte     delivery guarantee of a message (options.Cnss)
//	bytes    method, topic, or peer of a stream: uvarint length, then the bytes
//	bytes    group; empty except for a broadcast
//	bytes    custom bytes, or meta of a stream
//	uvarint  number of metadata values; for each one the key and the value, as bytes
type request struct {
	kind    kind
	client  uint64
	timeout time.Duration
	cnss    options.Cnss
	name    string // the method, the topic, or the peer of a stream
	group   string // the group of a broadcast
	custom  []byte // custom bytes, or the meta of a stream
	md      metadata.MD
	data    []byte
}

// context returns a context with the timeout and the metadata of r. The caller calls the function
// when the operation has ended.
func (r *request) context(ctx context.Context) (context.Context, context.CancelFunc) {
	cancel := func() {}
	if r.timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, r.timeout)
	}
	if len(r.md) > 0 {
		ctx = metadata.NewOutgoingContext(ctx, r.md)
	}
	return ctx, cancel
}

// appendHeader appends the header of r to b.
func (r *request) appendHeader(b []byte) []byte {
	b = append(b, envelopeVersion, byte(r.kind))
	b = binary.BigEndian.AppendUint64(b, r.client)
	b = binary.AppendUvarint(b, uint64(max(r.timeout, 0)))
	b = append(b, byte(r.cnss))
	b = appendBytes(b, r.name)
	b = appendBytes(b, r.group)
	b = appendBytes(b, r.custom)
	return appendMetadata(b, r.md)
}

// parseRequest parses a header.
func parseRequest(header, data []byte) (*request, error) {
	p := parser{b: header}
	version := p.byte()
	r := &request{kind: kind(p.byte()), client: p.uint64(), timeout: time.Duration(p.uvarint()), data: data}
	r.cnss = options.Cnss(p.byte())
	r.name, r.group, r.custom, r.md = string(p.bytes()), string(p.bytes()), p.bytes(), p.metadata()
	if !p.done() || version != envelopeVersion || r.kind > broadcastKind || r.timeout < 0 {
		return nil, errEnvelope
	}
	return r, nil
}

// status is the result of a request.
type status uint8

const (
	// succeeded: the client has answered without an error.
	succeeded status = iota
	// failed: the client has answered with an error, or the node has refused the operation,
	// for instance because it exceeds a limit of the client.
	failed
	// interruptedBefore: the connection of the client has ended, and the client has not acted.
	interruptedBefore
	// interruptedAfter: the connection of the client has ended, and the client may have acted.
	interruptedAfter
	// absent: the node has no such client.
	absent
)

// answer is the outcome of a request. It has a header and data, as a request has:
//
//	byte     version, 1
//	byte     status
//	uvarint  code of the error
//	bytes    text of the error
//	bytes    custom bytes
//	uvarint  number of metadata values, then the metadata
type answer struct {
	status status
	code   geminio.Code
	text   string
	custom []byte
	md     metadata.MD
	data   []byte
}

// appendHeader appends the header of a to b.
func (a *answer) appendHeader(b []byte) []byte {
	b = append(b, envelopeVersion, byte(a.status))
	b = binary.AppendUvarint(b, uint64(a.code))
	b = appendBytes(b, a.text)
	b = appendBytes(b, a.custom)
	return appendMetadata(b, a.md)
}

// parseAnswer parses a header.
func parseAnswer(header, data []byte) (*answer, error) {
	p := parser{b: header}
	version := p.byte()
	a := &answer{status: status(p.byte()), data: data}
	code := p.uvarint()
	a.code, a.text, a.custom, a.md = geminio.Code(code), string(p.bytes()), p.bytes(), p.metadata()
	if !p.done() || version != envelopeVersion || a.status > absent || code > 1<<32-1 {
		return nil, errEnvelope
	}
	return a, nil
}

// answerFor returns the answer for the error of an operation with a local client. The error is nil
// for a success.
func answerFor(err error) *answer {
	if err == nil {
		return &answer{}
	}
	if i, ok := errors.AsType[*geminio.InterruptedError](err); ok {
		a := &answer{status: interruptedBefore, code: codeOf(i.Cause), text: i.Cause.Error()}
		if i.MaybeExecuted {
			a.status = interruptedAfter
		}
		return a
	}
	return &answer{status: failed, code: codeOf(err), text: err.Error()}
}

// err returns the error of the operation at its caller.
func (a *answer) err() error {
	switch a.status {
	case succeeded:
		return nil
	case absent:
		return ErrClientOffline
	case interruptedBefore, interruptedAfter:
		return &geminio.InterruptedError{
			MaybeExecuted: a.status == interruptedAfter,
			Cause:         &geminio.RemoteError{Code: a.code, Text: a.text},
		}
	}
	return &geminio.RemoteError{Code: a.code, Text: a.text}
}

// frame returns header and data as one message of NATS: the length of the header as a uvarint, the
// header, the data.
func frame(header, data []byte) []byte {
	b := make([]byte, 0, binary.MaxVarintLen32+len(header)+len(data))
	b = binary.AppendUvarint(b, uint64(len(header)))
	b = append(b, header...)
	return append(b, data...)
}

// unframe returns the parts of a frame.
func unframe(b []byte) (header, data []byte, err error) {
	p := parser{b: b}
	header = p.bytes()
	if p.bad {
		return nil, nil, errEnvelope
	}
	return header, p.b, nil
}

// appendBytes appends the length of s and s.
func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendMetadata appends the number of values of md, and the key and the value of each.
func appendMetadata(b []byte, md metadata.MD) []byte {
	n := 0
	for _, values := range md {
		n += len(values)
	}
	b = binary.AppendUvarint(b, uint64(n))
	for key, values := range md {
		for _, value := range values {
			b = appendBytes(appendBytes(b, key), value)
		}
	}
	return b
}

// parser takes fields off the front of b. After the first field that is not complete, bad is true
// and all further fields are zero.
type parser struct {
	b   []byte
	bad bool
}

// done reports whether all fields were complete and nothing is left.
func (p *parser) done() bool { return !p.bad && len(p.b) == 0 }

// take returns the first n bytes.
func (p *parser) take(n uint64) []byte {
	if p.bad || n > uint64(len(p.b)) {
		p.b, p.bad = nil, true
		return nil
	}
	taken := p.b[:n:n]
	p.b = p.b[n:]
	return taken
}

// byte returns a byte.
func (p *parser) byte() byte {
	if b := p.take(1); b != nil {
		return b[0]
	}
	return 0
}

// uint64 returns a big-endian number of eight bytes.
func (p *parser) uint64() uint64 {
	if b := p.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// uvarint returns a number.
func (p *parser) uvarint() uint64 {
	v, n := binary.Uvarint(p.b)
	if n <= 0 {
		p.b, p.bad = nil, true
		return 0
	}
	p.b = p.b[n:]
	return v
}

// bytes returns bytes behind their length, and nil for the length 0.
func (p *parser) bytes() []byte {
	if b := p.take(p.uvarint()); len(b) > 0 {
		return b
	}
	return nil
}

// metadata returns metadata, and nil if there is none.
func (p *parser) metadata() metadata.MD {
	n := p.uvarint()
	if p.bad || n == 0 {
		return nil
	}
	if n > uint64(len(p.b))/2 { // each value needs two lengths
		p.b, p.bad = nil, true
		return nil
	}
	md := make(metadata.MD)
	for range n {
		key := string(p.bytes())
		md.Append(key, string(p.bytes()))
	}
	return md
}
