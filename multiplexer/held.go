package multiplexer

// This file estimates the memory of a Mux.

import "github.com/singchia/geminio/packet"

const (
	// streamBytes is the memory of a stream without its data, in bytes.
	streamBytes = 512
	// handlerBytes is the memory of a running handler with a small request, in bytes.
	handlerBytes = 8 << 10
)

// Held returns an estimate of the memory of the streams of m, in bytes. It is the sum of received
// data that was not released, requests of running handlers, data that waits to be sent, and the
// streams themselves.
func (m *Mux) Held() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := uint64(m.table.len()*streamBytes) + m.windows.intros
	for class := packet.ClassLargeMessages; class < packet.Classes; class++ {
		n += uint64(m.ledger.rx[class].held)
	}
	n += uint64(m.ledger.rx[packet.ClassHandlers].held) * handlerBytes
	for d := range m.table.all {
		d.recv.mu.Lock()
		n += uint64(d.recv.rx[packet.ClassRaw].held) + uint64(d.recv.rx[packet.ClassMessages].held)
		d.recv.mu.Unlock()
		n += uint64(d.send.buf.Len() + d.packets.bytes())
	}
	return int(n)
}
