package packet

import (
	"encoding/binary"
	"time"

	"github.com/singchia/geminio/internal/pairs"
)

// A body is the content of a packet behind its FragmentHeader, all fragments joined.
// Each kind of body has a head, which Append writes, and may have data, which follows
// it. The two are separate so that large data need not be copied.

// MaxHead is the length of the longest fixed part of a head, without the names,
// custom bytes and texts in it.
const MaxHead = 32

// MinLarge is how much more than Settings.MaxMessage the credit for large messages must have, in
// bytes: it must pay the longest body, and the overhead of a small message.
const MinLarge = MaxHead + 128

// MaxName bounds the names of methods and topics, in bytes.
const MaxName = 1<<16 - 1

// Request is the body of a Request packet.
//
//	+---------+--------------+-------------+-------------+---------------+--------+----------+--------+------+
//	| id (64) | timeout (64) | method (16) | custom (32) | metadata (32) | method | metadata | custom | data |
//	+---------+--------------+-------------+-------------+---------------+--------+----------+--------+------+
type Request struct {
	ID       uint64
	Timeout  time.Duration // the time that the caller still waits; 0: no limit is known
	Method   []byte
	Metadata pairs.List // nil if there is none; its pairs are complete, and CheckMetadata checks the rest
	Custom   []byte
	Data     []byte
}

const requestLen = 8 + 8 + 2 + 4

// Append appends the head.
func (r *Request) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, r.ID)
	b = binary.BigEndian.AppendUint64(b, uint64(max(r.Timeout, 0)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Method)))
	b = appendLengths(b, r.Custom, r.Metadata)
	b = append(b, r.Method...)
	b = append(b, r.Metadata...)
	return append(b, r.Custom...)
}

// HeadSize returns the number of bytes that Append appends.
func (r *Request) HeadSize() int {
	return requestLen + len(r.Method) + metadataSize(r.Metadata) + len(r.Custom)
}

// ParseRequest parses the body of a Request packet. The slices of the result alias it.
func ParseRequest(b []byte) (Request, error) {
	r := reader{b: b}
	p := Request{ID: r.u64(), Timeout: parseDuration(r.u64())}
	method := uint64(r.u16())
	custom, metadata := r.lengths()
	p.Method, p.Metadata, p.Custom, p.Data = r.bytes(method), r.metadata(metadata), r.bytes(custom), r.rest()
	return p, r.err("request", len(b))
}

// Response is the body of a Response packet.
//
//	+-----------+-----------+-------------+---------------+------+----------+--------+------+
//	| code (32) | text (32) | custom (32) | metadata (32) | text | metadata | custom | data |
//	+-----------+-----------+-------------+---------------+------+----------+--------+------+
type Response struct {
	Code     uint32     // the code of the error; 0: no error
	Text     string     // the text of the error
	Metadata pairs.List // as in Request
	Custom   []byte
	Data     []byte
}

const responseLen = 4 + 4 + 4

// Append appends the head.
func (r *Response) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, r.Code)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Text)))
	b = appendLengths(b, r.Custom, r.Metadata)
	b = append(b, r.Text...)
	b = append(b, r.Metadata...)
	return append(b, r.Custom...)
}

// HeadSize returns the number of bytes that Append appends.
func (r *Response) HeadSize() int {
	return responseLen + len(r.Text) + metadataSize(r.Metadata) + len(r.Custom)
}

// ParseResponse parses the body of a Response packet. The slices of the result alias it.
func ParseResponse(b []byte) (Response, error) {
	r := reader{b: b}
	p := Response{Code: r.u32()}
	text := uint64(r.u32())
	custom, metadata := r.lengths()
	p.Text, p.Metadata, p.Custom, p.Data = string(r.bytes(text)), r.metadata(metadata), r.bytes(custom), r.rest()
	return p, r.err("response", len(b))
}

// Message is the body of a Message packet.
//
//	+---------+--------------+----------+------------+-------------+---------------+-------+----------+--------+------+
//	| id (64) | timeout (64) | cnss (8) | topic (16) | custom (32) | metadata (32) | topic | metadata | custom | data |
//	+---------+--------------+----------+------------+-------------+---------------+-------+----------+--------+------+
type Message struct {
	ID       uint64
	Timeout  time.Duration // the time that the publisher still waits; 0: no limit is known
	Cnss     uint8         // 1: at most once, without an Ack; 2: at least once
	Topic    []byte
	Metadata pairs.List // as in Request
	Custom   []byte
	Data     []byte
}

const messageLen = 8 + 8 + 1 + 2 + 4

// Append appends the head.
func (m *Message) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, m.ID)
	b = binary.BigEndian.AppendUint64(b, uint64(max(m.Timeout, 0)))
	b = append(b, m.Cnss)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Topic)))
	b = appendLengths(b, m.Custom, m.Metadata)
	b = append(b, m.Topic...)
	b = append(b, m.Metadata...)
	return append(b, m.Custom...)
}

// HeadSize returns the number of bytes that Append appends.
func (m *Message) HeadSize() int {
	return messageLen + len(m.Topic) + metadataSize(m.Metadata) + len(m.Custom)
}

// ParseMessage parses the body of a Message packet. The slices of the result alias it.
func ParseMessage(b []byte) (Message, error) {
	r := reader{b: b}
	p := Message{ID: r.u64(), Timeout: parseDuration(r.u64()), Cnss: r.u8()}
	topic := uint64(r.u16())
	custom, metadata := r.lengths()
	p.Topic, p.Metadata, p.Custom, p.Data = r.bytes(topic), r.metadata(metadata), r.bytes(custom), r.rest()
	if err := r.err("message", len(b)); err != nil {
		return p, err
	}
	if p.Cnss != 1 && p.Cnss != 2 {
		return p, malformed("message", "unknown cnss %d", p.Cnss)
	}
	return p, nil
}

// Answer is the body of Ack, Registered and Cancel packets.
//
//	+-----------+------+
//	| code (32) | text |
//	+-----------+------+
type Answer struct {
	Code uint32 // the code of the error; 0: no error
	Text string // the text of the error
}

const answerLen = 4

// MaxAnswer bounds the text of an Answer, in bytes. Longer texts are cut, because an
// answer must fit the smallest frame.
const MaxAnswer = 1000

// HeadSize returns the number of bytes that Append appends.
func (a *Answer) HeadSize() int { return answerLen + len(CutText(a.Text, MaxAnswer)) }

// Append appends the body.
func (a *Answer) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, a.Code)
	return append(b, CutText(a.Text, MaxAnswer)...)
}

// ParseAnswer parses the body of a packet of type t.
func ParseAnswer(t Type, b []byte) (Answer, error) {
	r := reader{b: b}
	if len(b) > answerLen+MaxAnswer {
		return Answer{}, tooLarge(t.String(), uint64(len(b)), answerLen+MaxAnswer)
	}
	a := Answer{Code: r.u32(), Text: string(r.rest())}
	return a, r.err(t.String(), len(b))
}

// ParseAbandon parses the body of an Abandon packet. It returns the type of the
// packet that the sender does not complete.
func ParseAbandon(b []byte) (Type, error) {
	if len(b) != 1 || !Type(b[0]).Fragmented() {
		return 0, malformed("abandon", "body % x names no packet", b[:min(len(b), 8)])
	}
	return Type(b[0]), nil
}

// parseDuration returns a duration that was sent in nanoseconds. Values that would
// overflow are cut to 146 years.
func parseDuration(u uint64) time.Duration {
	return time.Duration(min(u, 1<<62))
}
