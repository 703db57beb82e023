package packet

import (
	"encoding/binary"
	"fmt"
)

// HeaderLen is the length of the header of every wire 2 frame.
//
//	0      1       2                        8                12
//	+------+-------+------------------------+----------------+
//	| type | flags | stream (48 bit)        | length (32)    |
//	+------+-------+------------------------+----------------+
//
// All numbers on the wire are big endian. Length is that of the payload.
const HeaderLen = 12

const (
	// DefaultMaxFrame is the default for the largest payload of a frame that an
	// End accepts, in bytes.
	DefaultMaxFrame = 64 << 10
	// MinMaxFrame is the smallest Settings.MaxFrame that a side may offer, in
	// bytes. Every control frame fits.
	MinMaxFrame = 1 << 10
	// MaxStreamID is the largest stream id that fits the header.
	MaxStreamID = 1<<48 - 1
)

// Type is the type of a wire 2 frame. Types with the bit Ignorable set are
// skipped by a receiver that does not know them; any other unknown type ends
// the connection.
type Type uint8

// Ignorable is the bit of a Type whose frames a receiver skips if it does not know the
// type.
const Ignorable Type = 0x80

// The frames of the connection; their stream is 0, except for Credit, which
// serves the connection and its streams.
const (
	TypePing   Type = 0x01 // asks for a Pong; 8 opaque bytes
	TypePong   Type = 0x02 // answers a Ping with its 8 bytes
	TypeGoAway Type = 0x03 // asks for no new work; a Reason
	TypeClose  Type = 0x04 // the last frame of a side; a Reason
	TypeCredit Type = 0x05 // allows the receiver to send more; a Credit
	// TypeReceived reports the number of bytes that a session has received; 8 bytes. It is for
	// connections with the feature FeatureResume.
	TypeReceived Type = 0x06
)

// The frames of a stream's life and its raw bytes.
const (
	TypeOpen   Type = 0x10 // asks for a new stream; an Open
	TypeAccept Type = 0x11 // accepts a stream; Windows
	TypeRefuse Type = 0x12 // refuses a stream; a Reason
	TypeData   Type = 0x13 // raw bytes
	TypeStop   Type = 0x14 // the sender reads no further raw bytes; a Reason
	TypeReset  Type = 0x15 // ends a stream at once; a Reason
)

// The packets: application data, in fragments where large.
const (
	TypeRequest    Type = 0x20 // Request
	TypeResponse   Type = 0x21 // Response
	TypeMessage    Type = 0x22 // Message
	TypeAck        Type = 0x23 // the answer to a Message: Answer
	TypeRegister   Type = 0x24 // a method's name
	TypeRegistered Type = 0x25 // the answer to a Register: Answer
	TypeCancel     Type = 0x26 // the caller no longer waits; an Answer
	TypeAbandon    Type = 0x27 // the sender does not complete a packet; its type, one byte
)

var typeNames = map[Type]string{
	TypePing: "ping", TypePong: "pong", TypeGoAway: "goaway", TypeClose: "close", TypeCredit: "credit",
	TypeReceived: "received",
	TypeOpen:     "open", TypeAccept: "accept", TypeRefuse: "refuse", TypeData: "data", TypeStop: "stop", TypeReset: "reset",
	TypeRequest: "request", TypeResponse: "response", TypeMessage: "message", TypeAck: "ack",
	TypeRegister: "register", TypeRegistered: "registered", TypeCancel: "cancel", TypeAbandon: "abandon",
}

// String returns the name of the type, or its number if the type is unknown.
func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("type 0x%02x", uint8(t))
}

// FrameSize returns the type and the length with the header of a frame of this side, which begins
// with b.
func FrameSize(b []byte) (typ Type, size int) {
	return Type(b[0]), HeaderLen + int(binary.BigEndian.Uint32(b[8:HeaderLen]))
}

// Known reports whether this version of the wire defines t.
func (t Type) Known() bool { return t.flags() >= 0 }

// IsPacket reports whether frames of type t carry a packet, whose payload begins
// with a FragmentHeader.
func (t Type) IsPacket() bool { return t >= TypeRequest && t <= TypeAbandon }

// IsLink reports whether frames of type t belong to one transport of a session. They are
// not counted in positions, and not sent again after a resumption.
func (t Type) IsLink() bool { return t == TypePing || t == TypePong || t == TypeReceived }

// IsControl reports whether package conn handles frames of type t itself.
func (t Type) IsControl() bool { return t < TypeCredit || t == TypeReceived }

// Fragmented reports whether a packet of type t may travel in several frames.
func (t Type) Fragmented() bool {
	return t == TypeRequest || t == TypeResponse || t == TypeMessage
}

// flags returns the flags that t may carry, or -1 for an unknown type.
func (t Type) flags() int {
	switch {
	case t == TypeData:
		return int(FlagFin | FlagClose)
	case t == TypeMessage:
		return int(FlagMore | FlagNext | FlagShared)
	case t.Fragmented():
		return int(FlagMore | FlagNext)
	case t >= TypePing && t <= TypeReceived, t >= TypeOpen && t <= TypeReset, t >= TypeAck && t <= TypeAbandon:
		return 0
	}
	return -1
}

// Flags are the flags of a frame. The meaning of a bit depends on the type.
type Flags uint8

