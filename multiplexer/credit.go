package multiplexer

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// errNoCredit says that a packet has to wait.
var errNoCredit = errors.New("no credit")

// ticket is a place in the queue of those who wait for credit for large packets,
// without which small ones of them could keep a larger one waiting for ever.
type ticket struct {
	class packet.Class
	d     *Dialogue
	typ   packet.Type
	size  int
}

// ahead tells whether somebody came before t who waits for credit of the class.
// Those do not count whose own dialogue holds too much of it, or has too many
// handlers at work, however much the others give back: they wait for themselves.
// m.mu is held.
func (m *Mux) ahead(t *ticket, class packet.Class) bool {
	for _, o := range m.fifo {
		if o == t {
			return false
		}
		if o.class == class && o.entitled(m) {
			return true
		}
	}
	return false
}

func (t *ticket) entitled(m *Mux) bool {
	size, all, held := uint64(t.size), uint64(m.peer.Credit(t.class)), t.d.largeHeld
	if usesHandler(t.typ) {
		size, all, held = 1, uint64(m.peer.Handlers), uint64(t.d.handlers)
	} else if t.typ != packet.TypeMessage {
		return true
	}
	return fair(size, all-min(all, held), held, true)
}

// admit takes the credit that a packet needs, all or none. m.mu is held.
func (d *Dialogue) admit(typ packet.Type, size int) error {
	return d.admitTicket(typ, size, nil)
}

func (d *Dialogue) admitTicket(typ packet.Type, size int, t *ticket) error {
	if err := d.ended(typ); err != nil {
		return err
	}
	m := d.m
	large := largeClass(typ)
	if size <= m.smallTx {
		large = 0
	}
	if large != 0 {
		if m.ahead(t, large) {
			return errNoCredit
		}
		if !fair(uint64(size), m.tx[large].avail, d.largeHeld, typ == packet.TypeMessage) {
			return errNoCredit
		}
	}
	switch {
	case usesHandler(typ):
		if !fair(1, m.tx[packet.ClassHandlers].avail, uint64(d.handlers), true) {
			return errNoCredit
		}
		m.tx[packet.ClassHandlers].avail--
		d.handlers++
	case typ == packet.TypeMessage && large == 0:
		cost := uint64(size + messageOverhead)
		if d.credit[packet.ClassMessages].avail < cost {
			return errNoCredit
		}
		d.credit[packet.ClassMessages].avail -= cost
	}
	if large != 0 {
		m.tx[large].avail -= uint64(size)
		if typ == packet.TypeMessage {
			d.largeHeld += uint64(size)
		}
	}
	return nil
}

// fair tells whether n may be taken of what is available to all. One dialogue
// may hold three times what would be left for others, but always one packet: so
// those whose peer is slow cannot take all there is.
func fair(n, avail, held uint64, share bool) bool {
	return n <= avail && (!share || held == 0 || held+n <= 3*(avail-n)+1)
}

// largeClass is the class from which large packets of the type need credit.
func largeClass(typ packet.Type) packet.Class {
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

// waitCredit waits until admit succeeds. m.mu is held, but not throughout.
func (d *Dialogue) waitCredit(ctx context.Context, timeout time.Duration, typ packet.Type, size int) error {
	m := d.m
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var t *ticket
	if class := largeClass(typ); class != 0 && size > m.smallTx {
		t = &ticket{class, d, typ, size}
		m.fifo = append(m.fifo, t)
		defer func() {
			m.fifo = slices.DeleteFunc(m.fifo, func(o *ticket) bool { return o == t })
			m.wakeSenders() // the next in the queue may go
		}()
	}
	for {
		err := d.admitTicket(typ, size, t)
		switch err {
		case errNoCredit:
		case io.EOF:
			return &geminio.InterruptedError{Cause: err}
		default:
			return err
		}
		if m.more == nil {
			m.more = make(chan struct{})
		}
		more := m.more
		m.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			err = ctx.Err()
		}
		m.mu.Lock()
		if err != errNoCredit {
			return err
		}
	}
}

