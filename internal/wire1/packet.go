package wire1

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/singchia/geminio/packet"
)

// Type is the type of a packet.
type Type uint8

// The types. C stands for the client, S for the server; the others go both ways.
const (
	TypeConn          Type = 0x01 // C: Flags, Client, Meta
	TypeConnAck       Type = 0x02 // S: Code, Client, Error
	TypeDisConn       Type = 0x11 // empty
	TypeDisConnAck    Type = 0x12 // Code, Error
	TypeHeartbeat     Type = 0x21 // C: empty
	TypeHeartbeatAck  Type = 0x22 // S: empty
	TypeSession       Type = 0x31 // Priority, Flags, Negotiate, Meta, Peer
	TypeSessionAck    Type = 0x32 // Negotiate, Session, Error
	TypeDismiss       Type = 0x41 // Session
	TypeDismissAck    Type = 0x42 // Session
	TypeMessage       Type = 0x51 // Session and content: Value, Topic, Custom
	TypeMessageAck    Type = 0x52 // Session and content: Error
	TypeStream        Type = 0x61 // Session, Raw
	TypeRequest       Type = 0x71 // Session and content: Key is the method, Value the data, Custom
	TypeResponse      Type = 0x72 // Session and content: Key is the method, Value the data, Error
	TypeRequestCancel Type = 0x73 // Session, Kind
	TypeRegister      Type = 0x81 // Session, Raw is the method
	TypeRegisterAck   Type = 0x82 // Session, Error
)

const (
	// HeaderLen is the length of the header of every packet.
	//
	//	0         1      2                10           14
	//	+---------+------+----------------+------------+
	//	| version | type | packet id (64) | length (32)|
	//	+---------+------+----------------+------------+
	HeaderLen = 14
	// Version is the first byte of every packet.
	Version = 0x01
	// MaxBody is the longest body that every peer accepts, in bytes.
	MaxBody = packet.MaxDecodablePacketLen
	// FlagAcquire in Conn asks the server for a client id.
	FlagAcquire = 0x08
	// FlagAcquireSession in Session asks the server for a session id.
	FlagAcquireSession = 0x10
)

// Period returns the time between two Heartbeats of a client whose Conn packet has these flags.
// Bits 4 and 5 are an exponent e, for 5*4^e seconds.
func Period(flags uint8) time.Duration {
	return 5 * time.Second << (2 * (flags >> 4 & 3))
}

// The values of Kind in RequestCancel.
const (
	KindCanceled = 1
	KindDeadline = 2
)

// tail is the form of the part of a body behind the fixed fields.
type tail uint8

const (
	tailNone    tail = iota // nothing
	tailRaw                 // bytes
	tailObject              // a JSON object
	tailContent             // a JSON object with the content of a message or call
)

// layout is the form of a body.
type layout struct {
	name  string
	fixed int // length of the fixed fields
	tail  tail
}

var layouts = map[Type]layout{
	TypeConn:          {"conn", 10, tailObject},
	TypeConnAck:       {"connack", 9, tailObject},
	TypeDisConn:       {"disconn", 0, tailNone},
	TypeDisConnAck:    {"disconnack", 1, tailObject},
	TypeHeartbeat:     {"heartbeat", 0, tailNone},
	TypeHeartbeatAck:  {"heartbeatack", 0, tailNone},
	TypeSession:       {"session", 10, tailObject},
	TypeSessionAck:    {"sessionack", 18, tailObject},
	TypeDismiss:       {"dismiss", 8, tailObject},
	TypeDismissAck:    {"dismissack", 8, tailObject},
	TypeMessage:       {"message", 8, tailContent},
	TypeMessageAck:    {"messageack", 8, tailContent},
	TypeStream:        {"stream", 8, tailRaw},
	TypeRequest:       {"request", 8, tailContent},
	TypeResponse:      {"response", 8, tailContent},
	TypeRequestCancel: {"requestcancel", 10, tailNone},
	TypeRegister:      {"register", 8, tailRaw},
	TypeRegisterAck:   {"registerack", 8, tailObject},
}

