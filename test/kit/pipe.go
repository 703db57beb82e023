package kit

import (
	"context"
	"net"

	"github.com/singchia/geminio/internal/memnet"
)

// PipeListener is a net.Listener in memory: Dial makes its connections with net.Pipe. Its
// methods are safe for concurrent use. A test in a synctest bubble must make it there.
type PipeListener struct{ *memnet.Listener }

// NewPipeListener returns a PipeListener that listens.
func NewPipeListener() *PipeListener {
	return &PipeListener{memnet.Listen(memnet.Addr("pipe"), 0)}
}

// Dial connects to the listener, and returns after Accept has returned the other end. After
// Close it returns net.ErrClosed.
func (l *PipeListener) Dial() (net.Conn, error) {
	near, far := net.Pipe()
	if err := l.Give(far); err != nil {
		return nil, err
	}
	return near, nil
}

// Give returns after Accept has returned nc. After Close it returns net.ErrClosed.
func (l *PipeListener) Give(nc net.Conn) error {
	return l.Listener.Give(context.Background(), nc)
}

// SlowPipe returns the two ends of a connection in memory. It carries rate bytes in a second
// in each direction, and little waits for that: a Write returns when its last bytes are about
// to be carried.
func SlowPipe(rate int) (near, far net.Conn) {
	return NewLink(Path{Rate: rate, Queue: 1 << 10}).Pipe()
}
