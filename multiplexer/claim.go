package multiplexer

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// claim is a packet that waits for the credit it needs. It gets that all at once,
// from whoever sees the credit come. Mux.mu guards it.
type claim struct {
	typ   packet.Type
	size  int
	order uint64        // grows with every claim of the connection
	done  chan struct{} // closed when it is settled
	over  bool          // it is settled:
	err   error         // nil if it has its credit
}

// Claims of one kind wait for the same things, and in order; those of different
// kinds do not wait for each other.
const (
	claimRequest = iota
	claimLargeRequest
	claimMessage
	claimLargeMessage
	claimLargeResponse
	claimKinds
)

// claims are those of one dialogue.
type claims [claimKinds][]*claim

func (c *claims) empty() bool {
	for _, queue := range c {
		if len(queue) > 0 {
			return false
		}
	}
	return true
}

// kind returns where a packet would wait, or -1 if it needs no credit.
func (m *Mux) kind(typ packet.Type, size int) int {
	large := m.largeClass(typ, size) != 0
	switch {
	case typ == packet.TypeRequest && large:
		return claimLargeRequest
	case usesHandler(typ):
		return claimRequest
	case typ == packet.TypeMessage && large:
		return claimLargeMessage
	case typ == packet.TypeMessage:
		return claimMessage
	case large:
		return claimLargeResponse
	}
	return -1
}

// classOf is the class for which dialogues compete in each kind of claim.
var classOf = [claimKinds]packet.Class{
	claimRequest:       packet.ClassHandlers,
	claimLargeRequest:  packet.ClassLargeRequests,
	claimMessage:       packet.ClassMessages, // the dialogue's own
	claimLargeMessage:  packet.ClassLargeMessages,
	claimLargeResponse: packet.ClassLargeResponses,
}

// admit takes the credit that a packet needs, all or none, if nobody of its kind
// came before. It reports whether it has. m.mu is held.
func (d *Dialogue) admit(typ packet.Type, size int) bool {
	kind := d.m.kind(typ, size)
	if kind < 0 {
		return true
	}
	if d.claims != nil && len(d.claims[kind]) > 0 || d.m.first(kind) != nil {
		return false
	}
	return d.take(typ, size)
}

// take takes the credit that a packet needs, all or none.
func (d *Dialogue) take(typ packet.Type, size int) bool {
	m := d.m
	need := uint64(size)
	large := m.largeClass(typ, size)
	held := d.held(large)
	if large != 0 && !fair(need, uint64(m.tx[large].avail), held) {
		return false
	}
	switch {
	case usesHandler(typ):
		if !fair(1, uint64(m.tx[packet.ClassHandlers].avail), &d.handlers) {
			return false
		}
		m.tx[packet.ClassHandlers].avail--
		d.handlers++
	case typ == packet.TypeMessage && large == 0:
		own := &d.credit[packet.ClassMessages]
		if uint64(own.avail) < need+messageOverhead {
			return false
		}
		own.avail -= uint32(need + messageOverhead)
	}
	if large != 0 {
		m.tx[large].avail -= uint32(need)
		if held != nil {
			*held += need
		}
	}
	return true
}

// held is what the dialogue's packets hold of a class at the peer, if that is
// known and bounded.
func (d *Dialogue) held(class packet.Class) *uint64 {
	switch class {
	case packet.ClassHandlers:
		return &d.handlers
	case packet.ClassLargeMessages:
		return &d.books().heldMessages
	case packet.ClassLargeRequests:
		return &d.books().heldRequests
	}
	return nil
}

// fair tells whether n may be taken of what is available to all. A dialogue that
// holds more than three times what would be left for others gets no more, beyond
// its first packet: so one whose peer is slow cannot take all there is. Where
// there are only two or three, one may have them.
func fair(n, avail uint64, held *uint64) bool {
	return n <= avail && (held == nil || *held == 0 || *held <= 3*(avail-n)+2)
}

// largeClass is the class from which a packet of this side needs credit for its
// size, or 0.
func (m *Mux) largeClass(typ packet.Type, size int) packet.Class {
	if size <= m.smallTx {
		return 0
	}
	return largeClassOf(typ)
}

// peersLargeClass is the same for a packet of the peer.
func (m *Mux) peersLargeClass(typ packet.Type, size int) packet.Class {
	if size <= m.smallRx {
		return 0
	}
	return largeClassOf(typ)
}

