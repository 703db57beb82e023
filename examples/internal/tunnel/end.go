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

// maxStreams is how many connections may be open at a time between two Ends.
const maxStreams = 8192

// KeepFlag adds the flag -keep, for Limits.
func KeepFlag(flags *flag.FlagSet, keep *time.Duration) {
	flags.DurationVar(keep, "keep", 30*time.Second, "have connections wait for `TIME` if the tunnel loses its own connection, and go on if that is back; the shorter time of both sides counts; 0: they break at once")
}

// Limits returns the options that both sides have in common. An End that loses its connection
// keeps its streams for the time of keep.
func Limits(heartbeat, keep time.Duration, log *slog.Logger) options.Limits {
	var l options.Limits
	l.SetHeartbeat(heartbeat)
	l.SetResumeKeep(keep)
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

// Dial makes an End that connects with addr, and does so again whenever it has lost its
// connection, until it is closed. The end of ctx gives up the first connection; later ones do
// not depend on it, so that an End which is shutting down can get its connection back.
// Certificates are read each time, so that they may be renewed.
func Dial(ctx context.Context, tls *cli.ClientTLS, addr string, opt *client.EndOptions) (*client.RetryEnd, error) {
	dialing, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, cancel)
	opt.SetRetryFirst(ctx)
	opt.SetRetryBackoff(retryMin, retryMax)
	end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) {
		ctx, cancel := context.WithTimeout(dialing, dialTimeout)
		defer cancel()
		dial, err := tls.Dialer(ctx, addr)
		if err != nil {
			return nil, err
		}
		return dial()
	}, opt)
	if err != nil {
		stop()
		cancel()
		return nil, err
	}
	if !stop() { // ctx has ended, and with it dialing
		end.Close()
		return nil, ctx.Err()
	}
	return end.(*client.RetryEnd), nil
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

// leave bounds the time for taking leave of a peer with which no connection is open.
const leave = time.Second

// CloseEnds closes a Listener and all its Ends, and delivers the bytes that were written. Open
// streams break.
func CloseEnds(l server.Listener) {
	ctx, cancel := context.WithTimeout(context.Background(), leave)
	defer cancel()
	geminio.Shutdown(ctx, l)
}

// How long an End that reconnects waits between its attempts, at least and at most.
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
