package multiplexer

// This file connects the ledgers to the frames: it counts credit that the peer grants and
// uses, and has credit sent to the peer. Its functions run with Mux.mu held, except
// Dialogue.Release.

import (
	"fmt"

	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
)

// charge returns the charge of a packet that this side sends, with a body of that size. It is
// valid from the time d is open.
func (d *Dialogue) charge(typ packet.Type, size int) charge.Charge {
	return charge.For(typ, size, d.m.smallTx, d.credit.own)
}

// peersCharge returns the charge of a packet that the peer sends, with a body of that size.
func (d *Dialogue) peersCharge(typ packet.Type, size int) charge.Charge {
	return charge.For(typ, size, d.m.smallRx, d.recv.own)
}

// arrivingCharge returns the charge of a packet that begins to arrive for d, or for a dialogue
// that has left the table if d is nil. It returns an error if the frame has a wrong flag for it.
func (m *Mux) arrivingCharge(d *Dialogue, h packet.Header, size int) (charge.Charge, error) {
	own := uint16(m.smallRx + charge.MessageOverhead)
	if h.Flags&packet.FlagShared != 0 {
		own = 0
	}
	c := charge.For(h.Type, size, m.smallRx, own)
	if c.Flags(size) != h.Flags&packet.FlagShared || d != nil && c != d.peersCharge(h.Type, size) {
		return c, &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("body of %d bytes with flags 0x%02x on stream %d", size, uint8(h.Flags), h.Stream)}
	}
	return c, nil
}

// refund takes back the credit of packet seq. No part of the packet was sent or will be.
func (d *Dialogue) refund(seq uint64, c charge.Charge) {
	d.m.ledger.refund(&d.credit, seq, c)
	d.serveCharge(c)
}

// resolve reports that request or registration seq of this side is no longer outstanding.
func (d *Dialogue) resolve(seq uint64) {
	d.credit.resolve(seq)
	if d.m.waits.count > 0 {
		d.shareChanged()
		d.m.serve(packet.ClassHandlers)
		d.m.serve(packet.ClassLargeRequests)
	}
}

// answered is resolve for a packet that the peer has answered.
func (d *Dialogue) answered(seq uint64) {
	d.credit.countAnswered(seq)
	d.resolve(seq)
}

// countBegun counts a packet whose first fragment is sent, in the debug build.
func (d *Dialogue) countBegun(seq uint64, c charge.Charge) {
	d.credit.countBegun(seq, c)
	d.m.ledger.countBegun(c)
}

// addCredit adds credit that the peer grants to d, or to the connection if d is nil, and
// admits the packets that waited for it.
func (m *Mux) addCredit(d *Dialogue, c packet.Credit) error {
	var s *streamLedger
	if d != nil {
		s = &d.credit
	}
	if err := m.ledger.addCredit(s, c.Class, c.Amount); err != nil {
		return err
	}
	if c.Class >= packet.StreamClasses {
		if d != nil {
			d.shareChanged()
		}
		m.serve(c.Class)
		return nil
	}
	switch {
	case d == nil:
	case c.Class == packet.ClassRaw:
		d.send.wake()
	default:
		d.serveMessages()
	}
	return nil
}

// receive counts a packet whose first fragment arrives. It returns an error if the peer had
// no credit for the packet. If d is nil, the packet is for a dialogue that has ended, and
// receive releases it at once.
func (m *Mux) receive(d *Dialogue, c charge.Charge) (err error) {
	m.path.receive(c.Bytes)
	switch {
	case c.Shared():
		var s *streamLedger
		if d != nil {
			s = &d.credit
		}
		if err = m.ledger.receive(s, c); err == nil && d == nil {
			m.ledger.release(nil, c, false)
		}
		if m.ledger.due {
			m.c.Kick()
		}
	case c.Bytes > 0 && d != nil:
		d.recv.mu.Lock()
		f := &d.recv.rx[packet.ClassMessages]
		err = f.receive(packet.ClassMessages, uint64(c.Bytes))
		due := err == nil && f.due()
		d.recv.mu.Unlock()
		if due && d.releaseWindow(packet.ClassMessages, 0) {
			m.c.Kick()
		}
	}
	return err
}

// Release reports that this side no longer holds a packet that has arrived, with a body of
// that size: the handler of the request or registration has returned, or the message was
// received. The peer gets the credit back. Close and Reset release all messages that the
// dialogue holds; Release does nothing for these messages.
func (d *Dialogue) Release(typ packet.Type, size int) {
	m := d.m
	c := d.peersCharge(typ, size)
	if c == (charge.Charge{}) {
		return
	}
	m.mu.Lock()
	due := d.release(c)
	m.mu.Unlock()
	if due {
		m.c.Kick()
	}
}

// release is Release for a packet with charge c. m.mu is held. It reports whether credit
// is to be sent.
func (d *Dialogue) release(c charge.Charge) (due bool) {
	if !c.Shared() {
		return c.Bytes > 0 && d.releaseWindow(c.Class, uint64(c.Bytes))
	}
	m := d.m
	m.ledger.release(&d.credit, c, d.life == lifeOpen)
	if a := d.credit.large; a != nil && a.owed > 0 {
		m.signal(d, ctlLarge)
		return true
	}
	return m.ledger.due
}

// releaseWindow releases n bytes of one of d's own windows. If credit is due, it lets the
// window grow, signals the credit and returns true; the caller then calls Push or Kick.
func (d *Dialogue) releaseWindow(class packet.Class, n uint64) (due bool) {
	m := d.m
	h := &d.recv
	h.mu.Lock()
	defer h.mu.Unlock()
	f := &h.rx[class]
	f.release(n)
	if !f.dueFor(class, 0) || d.life != lifeOpen || class == packet.ClassRaw && h.state != recvOpen {
		return false
	}
	at := m.c.Now()
	since := at - h.granted[class]
	h.granted[class] = at
	m.windows.resize(f, class, since, &m.path)
	if m.path.wantsPing(at) {
		m.c.Probe()
	}
	m.signal(d, creditControl[class])
	return true
}

// creditControl has the control bit that sends credit of a class.
var creditControl = [packet.StreamClasses]control{packet.ClassRaw: ctlRaw, packet.ClassMessages: ctlMessages}