// String returns the name of the type, or its number if the type is unknown.
func (t Type) String() string {
	if l, ok := layouts[t]; ok {
		return l.name
	}
	return fmt.Sprintf("type 0x%02x", uint8(t))
}

// Known reports whether t is one of the types above.
func (t Type) Known() bool { return layouts[t].name != "" }

// ofSession reports whether a body of type t begins with a session id.
func (t Type) ofSession() bool { return t >= TypeDismiss }

// Header is the header of a packet.
type Header struct {
	Type   Type
	ID     uint64 // an answer has the id of the packet that it answers
	Length uint32 // the length of the body, in bytes
}

// AppendHeader appends h to b.
func AppendHeader(b []byte, h Header) []byte {
	b = append(b, Version, byte(h.Type))
	b = binary.BigEndian.AppendUint64(b, h.ID)
	return binary.BigEndian.AppendUint32(b, h.Length)
}

// ParseHeader parses the first HeaderLen bytes of b and checks them. The slice b must have that
// many bytes. The type must be known, and the length possible for the type. There is no upper
// bound of the length.
func ParseHeader(b []byte) (Header, error) {
	h := Header{
		Type:   Type(b[1]),
		ID:     binary.BigEndian.Uint64(b[2:]),
		Length: binary.BigEndian.Uint32(b[10:HeaderLen]),
	}
	l, known := layouts[h.Type]
	shortest := l.fixed
	if l.tail == tailObject || l.tail == tailContent {
		shortest += len("{}")
	}
	switch {
	case b[0] != Version:
		return h, malformed("header", "version 0x%02x, not 0x%02x", b[0], Version)
	case !known:
		return h, malformed("header", "unknown type 0x%02x (this is wire 1)", b[1])
	case int64(h.Length) < int64(shortest):
		return h, malformed(l.name, "body of %d bytes, need %d", h.Length, shortest)
	case l.tail == tailNone && int64(h.Length) > int64(l.fixed):
		return h, malformed(l.name, "body of %d bytes, at most %d", h.Length, l.fixed)
	}
	return h, nil
}

// Packet is a packet of any type. The comment of a type names the fields that it uses; all
// other fields are zero.
type Packet struct {
	Type      Type
	ID        uint64
	Code      uint8 // 0: no error
	Priority  uint8
	Flags     uint8
	Kind      int16
	Client    uint64
	Negotiate uint64 // the number of a session until its id is known
	Session   uint64
	Raw       []byte
	Meta      []byte
	Peer      string
	Error     string
	Content
}

// Content is the content of messages, requests and their answers.
type Content struct {
	Key, Value, Custom []byte
	Topic              string
	Deadline           time.Time // of the operation; zero: none
	ContextDeadline    time.Time // of the context; zero: none
}

// object is the JSON object of tailObject.
type object struct {
	Meta  []byte `json:"meta,omitempty"`
	Peer  string `json:"peer,omitempty"`
	Error string `json:"error,omitempty"`
}

// content is the JSON object of tailContent. The order of the fields is that of the
// keys on the wire.
type content struct {
	Key      []byte    `json:"key,omitempty"`
	Value    []byte    `json:"value,omitempty"`
	Topic    string    `json:"topic,omitempty"`
	Custom   []byte    `json:"custom,omitempty"`
	Error    string    `json:"error,omitempty"`
	Deadline time.Time `json:"deadline"`
	Context  struct {
		Deadline time.Time `json:"deadline"`
	} `json:"context"`
}