// wakeSenders has everybody who waits for credit look again. m.mu is held.
func (m *Mux) wakeSenders() {
	if m.more != nil {
		close(m.more)
		m.more = nil
	}
}

// refund takes back credit of the connection for a packet that was not sent. m.mu
// is held.
func (d *Dialogue) refund(typ packet.Type, size int) {
	m := d.m
	if usesHandler(typ) {
		m.tx[packet.ClassHandlers].avail++
	}
	if size > m.smallTx {
		if class := largeClass(typ); class != 0 {
			m.tx[class].avail += uint64(size)
		}
		if typ == packet.TypeMessage {
			d.largeHeld -= min(d.largeHeld, uint64(size))
		}
	}
	m.wakeSenders()
}

// Answered says that a request or registration of d has its answer, or will not
// get one.
func (d *Dialogue) Answered() {
	m := d.m
	m.mu.Lock()
	d.handlers--
	m.wakeSenders()
	m.mu.Unlock()
}

// receive counts a packet that arrives against the peer's credit.
func (d *Dialogue) receive(typ packet.Type, size int) error {
	m := d.m
	large := size > m.smallRx && largeClass(typ) != 0
	if typ == packet.TypeMessage && !large {
		d.rmu.Lock()
		defer d.rmu.Unlock()
		return d.rx[packet.ClassMessages].receive(packet.ClassMessages, uint64(size+messageOverhead))
	}
	if !large && !usesHandler(typ) {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if usesHandler(typ) {
		if err := m.rx[packet.ClassHandlers].receive(packet.ClassHandlers, 1); err != nil {
			return err
		}
	}
	if large {
		class := largeClass(typ)
		return m.rx[class].receive(class, uint64(size))
	}
	return nil
}

// Release says that a packet that arrived is no longer held here: the handler of
// a request or registration is done, a message was taken by its receiver. The
// size is that of the body.
func (d *Dialogue) Release(typ packet.Type, size int) {
	m := d.m
	large := size > m.smallRx && largeClass(typ) != 0
	if typ != packet.TypeMessage && !usesHandler(typ) && !large {
		return
	}
	m.mu.Lock()
	due := d.releaseLocked(typ, size, large)
	m.mu.Unlock()
	if due {
		m.c.Kick()
	}
}

// releaseLocked is Release with m.mu held. It reports whether there is something
// to write.
func (d *Dialogue) releaseLocked(typ packet.Type, size int, large bool) (due bool) {
	m := d.m
	switch {
	case typ == packet.TypeMessage && !large:
		return d.release(packet.ClassMessages, uint64(size+messageOverhead))
	case typ == packet.TypeMessage && d.state == dialogueOpen:
		m.rx[packet.ClassLargeMessages].release(uint64(size))
		d.largeOwed += uint64(size)
		m.signal(d, ctlLarge)
		return true
	}
	if large {
		m.rx[largeClass(typ)].release(uint64(size))
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
	d.grow(class)
	d.m.signal(d, controlOf[class])
	return true
}

var controlOf = [packet.StreamClasses]control{packet.ClassRaw: ctlRaw, packet.ClassMessages: ctlMessages}

// grow doubles a window if its half was used up within two round trips: then the
// window, not the path, is likely to bound the pace. m.mu and rmu are held.
func (d *Dialogue) grow(class packet.Class) {
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
	// Half of the budget is kept for the first windows of streams to come.
	grown := m.windows - uint64(len(m.table))*(uint64(m.local.Raw)+uint64(m.local.Messages))
	if since < 2*rtt && 2*f.size <= m.lim.MaxWindow &&
		m.windows+f.size <= m.lim.Windows && grown+f.size <= m.lim.Windows/2 {
		m.windows += f.size
		f.size *= 2
	}
}
