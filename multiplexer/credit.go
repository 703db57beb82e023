package multiplexer

import "github.com/singchia/geminio/packet"

// charge returns what a packet of this side costs.
func (m *Mux) charge(typ packet.Type, size int) charge { return chargeFor(typ, size, m.smallTx) }

// peersCharge returns what a packet of the peer costs.
func (m *Mux) peersCharge(typ packet.Type, size int) charge { return chargeFor(typ, size, m.smallRx) }

// refund takes back the credit of a packet of which nothing was sent, and nothing will be.
// m.mu is held.
func (d *Dialogue) refund(seq uint64, c charge) {
	d.m.ledger.refund(&d.credit, seq, c)
	d.serveCharge(c)
}

// resolve says that a request or registration of this side is no longer outstanding. m.mu
// is held.
func (d *Dialogue) resolve(seq uint64) {
	d.credit.resolve(seq)
	if d.m.waits.count > 0 {
		d.shareChanged()
		d.m.serve(packet.ClassHandlers)
		d.m.serve(packet.ClassLargeRequests)
	}
}

// answered is resolve for a packet that the peer has answered. m.mu is held.
func (d *Dialogue) answered(seq uint64) {
	d.credit.countAnswered(seq)
	d.resolve(seq)
}

// countBegun counts a packet of which the first fragment is sent, in the debug build. m.mu
// is held.
func (d *Dialogue) countBegun(seq uint64, c charge) {
	d.credit.countBegun(seq, c)
	d.m.ledger.countBegun(c)
}

// granted adds what the peer grants to a dialogue, or to the connection: then d is nil.
// m.mu is held.
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
		d.wakeWrite()
	default:
		d.serveMessages()
	}
	return nil
}

// receive counts a packet that begins to arrive against the peer's credit. The dialogue is
// nil if it takes no packets any more; then the packet is released at once. m.mu is held.
func (m *Mux) receive(d *Dialogue, c charge) (err error) {
	switch {
	case c.shared():
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
	case c.bytes > 0 && d != nil:
		d.recv.mu.Lock()
		f := &d.recv.rx[packet.ClassMessages]
		err = f.receive(packet.ClassMessages, uint64(c.bytes))
		due := err == nil && f.due()
		d.recv.mu.Unlock()
		if due && d.releaseWindow(packet.ClassMessages, 0) {
			m.c.Kick()
		}
	}
	return err
}

// Release says that a packet that arrived is no longer held here: the handler of
// a request or registration is done, a message was taken by its receiver. The
// size is that of the body. Messages that are held when this side closes or resets the
// dialogue need no Release.
func (d *Dialogue) Release(typ packet.Type, size int) {
	m := d.m
	c := m.peersCharge(typ, size)
	if c == (charge{}) {
		return
	}
	m.mu.Lock()
	due := d.release(c)
	m.mu.Unlock()
	if due {
		m.c.Kick()
	}
}

// release is Release with m.mu held. It reports whether there is something to write.
func (d *Dialogue) release(c charge) (due bool) {
	if !c.shared() {
		return c.bytes > 0 && d.releaseWindow(c.class, uint64(c.bytes))
	}
	m := d.m
	m.ledger.release(&d.credit, c, d.state == dialogueOpen)
	if a := d.credit.large; a != nil && a.owed > 0 {
		m.signal(d, ctlLarge)
		return true
	}
	return m.ledger.due
}

// releaseWindow counts what is no longer held of one of d's own windows and, when it
// is time, lets the window grow and has credit sent. m.mu is held. It reports
// whether it did; Push or Kick must follow.
func (d *Dialogue) releaseWindow(class packet.Class, n uint64) (due bool) {
	m := d.m
	h := &d.recv
	h.mu.Lock()
	defer h.mu.Unlock()
	f := &h.rx[class]
	f.release(n)
	if !f.dueFor(class, 0) || d.state != dialogueOpen || class == packet.ClassRaw && h.state != recvOpen {
		return false
	}
	at := m.c.Now()
	since := at - h.granted[class]
	h.granted[class] = at
	if rtt := m.c.RTT(); rtt > 0 {
		m.windows.resize(f, class, since, rtt, class == packet.ClassRaw && h.buf.Len() == 0)
	} else {
		m.c.Probe()
	}
	m.signal(d, creditControl[class])
	return true
}

var creditControl = [packet.StreamClasses]control{packet.ClassRaw: ctlRaw, packet.ClassMessages: ctlMessages}
