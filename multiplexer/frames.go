package multiplexer

import (
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/packet"
)

// appendTurn adds one turn's worth of frames to b and tells whether d wants another
// turn in the lane. m.mu is held.
func (d *Dialogue) appendTurn(b *conn.Batch, l lane) (again bool) {
	switch l {
	case laneControl:
		d.appendControl(b)
		return false
	case lanePackets:
		return d.appendPackets(b)
	default:
		return d.appendRaw(b)
	}
}

// appendControl makes frames of the control bits.
func (d *Dialogue) appendControl(b *conn.Batch) {
	m := d.m
	ctl := d.control
	d.control = 0
	windows := packet.Windows{Raw: m.local.Raw, Messages: m.local.Messages}
	if ctl&ctlOpen != 0 {
		o := d.introduction()
		o.Windows = windows
		b.Buf = packet.AppendOpen(b.Buf, d.id, o)
	}
	if ctl&ctlAccept != 0 {
		b.Buf = packet.AppendAccept(b.Buf, d.id, windows)
	}
	if ctl&ctlReset != 0 {
		b.Buf = packet.AppendReason(b.Buf, packet.TypeReset, d.id, *d.notice)
		return
	}
	if d.state == dialogueOpen {
		d.appendCredit(b, ctl&ctlRaw != 0, packet.ClassRaw)
		d.appendCredit(b, ctl&ctlMessages != 0, packet.ClassMessages)
		if ctl&ctlStop != 0 {
			b.Buf = packet.AppendReason(b.Buf, packet.TypeStop, d.id, packet.Reason{})
		}
	}
	if ctl&ctlLarge != 0 {
		if n := m.ledger.grantStream(&d.credit); n > 0 {
			b.Buf = packet.AppendCredit(b.Buf, d.id, packet.Credit{Class: packet.ClassLargeMessages, Amount: n})
		}
	}
}

func (d *Dialogue) appendCredit(b *conn.Batch, due bool, class packet.Class) {
	if !due {
		return
	}
	d.recv.mu.Lock()
	n := d.recv.rx[class].grant()
	d.recv.mu.Unlock()
	if n > 0 {
		b.Buf = packet.AppendCredit(b.Buf, d.id, packet.Credit{Class: class, Amount: n})
	}
}

// appendRaw makes one frame of raw bytes, and says when they were the last.
func (d *Dialogue) appendRaw(b *conn.Batch) (again bool) {
	limit := int(d.m.peer.MaxFrame)
	n := 0
	if c := d.raw.Head(); c != nil {
		n = min(c.Len(), limit)
	} else {
		n = min(len(d.out.unsent()), limit)
	}
	again = d.raw.Len()+len(d.out.unsent()) > n
	var flags packet.Flags
	if !again {
		flags = d.endFlags()
		defer d.appendCutReset(b)
	}
	if n == 0 && flags == 0 {
		return false
	}
	b.Buf = packet.AppendHeader(b.Buf, packet.Header{Type: packet.TypeData, Flags: flags, Stream: d.id, Length: uint32(n)})
	switch c := d.raw.Head(); {
	case n == 0:
	case c == nil:
		if b.Lend(d.out.lent[:n], (*lender)(d)) {
			d.out.loans++
		}
		d.out.lent = d.out.lent[n:]
	case n < c.Len():
		b.Buf = append(b.Buf, c.Bytes()[:n]...)
		d.raw.Took(n)
	default:
		b.AddChunk(d.raw.Pop())
	}
	if d.writing {
		d.wakeWrite()
	}
	if flags&packet.FlagClose != 0 && d.peerGone {
		d.m.remove(d)
	}
	return again
}

// appendCutReset adds a Reset, in place of endFlags, behind the raw bytes of a dialogue of which
// a Write was cut off.
func (d *Dialogue) appendCutReset(b *conn.Batch) {
	if !d.cut || d.finSent || d.writes() || d == d.m.main || !d.packets.empty() {
		return
	}
	d.finSent, d.closeSent = true, true
	b.Buf = packet.AppendReason(b.Buf, packet.TypeReset, d.id, d.m.cutNotice())
	d.m.remove(d)
}

// endFlags returns the flags of a Data frame after which no raw byte is left.
func (d *Dialogue) endFlags() packet.Flags {
	switch {
	case d.writes() || d.cut: // wrote comes back to this; or it is no proper end
	case d.closing && !d.closeSent:
		if !d.packets.empty() {
			return 0 // appendPackets comes back to this
		}
		d.finSent, d.closeSent = true, true
		return packet.FlagFin | packet.FlagClose
	case d.fin && !d.finSent && d.state == dialogueOpen:
		d.finSent = true
		return packet.FlagFin
	}
	return 0
}
