package wire1

import (
	"fmt"

	"github.com/singchia/geminio/packet"
)

const (
	// messageOverhead is what a small message costs beside its body.
	messageOverhead = 128
	// maxSmall is the longest body that is small, whatever was offered.
	maxSmall = 8 << 10
)

// smallBody returns the length of the longest body that a side with this offer takes
// as small.
func smallBody(w packet.Settings) int {
	return int(min(w.Messages/2-messageOverhead, w.MaxFrame-packet.FragmentLen, maxSmall))
}

// largeClass returns the class of a large packet of type typ, 0 if it has none.
func largeClass(typ packet.Type) packet.Class {
	switch typ {
	case packet.TypeRequest:
		return packet.ClassLargeRequests
	case packet.TypeResponse:
		return packet.ClassLargeResponses
	case packet.TypeMessage:
		return packet.ClassLargeMessages
	}
	return 0
}

// grant is credit of one class that the Conn was given.
type grant struct {
	size uint64 // of the window: left, owed, and what is on its way to the peer
	left uint64 // what the Conn may still send
	owed uint64 // what can be given back
}

func newGrant(size uint32) grant { return grant{size: uint64(size), left: uint64(size)} }

// take counts what the Conn has sent.
func (g *grant) take(class packet.Class, n uint64) error {
	if n > g.left {
		return &packet.Error{What: class.String(), Reason: fmt.Sprintf("%d sent with credit for %d", n, g.left)}
	}
	g.left -= n
	return nil
}

// due reports whether it is time to give back what is owed.
func (g *grant) due(class packet.Class) bool {
	switch class {
	case packet.ClassRaw:
		return 2*g.owed >= g.size
	case packet.ClassMessages, packet.ClassHandlers:
		return g.owed > 0 && g.owed >= g.left
	}
	return g.owed > 0
}

// give gives back what is owed, and returns it.
func (g *grant) give() uint32 {
	n := g.owed
	g.left, g.owed = g.left+n, 0
	return uint32(n)
}

// purse is credit that the Conn has given.
type purse [packet.Classes]uint64

// add adds what a Credit frame gives.
func (p *purse) add(c packet.Credit) { p[c.Class] += uint64(c.Amount) }

// take takes n of a class, all or nothing.
func (p *purse) take(class packet.Class, n uint64) bool {
	if p[class] < n {
		return false
	}
	p[class] -= n
	return true
}