const (
	// FlagFin on Data: no further bytes follow in this direction.
	FlagFin Flags = 0x01
	// FlagClose on Data, always with FlagFin: the sender has closed the stream.
	// It sends no further bytes and packets on it, and ignores those that arrive.
	FlagClose Flags = 0x02

	// FlagMore on a packet: further fragments follow.
	FlagMore Flags = 0x01
	// FlagNext on a packet: the fragment continues the packet with this number.
	FlagNext Flags = 0x02
	// FlagShared on a small Message, which has one frame: it costs credit of
	// ClassLargeMessages, not of ClassMessages.
	FlagShared Flags = 0x04
)

// Header is the header of a wire 2 frame.
type Header struct {
	Type   Type
	Flags  Flags
	Stream uint64 // at most MaxStreamID
	Length uint32 // the length of the payload, in bytes
}

// AppendHeader appends h to b.
func AppendHeader(b []byte, h Header) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(h.Type)<<56|uint64(h.Flags)<<48|h.Stream&MaxStreamID)
	return binary.BigEndian.AppendUint32(b, h.Length)
}

// PutLength sets the length in the header that begins at frame[0]. It serves frames
// whose payload is appended before its length is known.
func PutLength(frame []byte) {
	binary.BigEndian.PutUint32(frame[8:], uint32(len(frame)-HeaderLen))
}

// ParseHeader parses the first HeaderLen bytes of b and checks them. The slice b must
// have that many bytes. The type must be known or ignorable. The type must allow the
// flags, and the length must be at most maxFrame. The stream must be 0 in a frame of
// the connection, and not 0 in a frame of a stream.
func ParseHeader(b []byte, maxFrame uint32) (Header, error) {
	first := binary.BigEndian.Uint64(b)
	h := Header{
		Type:   Type(first >> 56),
		Flags:  Flags(first >> 48),
		Stream: first & MaxStreamID,
		Length: binary.BigEndian.Uint32(b[8:HeaderLen]),
	}
	if h.Length > maxFrame {
		return h, tooLarge(h.Type.String(), uint64(h.Length), uint64(maxFrame))
	}
	allowed := h.Type.flags()
	if allowed < 0 {
		if h.Type&Ignorable != 0 {
			return h, nil
		}
		return h, malformed("header", "unknown type 0x%02x (this is wire 2)", uint8(h.Type))
	}
	if extra := h.Flags &^ Flags(allowed); extra != 0 {
		return h, malformed(h.Type.String(), "unknown flags 0x%02x (this is wire 2)", uint8(extra))
	}
	switch {
	case h.Type == TypeData && h.Flags == FlagClose:
		return h, malformed("data", "flag close without fin")
	case h.Type == TypeMessage && h.Flags&FlagShared != 0 && h.Flags != FlagShared:
		return h, malformed("message", "flag shared on a fragment")
	case h.Type == TypeCredit:
	case h.Type.IsControl() && h.Stream != 0:
		return h, malformed(h.Type.String(), "stream %d in a frame of the connection", h.Stream)
	case h.Type > TypeReceived && h.Stream == 0:
		return h, malformed(h.Type.String(), "stream 0 in a frame of a stream")
	}
	return h, nil
}

// FragmentLen is the length of the longest FragmentHeader, in bytes. The first of several
// fragments has it; all other fragment headers have 8 bytes.
const FragmentLen = 12

// FragmentHeader is the beginning of the payload of every packet frame.
//
//	+----------+-----------------------------------------------------+
//	| seq (64) | total (32), only in the first of several fragments  |
//	+----------+-----------------------------------------------------+
type FragmentHeader struct {
	// Seq numbers the packets of one type that one side sends. An answer carries
	// the number of the packet that it answers.
	Seq uint64
	// Total is the length of the whole body, in bytes. The first of several
	// fragments carries it. ParseFragmentHeader sets it to the length of this
	// fragment in all other frames.
	Total uint32
}

// AppendFragmentHeader appends f for a frame with these flags.
func AppendFragmentHeader(b []byte, f FragmentHeader, flags Flags) []byte {
	b = binary.BigEndian.AppendUint64(b, f.Seq)
	if flags == FlagMore {
		b = binary.BigEndian.AppendUint32(b, f.Total)
	}
	return b
}

// FragmentHeaderLen returns the length of the fragment header in the payload of h, in
// bytes.
func FragmentHeaderLen(h Header) int {
	if h.Type.Fragmented() && h.Flags == FlagMore {
		return FragmentLen
	}
	return 8
}

// ParseFragmentHeader parses the beginning of the payload of a packet frame and
// checks it against the frame's header. The slice b holds at least
// FragmentHeaderLen(h) bytes if the frame does.
func ParseFragmentHeader(b []byte, h Header) (FragmentHeader, error) {
	n := FragmentHeaderLen(h)
	if len(b) < n || int(h.Length) < n {
		return FragmentHeader{}, malformed(h.Type.String(), "payload of %d bytes, need %d", h.Length, n)
	}
	f := FragmentHeader{Seq: binary.BigEndian.Uint64(b), Total: h.Length - uint32(n)}
	if n == FragmentLen {
		carried := f.Total
		f.Total = binary.BigEndian.Uint32(b[8:])
		if f.Total <= carried {
			return f, malformed(h.Type.String(), "total of %d in a first fragment of %d bytes", f.Total, carried)
		}
	}
	return f, nil
}
