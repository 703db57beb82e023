package multiplexer

import "github.com/singchia/geminio/packet"

const (
	// streamBytes is the memory of a stream without what it holds.
	streamBytes = 512
	// handlerBytes is the memory of a running handler with its request, if that is small.
	handlerBytes = 8 << 10
)

// Held returns how many bytes the streams of m hold: received data that was not taken,
// requests of running handlers, data that waits to be sent, and the streams themselves.
func (m *Mux) Held() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := uint64(len(m.table)*streamBytes) + m.windows.intros
	for class := packet.ClassLargeMessages; class < packet.Classes; class++ {
		n += uint64(m.ledger.rx[class].held)
	}
	n += uint64(m.ledger.rx[packet.ClassHandlers].held) * handlerBytes
	for _, d := range m.table {
		d.recv.mu.Lock()
		n += uint64(d.recv.rx[packet.ClassRaw].held) + uint64(d.recv.rx[packet.ClassMessages].held)
		d.recv.mu.Unlock()
		n += uint64(d.send.buf.Len() + d.packets.bytes())
	}
	return int(n)
}
