package tunnel

import (
	"errors"
	"net"
	"time"
)

// tcpLeg is a TCP connection as a Leg.
type tcpLeg struct{ *net.TCPConn }

// TCP returns a Leg for a TCP connection.
func TCP(c *net.TCPConn) Leg { return tcpLeg{c} }

// Connected implements Leg. It has no effect: the client is connected already.
func (t tcpLeg) Connected() error { return nil }

// Abort implements Leg. It resets the connection.
func (t tcpLeg) Abort(error) {
	t.SetLinger(0)
	t.TCPConn.Close()
}

// Broken implements Leg. Only Read and Write report a break.
func (t tcpLeg) Broken() <-chan struct{} { return nil }

// Err implements Leg.
func (t tcpLeg) Err() error { return nil }

// Accept calls do with each connection of l until l is closed. do must not block. After a
// temporary error, such as too many open files, Accept waits and tries again.
func Accept(l net.Listener, do func(*net.TCPConn)) error {
	const shortest, longest = 5 * time.Millisecond, time.Second
	pause := shortest
	for {
		c, err := l.Accept()
		switch ne := (net.Error)(nil); {
		case err == nil:
			pause = shortest
			do(c.(*net.TCPConn))
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.As(err, &ne):
			time.Sleep(pause)
			pause = min(2*pause, longest)
		default:
			return err
		}
	}
}
