package tunnel

import (
	"errors"
	"net"
	"time"
)

// tcpLeg is a TCP connection as a Leg.
type tcpLeg struct{ *net.TCPConn }

// TCP makes a Leg of a TCP connection.
func TCP(c *net.TCPConn) Leg { return tcpLeg{c} }

// Connected implements Leg: the client of a TCP connection is connected already.
func (t tcpLeg) Connected() error { return nil }

// Abort implements Leg: the other side gets a reset.
func (t tcpLeg) Abort(error) {
	t.SetLinger(0)
	t.TCPConn.Close()
}

// Broken implements Leg: only reading and writing show that.
func (t tcpLeg) Broken() <-chan struct{} { return nil }

// Err implements Leg.
func (t tcpLeg) Err() error { return nil }

// Accept gives every connection of l to do, which must not block, until l is
// closed. An error that passes, such as too many open files, makes it wait a little.
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
