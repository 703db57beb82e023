package packet

import (
	"encoding/binary"
	"time"
	"unicode/utf8"

	"github.com/singchia/geminio/internal/pairs"
)

// PingLen is the length of the payload of Ping, Pong and Received.
const PingLen = 8

// AppendPing appends a Ping or Pong frame with its opaque value, or a Received frame with
// its position.
func AppendPing(b []byte, t Type, value uint64) []byte {
	b = AppendHeader(b, Header{Type: t, Length: PingLen})
	return binary.BigEndian.AppendUint64(b, value)
}

// ParsePing parses the payload of a Ping, Pong or Received frame.
func ParsePing(t Type, b []byte) (uint64, error) {
	if len(b) != PingLen {
		return 0, malformed(t.String(), "payload of %d bytes, need %d", len(b), PingLen)
	}
	return binary.BigEndian.Uint64(b), nil
}

// Class is the kind of data that a Credit allows.
type Class uint8

// The classes of credit. The first two belong to a stream, the others to the
// connection. Credit frames of the connection have stream 0. The exception is
// ClassLargeMessages: if the stream whose messages gave the credit back is still open,
// the frame has its number.
const (
	ClassRaw            Class = iota // raw bytes of the stream
	ClassMessages                    // small messages of the stream, at their cost
	ClassHandlers                    // requests whose handlers run, in number
	ClassLargeMessages               // bytes of large messages
	ClassLargeRequests               // bytes of large requests
	ClassLargeResponses              // bytes of large responses
	classes
)

// StreamClasses counts the classes that belong to a stream.
const StreamClasses = ClassMessages + 1

// Classes counts all classes.
const Classes = classes

var classNames = [...]string{"raw bytes", "messages", "handlers", "large messages", "large requests", "large responses"}

// String returns the name of the class.
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return "unknown class"
}

// Credit allows the receiver of the frame to send more of a class. The amount is in the unit
// of the class.
//
//	+-----------+-------------+
//	| class (8) | amount (32) |
//	+-----------+-------------+
type Credit struct {
	Class  Class
	Amount uint32 // never 0
}

const creditLen = 5

// AppendCredit appends a Credit frame for a stream, or for the connection if stream is 0.
func AppendCredit(b []byte, stream uint64, c Credit) []byte {
	b = AppendHeader(b, Header{Type: TypeCredit, Stream: stream, Length: creditLen})
	b = append(b, byte(c.Class))
	return binary.BigEndian.AppendUint32(b, c.Amount)
}

// ParseCredit parses the payload of a Credit frame.
func ParseCredit(b []byte, stream uint64) (Credit, error) {
	if len(b) != creditLen {
		return Credit{}, malformed("credit", "payload of %d bytes, need %d", len(b), creditLen)
	}
	c := Credit{Class: Class(b[0]), Amount: binary.BigEndian.Uint32(b[1:])}
	switch {
	case c.Class >= classes:
		return c, malformed("credit", "unknown class %d", b[0])
	case c.Class < StreamClasses && stream == 0, c.Class > ClassMessages && c.Class != ClassLargeMessages && stream != 0:
		return c, malformed("credit", "%v on stream %d", c.Class, stream)
	case c.Amount == 0:
		return c, malformed("credit", "an amount of 0")
	}
	return c, nil
}

// Reason says why a connection or stream ends or is refused. It is the payload of
// GoAway, Close, Refuse, Stop and Reset.
//
//	+-----------+------------+------------------+
//	| code (32) | retry (32) | text, UTF-8 ...  |
//	+-----------+------------+------------------+
type Reason struct {
	Code  uint32
	Retry time.Duration // the time after which the receiver should try again, in whole milliseconds; 0: unspecified
	Text  string
}

// MaxText bounds the text of a Reason, in bytes. Longer texts are cut before the
// character that does not fit.
const MaxText = 512

const reasonLen = 8

// AppendReason appends a frame of type t with n as its payload.
func AppendReason(b []byte, t Type, stream uint64, n Reason) []byte {
	text := CutText(n.Text, MaxText)
	b = AppendHeader(b, Header{Type: t, Stream: stream, Length: uint32(reasonLen + len(text))})
	b = binary.BigEndian.AppendUint32(b, n.Code)
	b = binary.BigEndian.AppendUint32(b, milliseconds(n.Retry))
	return append(b, text...)
}

// milliseconds returns a duration as it is sent. Longer ones than the field holds are
// cut.
func milliseconds(d time.Duration) uint32 {
	return uint32(min(max(d.Milliseconds(), 0), 1<<32-1))
}

