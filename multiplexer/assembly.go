package multiplexer

import (
	"fmt"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/internal/list"
	"github.com/singchia/geminio/packet"
)

// assembly collects the fragments of a packet that arrives, as conn.Sink. It is in
// Mux.assemblies and in Dialogue.assemblies until the packet is complete or abandoned, or
// the dialogue ends; as long as it is there, its charge is held. Mux.mu guards these two
// places. Only the reading goroutine uses the fields below link.
type assembly struct {
	key    packetKey
	link   list.Link[assembly] // in Dialogue.assemblies
	charge charge.Charge       // the charge of the packet
	total  int                 // the size of the body, bytes
	buf    []byte              // the part of the body that has arrived
}

// Space implements conn.Sink. The peer says how large the packet is, but memory is allocated
// for bytes that arrive: first for the bytes of the present frame, then for sixteen times
// the bytes that have arrived. If that is at least half of the body, memory for the whole
// body is allocated. So the largest packet is copied only a few times, and a peer must send
// bytes to use memory.
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

// Received implements conn.Sink. The first n bytes of the memory from Space are filled.
func (a *assembly) Received(n int) { a.buf = a.buf[:len(a.buf)+n] }

// receivePacket handles a frame with a packet or with a fragment of one.
func (m *Mux) receivePacket(h packet.Header) error {
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
	if limit := uint64(m.c.Local().MaxMessage) + packet.MaxHead; uint64(f.Total) > limit {
		return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("body of %d bytes exceeds %d", f.Total, limit), Err: packet.ErrPacketTooLarge}
	}
	size := int(f.Total)
	whole := h.Flags&packet.FlagMore == 0
	if !whole && size <= m.smallRx {
		return &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("a body of only %d bytes in fragments", size)}
	}
	atOnce := whole && (size <= m.smallRx || m.c.Buffered())
	d, a, err := m.beginPacket(h, f, atOnce)
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
	return m.finishPacket(a)
}

// beginPacket handles the header of the first frame of a packet: it counts the charge of the
// packet, and makes an assembly unless atOnce says that the body can be read at once. The
// result d is nil if the dialogue has ended, and a is nil if no assembly is needed.
func (m *Mux) beginPacket(h packet.Header, f packet.FragmentHeader, atOnce bool) (d *Dialogue, a *assembly, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d, err = m.find(h); err != nil {
		return nil, nil, err
	}
	c, err := m.arrivingCharge(d, h, int(f.Total))
	if err != nil {
		return nil, nil, err
	}
	if d != nil && d.life != lifeOpen {
		d = nil
	}
	if err := m.receive(d, c); err != nil || d == nil {
		return nil, nil, err
	}
	d.packetsBegun.add(h.Type)
	if h.Type == packet.TypeMessage {
		m.messagesBegun++
	}
	if d.sendsLarge(largeQuestionOf(h.Type), f.Seq) {
		return nil, nil, &packet.Error{What: h.Type.String(), Reason: fmt.Sprintf("number %d is answered before all of it was sent", f.Seq)}
	}
	if atOnce {
		if answersCall(h.Type) {
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

// answersCall reports whether a packet of the type answers a request or a
// registration. A request or registration counts as a running handler until its
// answer arrives.
func answersCall(typ packet.Type) bool {
	return typ == packet.TypeResponse || typ == packet.TypeRegistered
}

// largeQuestionOf returns the type of packet that a packet of type typ answers, if packets of
// that type may be large. Otherwise it returns 0.
func largeQuestionOf(typ packet.Type) packet.Type {
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
	return m.finishPacket(a)
}

// finishPacket passes a packet that is complete to the Handler, unless the dialogue has ended
// meanwhile.
func (m *Mux) finishPacket(a *assembly) error {
	m.mu.Lock()
	listed := a.link.Listed()
	if listed {
		m.removeAssembly(a)
		if answersCall(a.key.typ) {
			a.key.d.answered(a.key.seq)
		}
	}
	m.unlockAndNotify()
	if !listed {
		return nil
	}
	return m.deliver(a.key.d, a.key.typ, a.key.seq, a.buf, true)
}

// deliver passes a packet to the Handler. If owned is set, the Handler may keep body.
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

// peerAbandons handles an Abandon: it drops the part of a packet that has arrived. If the
// packet is a response, the Handler gets a response in its place, which says that the call
// was cancelled.
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
	m.removeAssembly(a)
	if d.release(a.charge) {
		m.c.Kick()
	}
	if answersCall(typ) {
		d.answered(seq)
	}
	m.unlockAndNotify()
	if typ != packet.TypeResponse {
		return nil
	}
	canceled := packet.Response{Code: uint32(geminio.CodeCanceled), Text: "the response was abandoned"}
	return m.h.Packet(d, typ, seq, canceled.Append(nil), true)
}

// removeAssembly removes a from Mux.assemblies and Dialogue.assemblies. The caller is
// responsible for its charge. m.mu is held, and m.unlockAndNotify releases it.
func (m *Mux) removeAssembly(a *assembly) {
	m.assemblies.remove(a.key, a)
	a.key.d.assemblies.Remove(&a.link)
	m.notifyIdle = m.notifyIdle || m.goAway.sides != 0
}

// dropAssemblies drops the packets of d that have arrived in part, because d has ended. It
// releases their charges at once, because the peer may wait for the credit. m.mu is held;
// Push or Kick must follow.
func (m *Mux) dropAssemblies(d *Dialogue) {
	for a := d.assemblies.First(); a != nil; a = d.assemblies.First() {
		m.removeAssembly(a)
		d.release(a.charge)
	}
}
