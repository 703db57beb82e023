package tunnel

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/internal/cli"
)

// ErrStopped is the reason for breaking connections that are open when the program stops.
var ErrStopped = errors.New("the program was stopped")

// Carrier joins connections until it is stopped, and counts them. It logs the beginning and the end
// of each at info. It logs a connection that is refused, or that breaks for another reason than an
// abort by its client, at warn, at most once in a minute for each service and at info in between.
type Carrier struct {
	log    *slog.Logger
	wait   time.Duration
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	warned cli.Seldom
	counts counts

	mu   sync.Mutex
	open int64         // the connections that have not ended
	idle chan struct{} // closed when open becomes 0; nil if no goroutine waits
}

// counts are the figures of a Carrier. They count a connection when it begins, and again when it
// is refused or breaks.
type counts struct {
	begun   atomic.Int64 // all connections
	refused atomic.Int64 // connections without a connection to the service
	aborted atomic.Int64 // connections that their client has aborted
	broken  atomic.Int64 // connections that have broken for other reasons
	traffic Traffic
}

// NewCarrier makes a Carrier. Its connections wait at most for the given time to be joined.
func NewCarrier(log *slog.Logger, wait time.Duration) *Carrier {
	c := &Carrier{log: log, wait: wait}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// Figures returns the figures of the Carrier as attributes for a log: the number of open
// connections; since the start those that were accepted, refused, aborted by their client, and
// broken for other reasons; and the bytes from clients and to clients.
func (c *Carrier) Figures() []any {
	n := &c.counts
	return []any{
		"open", c.opened(0), "accepted", n.begun.Load(), "refused", n.refused.Load(),
		"aborted", n.aborted.Load(), "broken", n.broken.Load(),
		"bytes_from_clients", n.traffic.Forth.Load(), "bytes_to_clients", n.traffic.Back.Load(),
	}
}

// Carry joins the connection of a client with the one that open returns. It does not wait. service
// is the name of the destination, and the attributes describe it in the log.
func (c *Carrier) Carry(leg Leg, o Origin, service string, open func(context.Context) (Leg, error), attributes ...any) {
	c.counts.begun.Add(1)
	c.opened(1)
	c.wg.Go(func() {
		defer c.opened(-1)
		log := c.log.With(append(attributes, "from", o.Client)...)
		ctx, cancel := context.WithTimeout(c.ctx, c.wait)
		other, err := open(ctx)
		cancel()
		if err != nil {
			c.counts.refused.Add(1)
			log.Log(c.ctx, c.level("refused "+service), "refused", "err", err)
			leg.Abort(err)
			return
		}
		log.Info("begins")
		err = leg.Connected()
		if err == nil {
			err = Join(c.ctx, leg, other, &c.counts.traffic)
		} else {
			other.Abort(err)
			leg.Abort(err)
		}
		switch {
		case err == nil:
			log.Info("ends")
		case byClient(err):
			c.counts.aborted.Add(1)
			log.Info("aborted by the client", "err", err)
		default:
			c.counts.broken.Add(1)
			log.Log(c.ctx, c.level("broken "+service), "broken", "err", err)
		}
	})
}

// byClient reports whether the client of a connection has aborted it, for an error of Join. The
// loss of the connection with the previous hop is not an abort.
func byClient(err error) bool {
	var broken *BrokenError
	return errors.As(err, &broken) && broken.First && !errors.Is(err, ErrLost)
}

// level returns the level of a message that may be logged for many connections.
func (c *Carrier) level(about string) slog.Level {
	if c.warned.Now(about) {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// opened adds n to the number of open connections and returns the sum.
func (c *Carrier) opened(n int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open += n
	if c.open == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
	return c.open
}

// awaitIdle waits until no connection is open, or until ctx ends.
func (c *Carrier) awaitIdle(ctx context.Context) {
	c.mu.Lock()
	if c.open == 0 {
		c.mu.Unlock()
		return
	}
	if c.idle == nil {
		c.idle = make(chan struct{})
	}
	idle := c.idle
	c.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// Shutdown shuts down the End or Listener that accepts the connections: it takes no new streams,
// and is closed when the open ones have ended, or at the end of ctx. If the peer does not answer,
// Shutdown returns soon after the last connection has ended.
func (c *Carrier) Shutdown(ctx context.Context, endOrListener io.Closer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for timer := time.NewTimer(leave); ctx.Err() == nil; timer.Reset(leave) {
			c.awaitIdle(ctx)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
			if c.opened(0) == 0 {
				cancel()
			}
		}
	}()
	geminio.Shutdown(ctx, endOrListener)
}

// Stop waits until all connections have ended. When ctx ends, it breaks the open ones. Carry must
// not be called afterwards.
func (c *Carrier) Stop(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { c.cancel(ErrStopped) })
	defer stop()
	c.wg.Wait()
	c.cancel(ErrStopped)
}
