package packet

import (
	"encoding/binary"
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

// Limits of the methods of a handshake packet.
const (
	// MaxHandshakeMethods is the largest number of methods.
	MaxHandshakeMethods = 1024
	// MaxHandshakeMethod is the length of the longest name, in bytes.
	MaxHandshakeMethod = 1000
)

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
	MaxFrame   uint32 // largest payload of a frame, bytes
	MaxMessage uint32 // largest content of a request, response or message, bytes
	MaxStreams uint32 // streams that the peer may have open, without the default one
	Raw        uint32 // first credit of ClassRaw for the default stream, bytes
	Messages   uint32 // first credit of ClassMessages for the default stream, bytes
	Handlers   uint32 // first credit of ClassHandlers
	Large      uint32 // first credit of each of the three large classes, bytes
	// Requests is the first credit of ClassLargeRequests, in bytes; 0 means Large.
	Requests uint32
	// Small is the largest body of a small packet, in bytes, unless MaxFrame allows less;
	// 0: 8 KiB. See package internal/charge.
	Small uint32
	// Session identifies a client that reconnects, so that the server recognizes
	// messages that are sent again. Only clients send it.
	Session []byte
	// Log is the number of sent bytes that the side keeps until the peer has
	// received them; 0 without FeatureResume.
	Log uint32
	// MaxMetadata is the largest metadata of a request, response, message or open that the
	// side accepts, in bytes; 0 means that it takes none, and none is sent to it.
	MaxMetadata uint32
	// Features names optional features of the side, such as FeatureResume.
	Features []string
}

// offerKeys are the keys of an offer. The first mandatoryKeys of them are mandatory.
var offerKeys = []string{
	"frame", "message", "streams", "raw", "messages", "handlers", "large",
	"requests", "small", "session", "log", "metadata", "features",
}

const mandatoryKeys = 7

func (w *Settings) keys() ([]string, int) { return offerKeys, mandatoryKeys }

func (w *Settings) value(key int) any {
	return [...]any{
		&w.MaxFrame, &w.MaxMessage, &w.MaxStreams, &w.Raw, &w.Messages, &w.Handlers, &w.Large,
		&w.Requests, &w.Small, &w.Session, &w.Log, &w.MaxMetadata, &w.Features,
	}[key]
}

// MaxSession is the length of the longest Settings.Session, in bytes.
const MaxSession = 32

