package multiplexer

import (
	"fmt"

	"github.com/singchia/geminio/packet"
)

// asmKey names a packet whose fragments arrive.
type asmKey struct {
	d    *Dialogue
	typ  packet.Type
	call uint64
}

// assembly puts a packet together: as conn.Sink it takes the payload of one
// fragment after the other. The reading goroutine owns it; Mux.mu guards its place
// in Mux.asm.
type assembly struct {
	typ   packet.Type
	total int
	buf   []byte
}

// Space implements conn.Sink. What is allocated follows what has come, not what
// was announced: one frame at first, then sixteen times as much as is there, or twice
// that if it is all. So even the largest packet is moved only a few times.
func (a *assembly) Space(n int) []byte {
	if len(a.buf) == cap(a.buf) {
		room := max(packet.DefaultMaxFrame, 16*len(a.buf))
		if room >= a.total/2 {
			room = a.total
		}
		grown := make([]byte, len(a.buf), room)
		copy(grown, a.buf)
		a.buf = grown
	}
	return a.buf[len(a.buf):min(cap(a.buf), len(a.buf)+n)]
}

// Filled implements conn.Sink.
func (a *assembly) Filled(n int) { a.buf = a.buf[:len(a.buf)+n] }

// packet handles a frame that carries a packet, or a fragment of one.
func (m *Mux) packet(h packet.Header) error {
	n := packet.FragmentHeaderLen(h)
	p, err := m.c.Peek(min(n, m.c.Left()))
	if err != nil {
		return err
	}
	f, err := packet.ParseFragmentHeader(p, h)
	if err != nil {
		return err
	}
	m.c.Skip(n)
	if h.Flags&packet.FlagNext != 0 {
		d, err := m.lookup(h)
		if d == nil || err != nil {
			return err
		}
		return m.nextFragment(d, h, f)
	}
	size := int(f.Total)
	if limit := int(m.local.MaxMessage) + packet.MaxHead; size > limit {
		return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("body of %d bytes exceeds %d", size, limit), Err: packet.ErrPacketTooLarge}
	}
	whole := h.Flags&packet.FlagMore == 0
	d, wanted, err := m.arrive(h, f)
	switch {
	case err != nil:
		return err
	case d == nil:
		return m.orphan(h.Type, size)
	case !wanted:
		d.Release(h.Type, size)
		return nil
	case whole && (size <= m.smallRx || m.c.Buffered()):
		body, err := m.c.Payload()
		if err != nil {
			return err
		}
		return m.deliver(d, h.Type, f.Call, body, false)
	case whole:
		a := &assembly{typ: h.Type, total: size}
		if err := m.c.ReadPayload(a); err != nil {
			return err
		}
		return m.deliver(d, h.Type, f.Call, a.buf, true)
	case size <= m.smallRx:
		return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("a body of only %d bytes in fragments", size)}
	}
	return m.begin(asmKey{d, h.Type, f.Call}, &assembly{typ: h.Type, total: size})
}

// arrive returns the dialogue that a packet is for, nil if that was closed, and
// whether it is wanted there. It does what is to be done with its first frame under
// one lock.
func (m *Mux) arrive(h packet.Header, f packet.FragmentHeader) (d *Dialogue, wanted bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d, err = m.find(h); d == nil || err != nil {
		return nil, false, err
	}
	if err := d.receive(h.Type, int(f.Total)); err != nil {
		return d, false, err
	}
	wanted = d.state == dialogueOpen
	if wanted && answers(h.Type) && h.Flags&packet.FlagMore == 0 {
		d.answered(f.Call)
	}
	return d, wanted, nil
}

// answers tells whether a packet is the answer to what has kept a handler busy.
func answers(typ packet.Type) bool {
	return typ == packet.TypeResponse || typ == packet.TypeRegistered
}

// begin takes the first fragment of a packet.
func (m *Mux) begin(key asmKey, a *assembly) error {
	m.mu.Lock()
	wanted, twice := key.d.state == dialogueOpen, m.asm[key] != nil
	if wanted && !twice {
		if m.asm == nil {
			m.asm = make(map[asmKey]*assembly)
		}
		m.asm[key] = a
		key.d.arriving++
	}
	m.mu.Unlock()
	switch {
	case twice:
		return &packet.Error{What: key.typ.String(), Reason: fmt.Sprintf("number %d begins twice", key.call)}
	case !wanted:
		key.d.Release(a.typ, a.total)
		return nil
	}
	return m.c.ReadPayload(a)
}

// nextFragment handles a fragment that is not the first of its packet.
func (m *Mux) nextFragment(d *Dialogue, h packet.Header, f packet.FragmentHeader) error {
	key := asmKey{d, h.Type, f.Call}
	m.mu.Lock()
	a := m.asm[key]
	m.mu.Unlock()
	last := h.Flags&packet.FlagMore == 0
	switch {
	case a == nil:
		if !m.takes(d) {
			return nil
		}
		return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("number %d goes on without having begun", f.Call)}
	case len(a.buf)+m.c.Left() > a.total || last && len(a.buf)+m.c.Left() < a.total:
		return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("fragments of %d bytes, announced as %d", len(a.buf)+m.c.Left(), a.total)}
	}
	if err := m.c.ReadPayload(a); err != nil || !last {
		return err
	}
	if m.takeOut(key) != a {
		return nil // the dialogue has ended meanwhile
	}
	if answers(h.Type) {
		m.mu.Lock()
		d.answered(f.Call)
		m.mu.Unlock()
	}
	return m.deliver(d, h.Type, f.Call, a.buf, true)
}

// takes tells whether packets of d are wanted.
func (m *Mux) takes(d *Dialogue) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return d.state == dialogueOpen
}

// deliver hands a packet to the Handler.
func (m *Mux) deliver(d *Dialogue, typ packet.Type, call uint64, body []byte, owned bool) error {
	if typ == packet.TypeAbandon {
		return m.peerAbandons(d, call, body)
	}
	err := m.h.Packet(d, typ, call, body, owned)
	if typ == packet.TypeResponse {
		d.Release(typ, len(body))
	}
	return err
}

// peerAbandons drops what has come of a packet whose rest will not.
func (m *Mux) peerAbandons(d *Dialogue, call uint64, body []byte) error {
	typ, err := packet.ParseAbandon(body)
	if err != nil {
		return err
	}
	if a := m.takeOut(asmKey{d, typ, call}); a != nil {
		d.Release(typ, a.total)
	}
	return nil
}

// takeOut takes a packet out of those that arrive; it returns nil if it is not
// one of them.
func (m *Mux) takeOut(key asmKey) *assembly {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.asm[key]
	if a != nil {
		delete(m.asm, key)
		key.d.arriving--
	}
	return a
}

// purge drops what has come of the packets of d, which has ended, and releases
// their credit at once: the peer may wait for it. m.mu is held; Push or Kick must
// follow.
func (m *Mux) purge(d *Dialogue) {
	if d.arriving == 0 {
		return
	}
	for key, a := range m.asm {
		if key.d == d {
			delete(m.asm, key)
			d.arriving--
			d.releaseLocked(a.typ, a.total)
		}
	}
}

// orphan gives credit back for a packet of a dialogue that is gone.
func (m *Mux) orphan(typ packet.Type, size int) error {
	if typ == packet.TypeMessage && size <= m.smallRx {
		return nil
	}
	// The credit is the connection's, so any closed dialogue can count it.
	gone := &Dialogue{m: m, state: dialogueClosed}
	m.mu.Lock()
	err := gone.receive(typ, size)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	gone.Release(typ, size)
	return nil
}