// CutText returns at most limit bytes of text, without half a character.
func CutText(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	n := limit
	for n > limit-utf8.UTFMax && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// ParseReason parses the payload of a frame of type t.
func ParseReason(t Type, b []byte) (Reason, error) {
	if len(b) < reasonLen {
		return Reason{}, malformed(t.String(), "payload of %d bytes, need %d", len(b), reasonLen)
	}
	if len(b) > reasonLen+MaxText {
		return Reason{}, tooLarge(t.String(), uint64(len(b)), reasonLen+MaxText)
	}
	return Reason{
		Code:  binary.BigEndian.Uint32(b),
		Retry: time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Millisecond,
		Text:  string(b[reasonLen:]),
	}, nil
}

// Windows is the first credit that a side gives for a new stream. It is the payload of
// Accept and the beginning of Open.
//
//	+-----------+-----------------+
//	| raw (32)  | messages (32)   |
//	+-----------+-----------------+
type Windows struct {
	Raw      uint32 // credit of ClassRaw, bytes
	Messages uint32 // credit of ClassMessages, bytes
}

const windowsLen = 8

func appendWindows(b []byte, w Windows) []byte {
	b = binary.BigEndian.AppendUint32(b, w.Raw)
	return binary.BigEndian.AppendUint32(b, w.Messages)
}

// AppendAccept appends an Accept frame.
func AppendAccept(b []byte, stream uint64, w Windows) []byte {
	return appendWindows(AppendHeader(b, Header{Type: TypeAccept, Stream: stream, Length: windowsLen}), w)
}

// ParseAccept parses the payload of an Accept frame.
func ParseAccept(b []byte) (Windows, error) {
	if len(b) != windowsLen {
		return Windows{}, malformed("accept", "payload of %d bytes, need %d", len(b), windowsLen)
	}
	return Windows{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}, nil
}

// Open asks for a new stream. It is the payload of an Open frame.
//
//	+--------------+------------------+---------------+------+----------+------+
//	| windows (64) | peer length (16) | metadata (32) | peer | metadata | meta |
//	+--------------+------------------+---------------+------+----------+------+
type Open struct {
	Windows
	Peer     string     // the name that the opener has given the stream; at most MaxPeer bytes
	Metadata pairs.List // as in Request
	Meta     []byte     // the description of the stream
}

// MaxPeer bounds Open.Peer, in bytes.
const MaxPeer = 1<<15 - 1

// peerHasMetadata is a bit in the length of Open.Peer. It means the same as hasMetadata.
const peerHasMetadata = 1 << 15

const openLen = windowsLen + 2

// Overhead returns the length of o's payload without Peer, Metadata and Meta.
func (o Open) Overhead() int {
	if len(o.Metadata) > 0 {
		return openLen + MetadataLen
	}
	return openLen
}

// Content returns the length of Peer, Metadata and Meta together.
func (o Open) Content() int { return len(o.Peer) + len(o.Metadata) + len(o.Meta) }

// Size returns the length of o's payload.
func (o Open) Size() int { return o.Overhead() + o.Content() }

// AppendOpen appends an Open frame. The caller checks the length of o.Peer.
func AppendOpen(b []byte, stream uint64, o Open) []byte {
	b = AppendHeader(b, Header{Type: TypeOpen, Stream: stream, Length: uint32(o.Size())})
	b = appendWindows(b, o.Windows)
	if len(o.Metadata) == 0 {
		b = binary.BigEndian.AppendUint16(b, uint16(len(o.Peer)))
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(len(o.Peer))|peerHasMetadata)
		b = binary.BigEndian.AppendUint32(b, uint32(len(o.Metadata)))
	}
	b = append(b, o.Peer...)
	b = append(b, o.Metadata...)
	return append(b, o.Meta...)
}

// ParseOpen parses the payload of an Open frame; Metadata and Meta alias b.
func ParseOpen(b []byte) (Open, error) {
	r := reader{b: b}
	o := Open{Windows: Windows{r.u32(), r.u32()}}
	peer, metadata := r.u16(), uint64(0)
	if peer&peerHasMetadata != 0 {
		metadata = uint64(r.u32())
		r.unframed = metadata == 0
	}
	o.Peer = string(r.bytes(uint64(peer &^ peerHasMetadata)))
	o.Metadata = r.metadata(metadata)
	o.Meta = r.rest()
	return o, r.err("open", len(b))
}