// check returns an error if a value of an offer with these keys is out of range or if a
// key is missing.
func (w *Settings) check(what string, keys keySet) error {
	if keys.has(slices.Index(offerKeys, "frame")) && w.MaxFrame < MinMaxFrame {
		return malformed(what, "largest frame of %d bytes, need %d", w.MaxFrame, MinMaxFrame)
	}
	for i, key := range offerKeys[:mandatoryKeys] {
		if !keys.has(i) {
			return malformed(what, "wire2: the key %q is missing", key)
		}
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
	Methods           []string   // the methods that the client registers; nil: it takes none of the server
	Settings          *Settings  // nil: the client speaks only wire 1
	Resume            *Resume    // the session that the client resumes; nil if there is none
}

// connObject is the JSON object of a Conn.
type connObject struct {
	meta, metadata []byte
	methods        []string
	offer          offered
	resume         *Resume
}

var connKeys = []string{"meta", "metadata", "methods", "wire2", "resume"}

func (o *connObject) keys() ([]string, int) { return connKeys, 0 }

func (o *connObject) value(key int) any {
	return [...]any{&o.meta, &o.metadata, &o.methods, &o.offer, &o.resume}[key]
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
	Methods  []string      // the methods that the server registers; nil: it has not registered those of the client
	Settings *Settings     // nil: the server speaks only wire 1
	Ticket   *Ticket       // the ticket of a new session; nil if the session cannot be resumed
	Resumed  *Resumed      // set if the transport continues the session of Conn.Resume
	Ended    *Resumed      // set if the server has ended the session of Conn.Resume
}

// connAckObject is the JSON object of a ConnAck.
type connAckObject struct {
	error    string
	code     uint32
	retry    uint32 // milliseconds
	metadata []byte
	methods  []string
	offer    offered
	ticket   *Ticket
	resumed  *Resumed
	ended    *Resumed
}

var connAckKeys = []string{"error", "code", "retry", "metadata", "methods", "wire2", "ticket", "resumed", "ended"}

func (o *connAckObject) keys() ([]string, int) { return connAckKeys, 0 }

func (o *connAckObject) value(key int) any {
	return [...]any{&o.error, &o.code, &o.retry, &o.metadata, &o.methods, &o.offer, &o.ticket, &o.resumed, &o.ended}[key]
}

const (
	connLen    = 1 + 1 + 8
	connAckLen = 1 + 8
)

// AppendConn appends a Conn packet, or reports that its Meta makes it too large.
func AppendConn(b []byte, c Conn) ([]byte, error) {
	p := beginHandshake(b, typeConn, c.PacketID)
	p = append(p, c.HeartbeatExponent<<4&connHeartbeat|connAcquire, 0)
	p = binary.BigEndian.AppendUint64(p, c.ClientID)
	p = appendObject(p, &connObject{c.Meta, c.Metadata, c.Methods, offered{Settings: c.Settings}, c.Resume})
	return endHandshake(b, p)
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

// checkMethods returns an error if the methods of a handshake packet are too many or too long.
func checkMethods(what string, methods []string) error {
	if len(methods) > MaxHandshakeMethods {
		return malformed(what, "%d methods, at most %d", len(methods), MaxHandshakeMethods)
	}
	for _, name := range methods {
		if len(name) > MaxHandshakeMethod {
			return malformed(what, "a method of %d bytes, at most %d", len(name), MaxHandshakeMethod)
		}
	}
	return nil
}

// AppendConnAck appends a ConnAck packet.
func AppendConnAck(b []byte, a ConnAck) ([]byte, error) {
	p := beginHandshake(b, typeConnAck, a.PacketID)
	if a.Refused {
		p = append(p, 1)
	} else {
		p = append(p, 0)
	}
	p = binary.BigEndian.AppendUint64(p, a.ClientID)
	p = appendObject(p, &connAckObject{
		a.Error, a.Code, milliseconds(a.Retry), a.Metadata, a.Methods, offered{Settings: a.Settings}, a.Ticket, a.Resumed, a.Ended,
	})
	return endHandshake(b, p)
}

// handshakeSpace is the memory for a handshake packet without meta, metadata, ticket and error.
const handshakeSpace = 512

// beginHandshake appends the header of a handshake packet, whose length endHandshake sets.
func beginHandshake(b []byte, typ byte, packetID uint64) []byte {
	b = append(slices.Grow(b, handshakeSpace), Version, typ)
	b = binary.BigEndian.AppendUint64(b, packetID)
	return append(b, 0, 0, 0, 0)
}

// endHandshake sets the length of the packet that p has behind b. It returns b if the packet is too large.
func endHandshake(b, p []byte) ([]byte, error) {
	body := p[len(b)+HandshakeHeaderLen:]
	if len(body) > MaxHandshakeLen {
		return b, tooLarge("handshake", uint64(len(body)), MaxHandshakeLen)
	}
	binary.BigEndian.PutUint32(p[len(b)+HandshakeHeaderLen-4:], uint32(len(body)))
	return p, nil
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
	var o connObject
	err := parseObject("conn", r.b, &o)
	if err != nil {
		return c, err
	}
	c.Meta, c.Methods, c.Settings, c.Resume = o.meta, o.methods, o.offer.Settings, o.resume
	if c.Metadata, err = handshakeMetadata("conn", o.metadata); err != nil {
		return c, err
	}
	if err = checkMethods("conn", c.Methods); err != nil {
		return c, err
	}
	if c.Settings != nil {
		if err := c.Settings.check("conn", o.offer.has); err != nil {
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
	var o connAckObject
	err := parseObject("connack", r.b, &o)
	if err != nil {
		return a, err
	}
	a.Error, a.Code, a.Methods, a.Settings = o.error, o.code, o.methods, o.offer.Settings
	a.Ticket, a.Resumed, a.Ended = o.ticket, o.resumed, o.ended
	a.Retry = time.Duration(o.retry) * time.Millisecond
	if a.Metadata, err = handshakeMetadata("connack", o.metadata); err != nil {
		return a, err
	}
	if err = checkMethods("connack", a.Methods); err != nil {
		return a, err
	}
	a.Refused = refused != 0 || a.Error != ""
	if a.Settings != nil && !a.Refused {
		if err := a.Settings.check("connack", o.offer.has); err != nil {
			return a, err
		}
	}
	return a, errors.Join(a.Ticket.check(), a.Resumed.check("resumed"), a.Ended.check("ended"))
}
