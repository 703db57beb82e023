//go:build geminiodebug

package multiplexer

import (
	"errors"
	"fmt"

	"github.com/singchia/geminio/packet"
)

// Audit compares the ledgers of the two sides of a connection at rest, in the debug build:
// no operation is under way, all messages were received, no frame is on its way. It returns
// what is not whole: credit that is lost, or held by nothing. After the end of one side it
// finds nothing.
func Audit(a, b *Mux) error {
	sides := [2]*Mux{a, b}
	for _, m := range sides {
		m.mu.Lock()
		defer m.mu.Unlock()
	}
	if a.cause != nil || b.cause != nil {
		return nil
	}
	var found []error
	for i, m := range sides {
		say := func(format string, args ...any) {
			name := [2]string{"first side: ", "second side: "}[i]
			found = append(found, fmt.Errorf(name+format, args...))
		}
		m.audit(sides[1-i], say)
	}
	return errors.Join(found...)
}

// audit audits what m sends to peer. Both locks are held.
func (m *Mux) audit(peer *Mux, say func(format string, args ...any)) {
	if m.waits.count > 0 || len(m.largeQueued.all) > 0 {
		say("%d packets wait for credit, %d large ones to be sent", m.waits.count, len(m.largeQueued.all))
	}
	for class := packet.ClassHandlers; class < packet.Classes; class++ {
		out, in := &m.ledger.tx[class], &peer.ledger.rx[class]
		switch {
		case out.avail != in.left:
			say("%v: %d available here, %d left there", class, out.avail, in.left)
		case in.held > 0:
			say("%v: %d held there", class, in.held)
		case class == packet.ClassHandlers && in.due() || class > packet.ClassHandlers && in.owed() > 0:
			say("%v: %d owed there", class, in.owed())
		}
	}
	for id, d := range m.table {
		if d.state != dialogueOpen {
			continue
		}
		if d.assemblies.Len() > 0 || !d.packets.empty() {
			say("stream %d: %d packets half arrived, some wait to be sent: %v", id, d.assemblies.Len(), !d.packets.empty())
		}
		for class := packet.ClassHandlers; class < packet.Classes; class++ {
			if n := d.credit.outstanding(class); n > 0 {
				say("stream %d: %v: %d outstanding", id, class, n)
			}
		}
		far := peer.table[id]
		if far == nil || far.state != dialogueOpen {
			say("stream %d is open here, and not there", id)
			continue
		}
		far.recv.mu.Lock()
		for class := range packet.StreamClasses {
			avail, in := d.credit.tx[class].avail, &far.recv.rx[class]
			if class == packet.ClassRaw {
				avail += uint32(d.raw.Len())
			}
			if avail != in.left {
				say("stream %d: %v: %d available here, %d left there", id, class, avail, in.left)
			}
			if class == packet.ClassMessages && in.held > 0 {
				say("stream %d: %v: %d held there", id, class, in.held)
			}
		}
		far.recv.mu.Unlock()
	}
}

// CountReceived counts a packet as one that has come, for tests that hand packets to a
// Handler by themselves.
func (d *Dialogue) CountReceived(typ packet.Type, size int) {
	m := d.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.receive(d, m.peersCharge(typ, size)); err != nil {
		bug("%v", err)
	}
}
