package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/guard"
)

// Dialer makes a connection to the server.
type Dialer func() (net.Conn, error)

// ContextDialer makes a connection to the server. It returns an error when the context ends. See
// SetContextDialer and [DialAny].
type ContextDialer func(context.Context) (net.Conn, error)

var errNoDialer = errors.New("client: the dialer is nil")

// dialing is a dialer with the time that it has.
type dialing struct {
	dialer  ContextDialer
	timeout time.Duration // 0: no limit
}

// dialing returns the dialer of SetContextDialer, which has the time of a handshake, or else
// plain.
func (o *EndOptions) dialing(plain Dialer, timeout time.Duration) (dialing, error) {
	switch {
	case o.ContextDialer != nil:
		return dialing{o.ContextDialer, timeout}, nil
	case plain != nil:
		return dialing{dialer: func(context.Context) (net.Conn, error) { return plain() }}, nil
	}
	return dialing{}, errNoDialer
}

// dial calls the dialer in a goroutine of its own and waits for it, until ctx ends or the time
// is over. A dialer that panics, ends its goroutine, or returns no connection and no error has
// failed.
func (d dialing) dial(ctx context.Context, log *slog.Logger) (net.Conn, error) {
	bounded := ctx
	if d.timeout > 0 {
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeout(ctx, d.timeout)
		defer cancel()
	}
	type result struct {
		nc  net.Conn
		err error
	}
	ch := make(chan result, 1)
	go func() {
		var r result
		guard.Run(log, "the dialer", func() {
			r.nc, r.err = d.dialer(bounded)
			r.err = guard.Check(log, r.err)
		}, func(failed error) {
			if failed != nil {
				r.err = failed
			}
			ch <- r
		})
	}()
	select {
	case r := <-ch:
		if r.err != nil {
			return nil, r.err
		}
		if err := conn.Check(r.nc); err != nil {
			return nil, fmt.Errorf("client: the dialer returned no error, but %w", err)
		}
		return r.nc, nil
	case <-bounded.Done():
		go func() {
			if r := <-ch; r.err == nil {
				conn.Discard(r.nc)
			}
		}()
		if ctx.Err() != nil {
			return nil, net.ErrClosed
		}
		return nil, fmt.Errorf("client: the dialer has not returned after %v: %w", d.timeout, bounded.Err())
	}
}
