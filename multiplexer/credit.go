package multiplexer

import "github.com/singchia/geminio/packet"

// refund takes back credit of the connection for a packet that was not sent. m.mu
// is held.
func (d *Dialogue) refund(typ packet.Type, call uint64, size int) {
	m := d.m
	if usesHandler(typ) {
		m.tx[packet.ClassHandlers].avail++
		d.answered(call)
		m.serve(packet.ClassHandlers)
	}
	if class := m.largeClass(typ, size); class != 0 {
		m.tx[class].avail += uint32(size)
		if class == packet.ClassLargeMessages {
			d.freed(uint64(size))
		}
		m.serve(class)
	}
}

// answered is called when a request or registration has its answer: whoever asked
// may be gone long since, but the handler was at work until now. m.mu is held.
func (d *Dialogue) answered(call uint64) {
	d.handlers -= min(d.handlers, 1)
	if a := d.account; a != nil {
		a.heldRequests -= uint64(a.requests[call])
		delete(a.requests, call)
	}
	d.serve()
}

// receive counts a packet that arrives against the peer's credit. What is owed becomes
// due also when the peer has less left. m.mu is held.
func (d *Dialogue) receive(typ packet.Type, size int) error {
	m := d.m
	large := m.peersLargeClass(typ, size)
	if typ == packet.TypeMessage && large == 0 {
		d.rmu.Lock()
		f := &d.rx[packet.ClassMessages]
		err := f.receive(packet.ClassMessages, uint64(size+messageOverhead))
		due := err == nil && f.due()
		d.rmu.Unlock()
		if due && d.release(packet.ClassMessages, 0) {
			m.c.Kick()
		}
		return err
	}
	if usesHandler(typ) {
		f := &m.rx[packet.ClassHandlers]
		if err := f.receive(packet.ClassHandlers, 1); err != nil {
			return err
		}
		if f.due() {
			m.rxDue = true
			m.c.Kick()
		}
	}
	if large != 0 {
		return m.rx[large].receive(large, uint64(size))
	}
	return nil
}

// Release says that a packet that arrived is no longer held here: the handler of
// a request or registration is done, a message was taken by its receiver. The
// size is that of the body.
func (d *Dialogue) Release(typ packet.Type, size int) {
	m := d.m
	if typ != packet.TypeMessage && !usesHandler(typ) && m.peersLargeClass(typ, size) == 0 {
		return
	}
	m.mu.Lock()
	due := d.releaseLocked(typ, size)
	m.mu.Unlock()
	if due {
		m.c.Kick()
	}
}

// releaseLocked is Release with m.mu held. It reports whether there is something
// to write.
func (d *Dialogue) releaseLocked(typ packet.Type, size int) (due bool) {
	m := d.m
	large := m.peersLargeClass(typ, size)
	switch {
	case typ == packet.TypeMessage && large == 0:
		return d.release(packet.ClassMessages, uint64(size+messageOverhead))
	case typ == packet.TypeMessage && d.state == dialogueOpen:
		m.rx[packet.ClassLargeMessages].release(uint64(size))
		d.books().largeOwed += uint64(size)
		m.signal(d, ctlLarge)
		return true
	}
	if large != 0 {
		m.rx[large].release(uint64(size))
		if typ == packet.TypeMessage {
			m.orphaned += uint64(size)
		}
		due = true
	}
	if usesHandler(typ) {
		f := &m.rx[packet.ClassHandlers]
		f.release(1)
		due = due || f.due()
	}
	m.rxDue = m.rxDue || due
	return due
}

// release counts what is no longer held of one of d's own windows and, when it
// is time, lets the window grow and has credit sent. m.mu is held. It reports
// whether it did; Push or Kick must follow.
func (d *Dialogue) release(class packet.Class, n uint64) (due bool) {
	d.rmu.Lock()
	defer d.rmu.Unlock()
	f := &d.rx[class]
	f.release(n)
	if !f.dueFor(class, 0) || d.state != dialogueOpen || class == packet.ClassRaw && (d.deaf || d.peerFin) {
		return false
	}
	d.resize(class)
	d.m.signal(d, controlOf[class])
	return true
}

var controlOf = [packet.StreamClasses]control{packet.ClassRaw: ctlRaw, packet.ClassMessages: ctlMessages}

// resize lets a window follow the path, when half of it or more has been used up.
// It doubles if that took less than two round trips: then the window, not the path,
// is likely to bound the pace. Streams that share a path slow each other down, and
// those that began last would keep the smallest windows; so one whose reader keeps
// up may have what another has. If the memory budget is used up by then, one with a
// larger window gives half of it back. m.mu and rmu are held.
func (d *Dialogue) resize(class packet.Class) {
	m := d.m
	f := &d.rx[class]
	at := m.c.Now()
	since := at - d.granted[class]
	d.granted[class] = at
	rtt := m.c.RTT()
	if rtt == 0 {
		m.c.Probe()
		return
	}
	size := uint64(f.size)
	if class == packet.ClassRaw && m.squeezed != 0 && f.size > m.squeezed && f.size/2 >= f.held+f.left {
		m.squeezed = 0
		f.size /= 2
		m.windows -= size / 2
		return
	}
	narrow := class == packet.ClassRaw && d.recv.Len() == 0 && f.size < m.widest
	if since >= 2*rtt && !narrow || 2*size > m.lim.MaxWindow {
		return
	}
	// Half of the budget is kept for the first windows of streams to come.
	grown := m.windows - uint64(len(m.table))*(uint64(m.local.Raw)+uint64(m.local.Messages))
	if m.windows+size > m.lim.Windows || grown+size > m.lim.Windows/2 {
		if narrow {
			m.squeezed = f.size
		}
		return
	}
	m.windows += size
	f.size *= 2
	m.widest = max(m.widest, f.size)
}
