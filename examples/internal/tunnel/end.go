package tunnel

import (
	"context"
	"errors"
	"flag"
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

// maxStreams bounds the open connections between two Ends.
const maxStreams = 8192

// KeepFlag adds the flag -keep, for Limits.
func KeepFlag(flags *flag.FlagSet, keep *time.Duration) {
	flags.DurationVar(keep, "keep", 30*time.Second, "keep connections for `TIME` after the tunnel has lost its own connection, so that they continue on the next one; the shorter time of both sides counts; 0: they break at once")
}

// Limits returns the options that both sides have in common. An End that has lost its connection
// keeps its streams for the duration keep.
func Limits(heartbeat, keep time.Duration, log *slog.Logger) options.Limits {
	var l options.Limits
	l.SetHeartbeat(heartbeat)
	l.SetResumeKeep(keep)
	l.SetMaxStreams(maxStreams)
	l.SetAcceptBacklog(maxStreams)
	l.SetLogger(log)
	return l
}

// Streams calls do with each stream that the other side opens, until the End is closed and has
// delivered the bytes that were written. A process that ends earlier may look to its peer like one
// that has lost its connection and comes back.
func Streams(end geminio.End, do func(geminio.Stream)) {
	defer end.Close() // waits for the delivery
	for {
		s, err := end.AcceptStream()
		if err != nil {
			return
		}
		do(s)
	}
}

// Dial returns an End that connects with addr, and reconnects after each loss until it is closed.
// The end of ctx ends the wait for the first connection. Later connections do not depend on ctx, so
// that an End can resume its session while it shuts down. Dial reads certificates for each
// connection, so that they may be renewed.
func Dial(ctx context.Context, tls *cli.ClientTLS, addr string, opt *client.EndOptions) (*client.RetryEnd, error) {
	opt.SetRetryFirst(ctx)
	opt.SetRetryBackoff(retryMin, retryMax)
	opt.SetContextDialer(func(ctx context.Context) (net.Conn, error) {
		dial, err := tls.Dialer(ctx, addr)
		if err != nil {
			return nil, err
		}
		return dial()
	})
	end, err := client.NewRetryEndWithDialer(nil, opt)
	if err != nil {
		return nil, err
	}
	return end.(*client.RetryEnd), nil
}

// Reconnected returns a delegate that calls f when an End has replaced a lost connection without
// resuming its session.
func Reconnected(f func()) delegate.ClientDelegate { return reconnected{f: f} }

type reconnected struct {
	*delegate.UnimplementedDelegate
	f func()
}

// EndReOnline implements delegate.ClientDelegate.
func (r reconnected) EndReOnline(delegate.ClientDescriber) { r.f() }

// leave bounds the wait for a peer when no connection is open any more.
const leave = time.Second

// CloseEnds closes a Listener and its Ends. It waits at most the time of leave until the Ends have
// delivered the bytes that were written. Streams that are still open then break.
func CloseEnds(l server.Listener) {
	ctx, cancel := context.WithTimeout(context.Background(), leave)
	defer cancel()
	geminio.Shutdown(ctx, l)
}

// The least and the longest wait of an End between attempts to connect.
const (
	retryMin = 100 * time.Millisecond
	retryMax = 3 * time.Second
)

// UnlessClosed returns err, unless it says that a listener was closed.
func UnlessClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
