package tunnel

import (
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
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
