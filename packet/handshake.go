package packet

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/singchia/geminio/internal/pairs"
)

// MaxHandshakeLen bounds the body of a handshake packet, in bytes.
const MaxHandshakeLen = 64 << 10

// MaxHandshakeContent bounds the meta and the metadata of a handshake packet together, in bytes.
// In base64, they fit into MaxHandshakeLen with everything else.
const MaxHandshakeContent = 48000

// MaxDecodablePacketLen is the length of the longest packet that the earlier library
// decoded, in bytes. Programs derive the sizes of their batches from it. This library
// does not use it as a limit: the options of an End have its limit (SetMaxMessageSize), and a
// peer of wire 1 accepts no longer packet.
const MaxDecodablePacketLen = 10 << 20

// HandshakeHeaderLen is the length of the header of the two handshake packets.
//
//	0         1      2                10          14
//	+---------+------+----------------+-----------+
//	| version | type | packet id (64) | length(32)|
//	+---------+------+----------------+-----------+
const HandshakeHeaderLen = 14

// Version is the first byte of every handshake packet.
const Version = 0x01

// The types of the two handshake packets.
const (
	typeConn    = 0x01
	typeConnAck = 0x02
)

// The flags of a Conn packet.
const (
	connHeartbeat = 0x30 // heartbeat exponent e: 5*4^e seconds
	connAcquire   = 0x08 // the server may choose the client id
)

// Settings is the offer of a side in the handshake. It says that the side speaks wire 2,
// which sizes it accepts, and how much first credit it gives. It is in the JSON object
// of both packets under the key "wire2". Unknown keys are ignored;
// a key that is missing, that occurs twice or that has the wrong case is an error.
type Settings struct {
	MaxFrame   uint32 `json:"frame"`    // largest payload of a frame, bytes
	MaxMessage uint32 `json:"message"`  // largest content of a request, response or message, bytes
	MaxStreams uint32 `json:"streams"`  // streams that the peer may have open, without the default one
	Raw        uint32 `json:"raw"`      // first credit of ClassRaw for the default stream, bytes
	Messages   uint32 `json:"messages"` // first credit of ClassMessages for the default stream, bytes
	Handlers   uint32 `json:"handlers"` // first credit of ClassHandlers
	Large      uint32 `json:"large"`    // first credit of each of the three large classes, bytes
	// Requests is the first credit of ClassLargeRequests, in bytes; 0 means Large.
	Requests uint32 `json:"requests,omitempty"`
	// Small is the largest body of a small packet, in bytes, unless MaxFrame allows less;
	// 0: 8 KiB. See package internal/charge.
	Small uint32 `json:"small,omitempty"`
	// Session identifies a client that reconnects, so that the server recognizes
	// messages that are sent again. Only clients send it.
	Session []byte `json:"session,omitempty"`
	// Log is the number of sent bytes that the side keeps until the peer has
	// received them; 0 without FeatureResume.
	Log uint32 `json:"log,omitempty"`
	// MaxMetadata is the largest metadata of a request, response, message or open that the
	// side accepts, in bytes; 0 means that it takes none, and none is sent to it.
	MaxMetadata uint32 `json:"metadata,omitempty"`
	// Features names optional features of the side, such as FeatureResume.
	Features []string `json:"features,omitempty"`
}

// MaxSession is the length of the longest Settings.Session, in bytes.
const MaxSession = 32

// check returns an error if a value of an offer with these keys is out of range or if a
// key is missing.
func (w *Settings) check(what string, keys keySet) error {
	if keys.has(slices.Index(offerKeys, "frame")) && w.MaxFrame < MinMaxFrame {
		return malformed(what, "largest frame of %d bytes, need %d", w.MaxFrame, MinMaxFrame)
	}
	if err := complete(what, keys); err != nil {
		return err
	}
	switch {
	case len(w.Session) > MaxSession:
		return malformed(what, "session of %d bytes, at most %d", len(w.Session), MaxSession)
	case w.Messages < 1<<10 || w.Raw == 0 || w.Handlers == 0:
		return malformed(what, "first credit too small: raw %d, messages %d, handlers %d", w.Raw, w.Messages, w.Handlers)
	}
	for class := ClassLargeMessages; class <= ClassLargeResponses; class++ {
		least := uint64(w.MaxMessage) + MaxHead
		if class == ClassLargeMessages {
			least = uint64(w.MaxMessage) + MinLarge
		}
		if credit := w.Credit(class); uint64(credit) < least {
			return malformed(what, "credit of %d for %v of %d", credit, class, w.MaxMessage)
		}
	}
	return nil
}