func largeClassOf(typ packet.Type) packet.Class {
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

func usesHandler(typ packet.Type) bool {
	return typ == packet.TypeRequest || typ == packet.TypeRegister
}

// first returns for whom what there is of a class is kept: for the oldest of the
// large packets that wait, which smaller ones could overtake for ever. Who waits
// because his own dialogue holds some already does not keep others waiting. It
// returns nil if it is kept for nobody.
func (m *Mux) first(kind int) (first *Dialogue) {
	if kind == claimRequest || kind == claimMessage {
		return nil
	}
	for _, d := range m.starving {
		if len(d.claims[kind]) == 0 {
			continue
		}
		if held := d.held(classOf[kind]); held != nil && *held > 0 {
			continue
		}
		if first == nil || d.claims[kind][0].order < first.claims[kind][0].order {
			first = d
		}
	}
	return first
}

// PatienceKey is the key under which a context may have a time.Duration: the longest
// that a request waits for credit. Then Send returns a *geminio.LimitError.
type PatienceKey struct{}

// waitCredit waits until the packet has the credit it needs. m.mu is held, but
// not throughout.
func (d *Dialogue) waitCredit(ctx context.Context, timeout time.Duration, typ packet.Type, size int) error {
	m := d.m
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	m.claimed++
	c := &claim{typ: typ, size: size, order: m.claimed, done: make(chan struct{})}
	kind := m.kind(typ, size)
	if d.claims == nil {
		d.claims = new(claims)
	}
	if d.claims.empty() {
		m.starving = append(m.starving, d)
	}
	d.claims[kind] = append(d.claims[kind], c)
	m.mu.Unlock()
	var late <-chan time.Time
	if patience, ok := ctx.Value(PatienceKey{}).(time.Duration); ok && typ == packet.TypeRequest {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		late = timer.C
	}
	var err error
	select {
	case <-c.done:
	case <-ctx.Done():
		err = ctx.Err()
	case <-late:
		err = &geminio.LimitError{
			What: "handlers of the peer, all busy", Value: uint64(m.peer.Handlers) + 1, Limit: uint64(m.peer.Handlers), Err: geminio.ErrTooMany,
		}
	}
	m.mu.Lock()
	if c.over {
		return c.err
	}
	d.claims[kind] = slices.DeleteFunc(d.claims[kind], func(o *claim) bool { return o == c })
	d.fed()
	m.serve(classOf[kind]) // those behind may go
	return err
}

// settle settles the first claim of a kind.
func (d *Dialogue) settle(kind int, err error) {
	c := d.claims[kind][0]
	d.claims[kind] = slices.Delete(d.claims[kind], 0, 1)
	c.over, c.err = true, err
	close(c.done)
	d.fed()
}

// fed takes the dialogue out of those who wait, if it does not any more.
func (d *Dialogue) fed() {
	if d.claims.empty() {
		d.m.starving = slices.DeleteFunc(d.m.starving, func(o *Dialogue) bool { return o == d })
		d.claims = nil
	}
}

// serve gives credit of a class of the connection to those who wait for it. m.mu
// is held.
func (m *Mux) serve(class packet.Class) {
	if len(m.starving) == 0 || m.cause != nil {
		return
	}
	for kind := range claimKinds {
		// A large request needs a handler too.
		if classOf[kind] != class && (kind != claimLargeRequest || class != packet.ClassHandlers) {
			continue
		}
		if !m.serveFirst(kind) {
			continue
		}
		for _, d := range slices.Clone(m.starving) {
			d.serveKind(kind)
		}
	}
}

// serveFirst serves those for whom the class is kept. It reports whether there are
// none left.
func (m *Mux) serveFirst(kind int) bool {
	for d := m.first(kind); d != nil; d = m.first(kind) {
		if c := d.claims[kind][0]; !d.take(c.typ, c.size) {
			return false
		}
		d.settle(kind, nil)
	}
	return true
}

// serve gives credit to d's own claims, after it has got some or holds less.
func (d *Dialogue) serve() {
	for kind := range claimKinds {
		if d.claims == nil {
			return
		}
		if first := d.m.first(kind); first == nil || first == d {
			d.serveKind(kind)
		}
	}
}

func (d *Dialogue) serveKind(kind int) {
	for d.claims != nil && len(d.claims[kind]) > 0 {
		if c := d.claims[kind][0]; !d.take(c.typ, c.size) {
			return
		}
		d.settle(kind, nil)
	}
}

// rejectClaims settles the claims that cannot get their credit any more: all of a
// dialogue that has ended, those of new work on a connection that drains. Others
// may have waited behind them. m.mu is held.
func (d *Dialogue) rejectClaims() {
	for kind := range claimKinds {
		rejected := false
		for d.claims != nil && len(d.claims[kind]) > 0 {
			err := d.ended(d.claims[kind][0].typ)
			if err == nil {
				break
			}
			if err == io.EOF {
				err = &geminio.InterruptedError{Cause: err}
			}
			d.settle(kind, err)
			rejected = true
		}
		if rejected {
			d.m.serve(classOf[kind])
		}
	}
}
