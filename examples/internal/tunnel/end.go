package tunnel

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
)

// maxStreams is how many connections may be open at a time between two Ends.
const maxStreams = 8192

// Limits returns the options that both sides have in common.
func Limits(heartbeat time.Duration, log *slog.Logger) options.Limits {
	var l options.Limits
	l.SetHeartbeat(heartbeat)
	l.SetMaxStreams(maxStreams)
	l.SetAcceptBacklog(maxStreams)
	l.SetLogger(log)
	return l
}

// Streams gives every stream that the other side opens to do, until the End is
// closed.
func Streams(end geminio.End, do func(geminio.Stream)) {
	for {
		s, err := end.AcceptStream()
		if err != nil {
			return
		}
		do(s)
	}
}

// dialTimeout bounds an attempt to dial.
const dialTimeout = 10 * time.Second

// Dialer returns what dials an address for an End, until ctx ends. Certificates are
// read each time, so that they may be renewed.
func Dialer(ctx context.Context, tls *cli.ClientTLS, addr string) client.Dialer {
	return func() (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		dial, err := tls.Dialer(ctx, addr)
		if err != nil {
			return nil, err
		}
		return dial()
	}
}

// Reconnected is a delegate that calls f whenever an End has a new connection in
// the place of one it has lost.
func Reconnected(f func()) delegate.ClientDelegate { return reconnected{f: f} }

type reconnected struct {
	*delegate.UnimplementedDelegate
	f func()
}

// EndReOnline implements delegate.ClientDelegate.
func (r reconnected) EndReOnline(delegate.ClientDescriber) { r.f() }

// Shutdown has an End or a Listener take no new streams, waits until those there are
// have ended, and closes it, at the end of ctx in any case.
func Shutdown(ctx context.Context, endOrListener io.Closer) {
	geminio.Shutdown(ctx, endOrListener)
}

// CloseEnds closes a Listener and all its Ends at once, and delivers what was
// written.
func CloseEnds(l server.Listener) {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	Shutdown(now, l)
}

// How long an End that reconnects waits between its attempts, at least and at most.
const (
	RetryMin = 100 * time.Millisecond
	RetryMax = 3 * time.Second
)

// UnlessClosed returns err, unless it says that a listener was closed.
func UnlessClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
