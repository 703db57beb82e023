package geminiotest

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/singchia/geminio/internal/memnet"
)

const (
	// dialTimeout bounds Dial.
	dialTimeout = 10 * time.Second
	// backlog is how many connections can wait for Accept.
	backlog = 1024
	// address is the address of the listener.
	address = memnet.Addr("server")
)

// Network is a network in memory with one listener. The bytes of its connections have a buffer in
// each direction, as those of sockets, and Read and Write have deadlines. The methods that cause
// faults apply to all connections of the Network. All methods are safe for concurrent use.
type Network struct {
	closed chan struct{}

	mu       sync.Mutex
	listener *memnet.Listener // nil: none yet
	links    map[*memnet.Link]struct{}
	dialled  int // counts the connections, for their addresses
	delay    time.Duration
	refuses  bool
	held     chan struct{} // nil, or closed at the end of the black hole
}

// NewNetwork returns a Network. When the test ends, its listener is closed and all connections
// are cut.
func NewNetwork(t testing.TB) *Network {
	n := &Network{closed: make(chan struct{}), links: make(map[*memnet.Link]struct{})}
	t.Cleanup(n.close)
	return n
}

// close ends the Network.
func (n *Network) close() {
	close(n.closed)
	n.mu.Lock()
	l := n.listener
	n.mu.Unlock()
	if l != nil {
		l.Close()
	}
	n.Cut()
}

// Listen returns the listener of the Network, for instance for server.NewListener. Another call
// returns another listener, which gets all connections from then on, as that of a server that was
// started again. Connections wait in it until Accept is called.
func (n *Network) Listen() net.Listener {
	l := memnet.Listen(address, backlog)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listener = l
	return l
}

// Dial connects to the listener. It is a client.Dialer. It returns a *net.OpError: with
// syscall.ECONNREFUSED if there is no listener, if the listener is closed, or after SetRefuse; with
// context.DeadlineExceeded if the Network is a black hole for ten seconds.
func (n *Network) Dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	return n.DialContext(ctx)
}

// DialContext is Dial with the bound of ctx instead of ten seconds.
func (n *Network) DialContext(ctx context.Context) (net.Conn, error) {
	nc, err := n.dial(ctx)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: address.Network(), Addr: address, Err: err}
	}
	return nc, nil
}

func (n *Network) dial(ctx context.Context) (net.Conn, error) {
	if err := n.roundTrip(ctx); err != nil {
		return nil, err
	}
	n.mu.Lock()
	l, refuses := n.listener, n.refuses
	n.mu.Unlock()
	if l == nil || refuses {
		return nil, syscall.ECONNREFUSED
	}
	link := n.connect()
	switch err := l.Give(ctx, link.Far); err {
	case nil:
		return link.Near, nil
	case net.ErrClosed:
		link.Cut()
		return nil, syscall.ECONNREFUSED
	default:
		link.Cut()
		return nil, err
	}
}

// roundTrip waits until the Network has carried a packet in both directions.
func (n *Network) roundTrip(ctx context.Context) error {
	n.mu.Lock()
	held, delay := n.held, n.delay
	n.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.closed:
			return syscall.ECONNREFUSED
		}
	}
	if delay == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(2 * delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-n.closed:
		return syscall.ECONNREFUSED
	}
}

// connect returns a connection with the present faults.
func (n *Network) connect() *memnet.Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dialled++
	var l *memnet.Link
	l = memnet.NewLink(memnet.Addr(fmt.Sprintf("client-%d", n.dialled)), address, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.links, l)
	})
	l.SetDelay(n.delay)
	l.SetHeld(n.held != nil)
	n.links[l] = struct{}{}
	return l
}

// cut calls how for each open connection, and returns their number.
func (n *Network) cut(how func(*memnet.Link)) int {
	n.mu.Lock()
	links := slices.Collect(maps.Keys(n.links))
	n.mu.Unlock()
	for _, l := range links {
		how(l) // may remove l from n.links
	}
	return len(links)
}

// Cut breaks all connections, and returns their number. Bytes that were not read are lost, and both
// sides get syscall.ECONNRESET. New connections are not affected.
func (n *Network) Cut() int { return n.cut((*memnet.Link).Cut) }

// CutClients breaks all connections for the clients alone, and returns their number. For the server
// they stay open and silent, as when a client has moved to another network.
func (n *Network) CutClients() int { return n.cut((*memnet.Link).CutNear) }

// SetDelay sets how long the bytes of each later Write are on their way, in both directions. So a
// round trip takes twice that time, and Dial takes a round trip. The bytes stay in order. The
// default is 0. SetDelay panics if d is negative.
func (n *Network) SetDelay(d time.Duration) {
	if d < 0 {
		panic("geminiotest: the delay is negative")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = d
	for l := range n.links {
		l.SetDelay(d)
	}
}

// SetBlackHole makes the Network a black hole, or ends that. A black hole carries nothing and
// reports nothing: connections stay open, Write takes bytes until the buffer is full, and Dial
// waits. When the black hole ends, the bytes that were written meanwhile arrive, as over TCP.
func (n *Network) SetBlackHole(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case on && n.held == nil:
		n.held = make(chan struct{})
	case !on && n.held != nil:
		close(n.held)
		n.held = nil
	}
	for l := range n.links {
		l.SetHeld(on)
	}
}

// SetRefuse has Dial return syscall.ECONNREFUSED, or ends that. Open connections are not affected.
func (n *Network) SetRefuse(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refuses = on
}
