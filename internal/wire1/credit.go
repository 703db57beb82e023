package wire1

// This file counts credit in both directions between the translator and the Conn.

import (
	"fmt"

	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
)

// grant is credit of one class that the translator has given to the Conn. At any time
//
//	left + owed <= size
type grant struct {
	size uint64 // the size of the window
	left uint64 // the amount that the Conn may still send
	owed uint64 // the amount that the peer's transport has taken and that was not granted again
}

// newGrant returns a grant with a window of size.
func newGrant(size uint32) grant { return grant{size: uint64(size), left: uint64(size)} }

// take counts n that the Conn has sent. It returns an error if the Conn had less credit.
func (g *grant) take(class packet.Class, n uint64) error {
	if n > g.left {
		return &packet.Error{What: class.String(), Reason: fmt.Sprintf("%d sent with credit for %d", n, g.left)}
	}
	g.left -= n
	return nil
}

// due reports whether a Credit frame for the owed amount is worth sending.
func (g *grant) due(class packet.Class) bool {
	switch class {
	case packet.ClassRaw:
		return 2*g.owed >= g.size
	case packet.ClassMessages, packet.ClassHandlers:
		return g.owed > 0 && g.owed >= g.left
	}
	return g.owed > 0
}

// give grants the owed amount and returns it.
func (g *grant) give() uint32 {
	n := g.owed
	g.left, g.owed = g.left+n, 0
	return uint32(n)
}

// grantOf returns the grant of a class: that of the connection or that of stream s. It returns
// nil if s is needed and is nil.
func (t *Translator) grantOf(s *stream, class packet.Class) *grant {
	switch {
	case class >= packet.StreamClasses:
		return &t.given[class]
	case s != nil:
		return &s.given[class]
	}
	return nil
}

// balance is credit that the Conn has given to the translator, by class.
type balance [packet.Classes]uint64

// add adds the credit of a Credit frame.
func (p *balance) add(c packet.Credit) { p[c.Class] += uint64(c.Amount) }

// take uses n of a class and returns true. It returns false, and uses nothing, if there is
// less.
func (p *balance) take(class packet.Class, n uint64) bool {
	if p[class] < n {
		return false
	}
	p[class] -= n
	return true
}

// balanceOf returns the balance for a class: that of the connection or that of stream s.
func (t *Translator) balanceOf(s *stream, class packet.Class) *balance {
	if class < packet.StreamClasses {
		return &s.credit
	}
	return &t.credit
}

// spend uses the credit for a packet of the peer and returns true. It returns false, and uses
// nothing, if there is less.
func (t *Translator) spend(s *stream, c charge.Charge) bool {
	if t.credit[packet.ClassHandlers] < uint64(c.Handlers) {
		return false
	}
	if !t.balanceOf(s, c.Class).take(c.Class, uint64(c.Bytes)) {
		return false
	}
	return t.credit.take(packet.ClassHandlers, uint64(c.Handlers))
}
