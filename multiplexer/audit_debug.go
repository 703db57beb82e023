//go:build geminiodebug

package multiplexer

import (
	"errors"
	"fmt"

	"github.com/singchia/geminio/packet"
)

// Audit compares the ledgers of the two sides of a connection at rest: no operation is under
// way, all messages were received, and no frame is on its way. It returns an error for each
// difference, which is credit that is lost or that is held without a reason. It returns nil
// after the end of the connection at one side. Audit exists in the debug build only.
func Audit(a, b *Mux) error {
	sides := [2]*Mux{a, b}
	for _, m := range sides {
		m.mu.Lock()
		defer m.mu.Unlock()
	}
	if a.cause != nil || b.cause != nil {
		return nil
	}
	var errs []error
	for i, m := range sides {
		report := func(format string, args ...any) {
			name := [2]string{"first side: ", "second side: "}[i]
			errs = append(errs, fmt.Errorf(name+format, args...))
		}
		m.audit(sides[1-i], report)
	}
	return errors.Join(errs...)
}

// audit compares the credit that m has with the credit that peer has given. The caller holds
// m.mu and peer.mu.
func (m *Mux) audit(peer *Mux, report func(format string, args ...any)) {
	if m.waits.count > 0 || len(m.largeQueued.all) > 0 {
		report("%d packets wait for credit, %d large packets are not sent", m.waits.count, len(m.largeQueued.all))
	}
	for class := packet.ClassHandlers; class < packet.Classes; class++ {
		out, in := &m.ledger.tx[class], &peer.ledger.rx[class]
		switch {
		case out.avail != in.left:
			report("%v: %d available here, but %d left at the peer", class, out.avail, in.left)
		case in.held > 0:
			report("%v: %d held at the peer", class, in.held)
		case class == packet.ClassHandlers && in.due() || class > packet.ClassHandlers && in.owed() > 0:
			report("%v: %d owed by the peer", class, in.owed())
		}
	}
	for d := range m.table.all {
		id := d.id
		if d.life != lifeOpen {
			continue
		}
		if !d.assemblies.Empty() || !d.packets.empty() {
			report("stream %d: %d packets have arrived in part; packets wait to be sent: %v", id, d.assemblies.Len(), !d.packets.empty())
		}
		for class := packet.ClassHandlers; class < packet.Classes; class++ {
			if n := d.credit.outstanding(class); n > 0 {
				report("stream %d: %v: %d outstanding", id, class, n)
			}
		}
		far := peer.table.get(id)
		if far == nil || far.life != lifeOpen {
			report("stream %d is open here, but not at the peer", id)
			continue
		}
		far.recv.mu.Lock()
		for class := range packet.StreamClasses {
			avail, in := d.credit.tx[class].avail, &far.recv.rx[class]
			if class == packet.ClassRaw {
				avail += uint32(d.send.buf.Len())
			}
			if avail != in.left {
				report("stream %d: %v: %d available here, but %d left at the peer", id, class, avail, in.left)
			}
			if class == packet.ClassMessages && in.held > 0 {
				report("stream %d: %v: %d held at the peer", id, class, in.held)
			}
		}
		far.recv.mu.Unlock()
	}
}

// CountReceived counts a packet with a body of that size as received. It is for tests that
// pass packets to a Handler themselves.
func (d *Dialogue) CountReceived(typ packet.Type, size int) {
	m := d.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.receive(d, d.peersCharge(typ, size)); err != nil {
		bug("%v", err)
	}
}