// Append appends p with its header. Deadlines after the year 9999, which JSON does not allow,
// are replaced by its end.
func Append(b []byte, p Packet) []byte {
	start := len(b)
	b = AppendHeader(b, Header{Type: p.Type, ID: p.ID})
	b = p.appendFixed(b)
	switch layouts[p.Type].tail {
	case tailRaw:
		b = append(b, p.Raw...)
	case tailObject:
		b = appendJSON(b, object{p.Meta, p.Peer, p.Error})
	case tailContent:
		v := content{Key: p.Key, Value: p.Value, Topic: p.Topic, Custom: p.Custom, Error: p.Error, Deadline: latest(p.Deadline)}
		v.Context.Deadline = latest(p.ContextDeadline)
		b = appendJSON(b, v)
	}
	binary.BigEndian.PutUint32(b[start+10:], uint32(len(b)-start-HeaderLen))
	return b
}

// appendFixed appends the fixed fields of the body.
func (p *Packet) appendFixed(b []byte) []byte {
	switch p.Type {
	case TypeConn:
		b = append(b, p.Flags, 0)
		return binary.BigEndian.AppendUint64(b, p.Client)
	case TypeConnAck:
		b = append(b, p.Code)
		return binary.BigEndian.AppendUint64(b, p.Client)
	case TypeDisConnAck:
		return append(b, p.Code)
	case TypeSession:
		b = append(b, p.Priority, p.Flags)
		return binary.BigEndian.AppendUint64(b, p.Negotiate)
	case TypeSessionAck:
		b = append(b, 0, 0)
		b = binary.BigEndian.AppendUint64(b, p.Negotiate)
	}
	if p.Type == TypeSessionAck || p.Type.ofSession() {
		b = binary.BigEndian.AppendUint64(b, p.Session)
	}
	if p.Type == TypeRequestCancel {
		b = binary.BigEndian.AppendUint16(b, uint16(p.Kind))
	}
	return b
}

// appendJSON appends v as JSON.
func appendJSON(b []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error()) // plain structs of bytes, strings and times
	}
	return append(b, text...)
}

// latest returns t, or the latest time that JSON allows if t is later.
func latest(t time.Time) time.Time {
	if t.Year() > 9999 {
		return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	}
	return t
}

// Parse parses the body of the packet with the header h, which ParseHeader has
// accepted; body has h.Length bytes. Raw aliases body.
func Parse(h Header, body []byte) (Packet, error) {
	p := Packet{Type: h.Type, ID: h.ID}
	l := layouts[h.Type]
	p.parseFixed(body)
	rest := body[l.fixed:]
	switch l.tail {
	case tailRaw:
		p.Raw = rest
	case tailObject:
		var v object
		if err := json.Unmarshal(rest, &v); err != nil {
			return p, malformed(l.name, "%v", err)
		}
		p.Meta, p.Peer, p.Error = v.Meta, v.Peer, v.Error
	case tailContent:
		var v content
		if err := json.Unmarshal(rest, &v); err != nil {
			return p, malformed(l.name, "%v", err)
		}
		p.Content = Content{v.Key, v.Value, v.Custom, v.Topic, v.Deadline, v.Context.Deadline}
		p.Error = v.Error
	}
	return p, nil
}

// parseFixed parses the fixed fields of the body b.
func (p *Packet) parseFixed(b []byte) {
	switch p.Type {
	case TypeConn:
		p.Flags, p.Client = b[0], binary.BigEndian.Uint64(b[2:])
	case TypeConnAck:
		p.Code, p.Client = b[0], binary.BigEndian.Uint64(b[1:])
	case TypeDisConnAck:
		p.Code = b[0]
	case TypeSession:
		p.Priority, p.Flags, p.Negotiate = b[0], b[1], binary.BigEndian.Uint64(b[2:])
	case TypeSessionAck:
		p.Negotiate, p.Session = binary.BigEndian.Uint64(b[2:]), binary.BigEndian.Uint64(b[10:])
	}
	if p.Type.ofSession() {
		p.Session = binary.BigEndian.Uint64(b)
	}
	if p.Type == TypeRequestCancel {
		p.Kind = int16(binary.BigEndian.Uint16(b[8:]))
	}
}

// malformed returns a *packet.Error.
func malformed(what, format string, args ...any) error {
	return &packet.Error{What: what, Reason: fmt.Sprintf(format, args...)}
}