// Credit returns the first credit of a class of the connection.
func (w *Settings) Credit(class Class) uint32 {
	switch {
	case class == ClassHandlers:
		return w.Handlers
	case class == ClassLargeRequests && w.Requests != 0:
		return w.Requests
	}
	return w.Large
}

// Conn is the client's handshake packet.
//
//	+-----------+------+----------------+------+
//	| flags (8) | zero | client id (64) | JSON |
//	+-----------+------+----------------+------+
type Conn struct {
	PacketID          uint64
	ClientID          uint64 // the id that the client asks for; 0: any
	HeartbeatExponent uint8  // heartbeat exponent e, 0 to 3: 5*4^e seconds; wire 2 does not use it
	Meta              []byte
	Metadata          pairs.List // its pairs are complete, and CheckMetadata checks the rest
	Settings          *Settings  // nil: the client speaks only wire 1
	Resume            *Resume    // the session that the client resumes; nil if there is none
}

type connJSON struct {
	Meta     []byte    `json:"meta,omitempty"`
	Metadata []byte    `json:"metadata,omitempty"`
	Settings *Settings `json:"wire2,omitempty"`
	Resume   *Resume   `json:"resume,omitempty"`
}

// ConnAck is the server's answer.
//
//	+-------------+----------------+------+
//	| refused (8) | client id (64) | JSON |
//	+-------------+----------------+------+
type ConnAck struct {
	PacketID uint64 // the packet id of the Conn packet
	ClientID uint64 // the id of the client
	Refused  bool
	Code     uint32        // the code of the refusal
	Error    string        // the text of the refusal
	Retry    time.Duration // the time after which a refused client should try again, in whole milliseconds; 0: unspecified
	Metadata pairs.List    // as in Conn
	Settings *Settings     // nil: the server speaks only wire 1
	Ticket   *Ticket       // the ticket of a new session; nil if the session cannot be resumed
	Resumed  *Resumed      // set if the transport continues the session of Conn.Resume
	Ended    *Resumed      // set if the server has ended the session of Conn.Resume
}

type connAckJSON struct {
	Error    string    `json:"error,omitempty"`
	Code     uint32    `json:"code,omitempty"`
	Retry    uint32    `json:"retry,omitempty"` // milliseconds
	Metadata []byte    `json:"metadata,omitempty"`
	Settings *Settings `json:"wire2,omitempty"`
	Ticket   *Ticket   `json:"ticket,omitempty"`
	Resumed  *Resumed  `json:"resumed,omitempty"`
	Ended    *Resumed  `json:"ended,omitempty"`
}

const (
	connLen    = 1 + 1 + 8
	connAckLen = 1 + 8
)

// AppendConn appends a Conn packet, or reports that its Meta makes it too large.
func AppendConn(b []byte, c Conn) ([]byte, error) {
	fixed := make([]byte, 0, connLen)
	fixed = append(fixed, c.HeartbeatExponent<<4&connHeartbeat|connAcquire, 0)
	fixed = binary.BigEndian.AppendUint64(fixed, c.ClientID)
	return appendHandshake(b, typeConn, c.PacketID, fixed, connJSON{c.Meta, c.Metadata, c.Settings, c.Resume})
}

// handshakeMetadata returns the metadata of a handshake packet; nil if it is empty.
func handshakeMetadata(what string, b []byte) (pairs.List, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if l := pairs.List(b); l.Framed() {
		return l, nil
	}
	return nil, malformed(what, "the length of its metadata is not that of its pairs")
}

