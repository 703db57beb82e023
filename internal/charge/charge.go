package charge

import "github.com/singchia/geminio/packet"

// Charge is the credit that one packet costs. The first fragment of the packet uses all of it.
type Charge struct {
	Handlers uint32       // credit of packet.ClassHandlers: 1 for a request or a registration, else 0
	Class    packet.Class // the class of Bytes; unused if Bytes is 0
	Bytes    uint32       // 0 for packets that cost no bytes
}

// MessageOverhead is the cost of a small message in addition to its body, in bytes.
const MessageOverhead = 128

// maxSmall bounds the body of a small packet for every offer of the receiver, in bytes.
const maxSmall = 8 << 10

// MaxSmall returns the largest body of a small packet for a receiver that has offered w, in
// bytes. A small packet fits into one frame.
func MaxSmall(w packet.Settings) int {
	small := min(w.MaxFrame-packet.FragmentLen, maxSmall)
	if w.Small > 0 {
		small = min(small, w.Small)
	}
	return int(small)
}

// MaxOwn returns the largest cost of a message that the window of its stream pays, in bytes. The
// window was first given with a size of window bytes, and small is the largest body of a small
// packet. All other messages are paid by packet.ClassLargeMessages. A message costs at most half
// of the window that pays it. The receiver grants credit at the latest when half of the window is
// free, so a message never waits for ever.
func MaxOwn(window uint32, small int) uint16 {
	return uint16(min(window/2, uint32(small+MessageOverhead)))
}

// FullWindow returns the size of a window, in bytes, that pays all small messages, whose largest
// body has small bytes. A window that was larger must not shrink below it.
func FullWindow(small int) uint32 { return 2 * uint32(small+MessageOverhead) }

// For returns the charge of a packet of type typ with a body of size bytes. A body of at most
// small bytes is small. The argument own is MaxOwn of the stream.
func For(typ packet.Type, size, small int, own uint16) (c Charge) {
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
		if c.Bytes > uint32(own) {
			c.Class = packet.ClassLargeMessages
		}
	}
	return c
}

// Flags returns packet.FlagShared if c is the charge of a small message, with a body of size
// bytes, that packet.ClassLargeMessages pays. Otherwise it returns 0.
func (c Charge) Flags(size int) packet.Flags {
	if c.Class == packet.ClassLargeMessages && c.Bytes > uint32(size) {
		return packet.FlagShared
	}
	return 0
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
