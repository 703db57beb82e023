package client

import (
	"errors"
	"fmt"
	"net"
	"runtime/debug"

	"github.com/singchia/geminio/conn"
)

// Dialer makes a connection to the server.
type Dialer func() (net.Conn, error)

var (
	errNoDialer = errors.New("client: the dialer is nil")
	errDialGone = errors.New("client: the dialer called runtime.Goexit")
)

// dial calls the dialer. A dialer that returns no connection and no error has failed.
func dial(dialer Dialer) (net.Conn, error) {
	if dialer == nil {
		return nil, errNoDialer
	}
	nc, err := dialer()
	if err != nil {
		return nil, err
	}
	if err := conn.Check(nc); err != nil {
		return nil, fmt.Errorf("client: the dialer returned no error, but %w", err)
	}
	return nc, nil
}

// dial calls the dialer in a goroutine of its own, and does not wait for it beyond
// Close. A dialer that panics or ends its goroutine has failed.
func (r *RetryEnd) dial() (net.Conn, error) {
	type result struct {
		nc  net.Conn
		err error
	}
	ch := make(chan result, 1)
	go func() {
		d := result{err: errDialGone}
		defer func() {
			if v := recover(); v != nil {
				r.log.Error("the dialer panicked", "panic", v, "stack", string(debug.Stack()))
				d.err = fmt.Errorf("client: the dialer panicked: %v", v)
			}
			ch <- d
		}()
		d.nc, d.err = dial(r.dialer)
	}()
	select {
	case d := <-ch:
		return d.nc, d.err
	case <-r.ctx.Done():
		go func() { conn.Discard((<-ch).nc) }()
		return nil, net.ErrClosed
	}
}