// AppendConnAck appends a ConnAck packet.
func AppendConnAck(b []byte, a ConnAck) ([]byte, error) {
	fixed := make([]byte, 0, connAckLen)
	if a.Refused {
		fixed = append(fixed, 1)
	} else {
		fixed = append(fixed, 0)
	}
	fixed = binary.BigEndian.AppendUint64(fixed, a.ClientID)
	return appendHandshake(b, typeConnAck, a.PacketID, fixed, connAckJSON{
		a.Error, a.Code, milliseconds(a.Retry), a.Metadata, a.Settings, a.Ticket, a.Resumed, a.Ended,
	})
}

func appendHandshake(b []byte, typ byte, packetID uint64, fixed []byte, v any) ([]byte, error) {
	object, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error()) // plain structs of bytes, strings and numbers
	}
	size := len(fixed) + len(object)
	if size > MaxHandshakeLen {
		return b, tooLarge("handshake", uint64(size), MaxHandshakeLen)
	}
	b = append(b, Version, typ)
	b = binary.BigEndian.AppendUint64(b, packetID)
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	return append(append(b, fixed...), object...), nil
}

// ParseHandshakeHeader parses the HandshakeHeaderLen bytes that open a handshake
// packet, and returns the length of the body. The slice must have that many bytes. A
// server expects a Conn, a client a ConnAck.
func ParseHandshakeHeader(b []byte, server bool) (packetID uint64, length int, err error) {
	what, want := "connack", byte(typeConnAck)
	if server {
		what, want = "conn", typeConn
	}
	size := binary.BigEndian.Uint32(b[10:])
	switch {
	case b[0] != Version || b[1] != want:
		return 0, 0, malformed(what, "it begins with %02x %02x, not with %02x %02x", b[0], b[1], Version, want)
	case size > MaxHandshakeLen:
		return 0, 0, tooLarge(what, uint64(size), MaxHandshakeLen)
	}
	return binary.BigEndian.Uint64(b[2:]), int(size), nil
}

// ParseConn parses the body of a Conn packet.
func ParseConn(packetID uint64, b []byte) (Conn, error) {
	r := reader{b: b}
	flags := r.u8()
	r.u8()
	c := Conn{PacketID: packetID, ClientID: r.u64(), HeartbeatExponent: flags & connHeartbeat >> 4}
	if err := r.err("conn", len(b)); err != nil {
		return c, err
	}
	var v connJSON
	keys, err := parseObject("conn", r.b, &v, "meta", "metadata", "wire2", "resume")
	if err != nil {
		return c, err
	}
	c.Meta, c.Settings, c.Resume = v.Meta, v.Settings, v.Resume
	if c.Metadata, err = handshakeMetadata("conn", v.Metadata); err != nil {
		return c, err
	}
	if c.Settings != nil {
		if err := c.Settings.check("conn", keys); err != nil {
			return c, err
		}
	}
	return c, c.Resume.check()
}

// ParseConnAck parses the body of a ConnAck packet. An error text is a refusal even if
// the refused byte is 0; clients of earlier releases treat it so too.
func ParseConnAck(packetID uint64, b []byte) (ConnAck, error) {
	r := reader{b: b}
	refused := r.u8()
	a := ConnAck{PacketID: packetID, ClientID: r.u64()}
	if err := r.err("connack", len(b)); err != nil {
		return a, err
	}
	var v connAckJSON
	keys, err := parseObject("connack", r.b, &v, "error", "code", "retry", "metadata", "wire2", "ticket", "resumed", "ended")
	if err != nil {
		return a, err
	}
	a.Error, a.Code, a.Settings = v.Error, v.Code, v.Settings
	a.Ticket, a.Resumed, a.Ended = v.Ticket, v.Resumed, v.Ended
	a.Retry = time.Duration(v.Retry) * time.Millisecond
	if a.Metadata, err = handshakeMetadata("connack", v.Metadata); err != nil {
		return a, err
	}
	a.Refused = refused != 0 || a.Error != ""
	if a.Settings != nil && !a.Refused {
		if err := a.Settings.check("connack", keys); err != nil {
			return a, err
		}
	}
	return a, errors.Join(a.Ticket.check(), a.Resumed.check("resumed"), a.Ended.check("ended"))
}
