package charge

import "github.com/singchia/geminio/packet"

// Charge is the credit that one packet costs. The first fragment of the packet uses all of it.
type Charge struct {
	Handlers uint32       // credit of packet.ClassHandlers: 1 for a request or a registration, else 0
	Class    packet.Class // the class of Bytes; unused if Bytes is 0
	Bytes    uint32       // 0 for packets that cost no bytes
}

// MessageOverhead is the cost of a small message in addition to its body, in bytes of
// packet.ClassMessages.
const MessageOverhead = 128

// maxSmall bounds the body of a small packet for every offer of the receiver, in bytes.
const maxSmall = 8 << 10

// MaxSmall returns the largest body of a small packet for a receiver that has offered w, in
// bytes. A small packet fits into one frame, and as a message it costs at most half of the
// stream's first window. The receiver grants credit at the latest when half of the window is
// free, so a small message never waits for ever.
func MaxSmall(w packet.Settings) int {
	small := min(w.Messages/2-MessageOverhead, w.MaxFrame-packet.FragmentLen, maxSmall)
	if w.Small > 0 {
		small = min(small, w.Small)
	}
	return int(small)
}

// LeastWindow returns the least size of a window for messages, in bytes, if small is the
// largest body of a small packet.
func LeastWindow(small int) uint32 { return 2 * uint32(small+MessageOverhead) }

// For returns the charge of a packet of type typ with a body of size bytes. A body of at most
// small bytes is small.
func For(typ packet.Type, size, small int) (c Charge) {
	if typ == packet.TypeRequest || typ == packet.TypeRegister {
		c.Handlers = 1
	}
	switch {
	case size > small:
		if c.Class = LargeClass(typ); c.Class != 0 {
			c.Bytes = uint32(size)
		}
	case typ == packet.TypeMessage:
		c.Class, c.Bytes = packet.ClassMessages, uint32(size+MessageOverhead)
	}
	return c
}

// LargeClass returns the class of the bytes of large packets of type typ, or 0 if they cost
// none.
func LargeClass(typ packet.Type) packet.Class {
	switch typ {
	case packet.TypeMessage:
		return packet.ClassLargeMessages
	case packet.TypeRequest:
		return packet.ClassLargeRequests
	case packet.TypeResponse:
		return packet.ClassLargeResponses
	}
	return 0
}

// Shared reports whether c costs credit of classes that all streams share.
func (c Charge) Shared() bool {
	return c.Handlers > 0 || c.Bytes > 0 && c.Class >= packet.StreamClasses
}

// Amount returns the part of c that is of the given class.
func (c Charge) Amount(class packet.Class) uint32 {
	switch class {
	case packet.ClassHandlers:
		return c.Handlers
	case c.Class:
		return c.Bytes
	}
	return 0
}
