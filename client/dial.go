package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/guard"
)

// Dialer makes a connection to the server.
type Dialer func() (net.Conn, error)

var errNoDialer = errors.New("client: the dialer is nil")

// dial calls the dialer in a goroutine of its own and waits for it. A dialer that panics,
// ends its goroutine, or returns no connection and no error has failed.
func dial(log *slog.Logger, dialer Dialer) (nc net.Conn, err error) {
	if dialer == nil {
		return nil, errNoDialer
	}
	err = guard.Wait(log, "the dialer", func() (err error) {
		nc, err = dialer()
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := conn.Check(nc); err != nil {
		return nil, fmt.Errorf("client: the dialer returned no error, but %w", err)
	}
	return nc, nil
}

// dial calls the dialer. It stops waiting for the dialer when ctx ends.
func (r *RetryEnd) dial(ctx context.Context) (net.Conn, error) {
	type result struct {
		nc  net.Conn
		err error
	}
	ch := make(chan result, 1)
	go func() {
		nc, err := dial(r.log, r.dialer)
		ch <- result{nc, err}
	}()
	select {
	case d := <-ch:
		return d.nc, d.err
	case <-ctx.Done():
		go func() { conn.Discard((<-ch).nc) }()
		return nil, net.ErrClosed
	}
}
