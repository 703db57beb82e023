package multiplexer

import (
	"fmt"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/internal/list"
	"github.com/singchia/geminio/packet"
)

// assembly puts a packet together: as conn.Sink it takes the payload of one
// fragment after the other. The reading goroutine owns it; Mux.mu guards its place
// among those of its dialogue, and in Mux.assemblies. While it has one, the charge of the packet
// is its own. The end of the dialogue takes it out.
type assembly struct {
	key    packetKey
	link   list.Link[assembly] // in Dialogue.assemblies
	charge charge.Charge
	total  int
	buf    []byte
}

// Space implements conn.Sink. What is allocated follows what has come, not what was
// announced: at first what the present frame has, then sixteen times as much as is there,
// or twice that if it is all. So even the largest packet is moved only a few times, and a
// fragment of one byte has memory for one.
func (a *assembly) Space(n int) []byte {
	if len(a.buf) == cap(a.buf) {
		room := max(n, 16*len(a.buf))
		if room >= a.total/2 {
			room = a.total
		}
		grown := make([]byte, len(a.buf), max(room, len(a.buf)+1))
		copy(grown, a.buf)
		a.buf = grown
	}
	return a.buf[len(a.buf):min(cap(a.buf), len(a.buf)+n)]
}

// Received implements conn.Sink.
func (a *assembly) Received(n int) { a.buf = a.buf[:len(a.buf)+n] }

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
		return m.nextFragment(h, f)
	}
	if limit := uint64(m.local.MaxMessage) + packet.MaxHead; uint64(f.Total) > limit {
		return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("body of %d bytes exceeds %d", f.Total, limit), Err: packet.ErrPacketTooLarge}
	}
	size := int(f.Total)
	whole := h.Flags&packet.FlagMore == 0
	if !whole && size <= m.smallRx {
		return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("a body of only %d bytes in fragments", size)}
	}
	atOnce := whole && (size <= m.smallRx || m.c.Buffered())
	d, a, err := m.arrive(h, f, atOnce)
	switch {
	case err != nil || d == nil:
		return err
	case a == nil:
		body, err := m.c.Payload()
		if err != nil {
			return err
		}
		return m.deliver(d, h.Type, f.Seq, body, false)
	}
	if err := m.c.ReadPayload(a); err != nil || !whole {
		return err
	}
	return m.finish(a)
}

// arrive does what is to be done with the first frame of a packet under one lock. It
// returns the dialogue that the packet is for, nil if that takes no packets any more; and
// where the packet is put together, nil if all of it is there at once.
func (m *Mux) arrive(h packet.Header, f packet.FragmentHeader, atOnce bool) (d *Dialogue, a *assembly, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d, err = m.find(h); err != nil {
		return nil, nil, err
	}
	if d != nil && d.life != lifeOpen {
		d = nil
	}
	c := m.peersCharge(h.Type, int(f.Total))
	if err := m.receive(d, c); err != nil || d == nil {
		return nil, nil, err
	}
	if d.sends(questionOf(h.Type), f.Seq) {
		return nil, nil, &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("number %d is answered before all of it was sent", f.Seq)}
	}
	if atOnce {
		if answers(h.Type) {
			d.answered(f.Seq)
		}
		return d, nil, nil
	}
	a = &assembly{key: packetKey{d, h.Type, f.Seq}, charge: c, total: int(f.Total)}
	if m.assemblies.get(a.key) != nil {
		return nil, nil, &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("number %d begins twice", f.Seq)}
	}
	m.assemblies.add(a.key, a)
	d.assemblies.Add(&a.link, a)
	return d, a, nil
}

// answers tells whether a packet is the answer to what has kept a handler busy.
func answers(typ packet.Type) bool {
	return typ == packet.TypeResponse || typ == packet.TypeRegistered
}

// questionOf returns the type of what a packet of the type answers, if that may be large;
// else 0.
func questionOf(typ packet.Type) packet.Type {
	switch typ {
	case packet.TypeResponse:
		return packet.TypeRequest
	case packet.TypeAck:
		return packet.TypeMessage
	}
	return 0
}

// nextFragment handles a fragment that is not the first of its packet.
func (m *Mux) nextFragment(h packet.Header, f packet.FragmentHeader) error {
	m.mu.Lock()
	d, err := m.find(h)
	var a *assembly
	if d != nil && err == nil {
		a = m.assemblies.get(packetKey{d, h.Type, f.Seq})
	}
	open := d != nil && d.life == lifeOpen
	m.mu.Unlock()
	last := h.Flags&packet.FlagMore == 0
	switch {
	case err != nil || a == nil && !open:
		return err
	case a == nil:
		return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("number %d goes on without having begun", f.Seq)}
	case len(a.buf)+m.c.Left() > a.total || last && len(a.buf)+m.c.Left() < a.total:
		return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("fragments of %d bytes, announced as %d", len(a.buf)+m.c.Left(), a.total)}
	}
	if err := m.c.ReadPayload(a); err != nil || !last {
		return err
	}
	return m.finish(a)
}

// finish hands a packet that is complete to the Handler, unless the dialogue has ended
// meanwhile.
func (m *Mux) finish(a *assembly) error {
	m.mu.Lock()
	wanted := a.link.Listed()
	if wanted {
		m.takeOut(a)
		if answers(a.key.typ) {
			a.key.d.answered(a.key.seq)
		}
	}
	m.unlockAndNotify()
	if !wanted {
		return nil
	}
	return m.deliver(a.key.d, a.key.typ, a.key.seq, a.buf, true)
}

// deliver hands a packet to the Handler.
func (m *Mux) deliver(d *Dialogue, typ packet.Type, seq uint64, body []byte, owned bool) error {
	if typ == packet.TypeAbandon {
		return m.peerAbandons(d, seq, body)
	}
	err := m.h.Packet(d, typ, seq, body, owned)
	if typ == packet.TypeResponse {
		d.Release(typ, len(body))
	}
	return err
}

// peerAbandons drops what has come of a packet whose rest will not. An abandoned response
// counts as the answer, which says that the call was cancelled.
func (m *Mux) peerAbandons(d *Dialogue, seq uint64, body []byte) error {
	typ, err := packet.ParseAbandon(body)
	if err != nil {
		return err
	}
	m.mu.Lock()
	a := m.assemblies.get(packetKey{d, typ, seq})
	if a == nil {
		m.mu.Unlock()
		return nil
	}
	m.takeOut(a)
	if d.release(a.charge) {
		m.c.Kick()
	}
	if answers(typ) {
		d.answered(seq)
	}
	m.unlockAndNotify()
	if typ != packet.TypeResponse {
		return nil
	}
	canceled := packet.Response{Code: uint32(geminio.CodeCanceled), Text: "the response was abandoned"}
	return m.h.Packet(d, typ, seq, canceled.Append(nil), true)
}

// takeOut takes a packet out of those that arrive. What it has cost is for the caller to
// release. m.mu is held, and m.unlockAndNotify releases it.
func (m *Mux) takeOut(a *assembly) {
	m.assemblies.remove(a.key, a)
	a.key.d.assemblies.Remove(&a.link)
	m.notifyIdle = m.notifyIdle || m.away != 0
}

// purge drops what has come of the packets of d, which has ended, and releases
// their credit at once: the peer may wait for it. m.mu is held; Push or Kick must
// follow.
func (m *Mux) purge(d *Dialogue) {
	for a := d.assemblies.First(); a != nil; a = d.assemblies.First() {
		m.takeOut(a)
		d.release(a.charge)
	}
}
