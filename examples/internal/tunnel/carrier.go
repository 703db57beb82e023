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

// ErrStopped is the reason for breaking connections that have not ended when the program has
// to.
var ErrStopped = errors.New("the program was stopped")

// Carrier carries connections on until it is stopped, and counts them. It logs at info the
// beginning and the end of each. A connection that is refused, or that breaks for another
// reason than its client, is logged at warn instead, once in a minute for each service.
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

// counts are the figures of a Carrier. A connection is counted when it begins, and again, by
// the way it ends, when it has ended.
type counts struct {
	begun   atomic.Int64 // connections
	refused atomic.Int64 // those that were not joined with anything
	aborted atomic.Int64 // those that their client broke
	broken  atomic.Int64 // those that broke for other reasons
	traffic Traffic
}

// NewCarrier makes a Carrier. Its connections wait at most for the given time to be joined.
func NewCarrier(log *slog.Logger, wait time.Duration) *Carrier {
	c := &Carrier{log: log, wait: wait}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// Figures returns what the Carrier has counted since it began, as attributes for a log: the
// numbers of connections that are open, that were accepted, refused, aborted by their client
// and broken otherwise, and the bytes from clients and to them.
func (c *Carrier) Figures() []any {
	n := &c.counts
	return []any{
		"open", c.opened(0), "accepted", n.begun.Load(), "refused", n.refused.Load(),
		"aborted", n.aborted.Load(), "broken", n.broken.Load(),
		"bytes_from_clients", n.traffic.Forth.Load(), "bytes_to_clients", n.traffic.Back.Load(),
	}
}

// Carry joins a connection that comes from a client with the one that open returns, and does
// not wait. The service names where the connection goes, and the attributes describe that in
// the log.
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

// byClient reports whether the client of a connection has broken it. The loss of the
// connection with the hop before this one is another reason.
func byClient(err error) bool {
	var broken *BrokenError
	return errors.As(err, &broken) && broken.First && !errors.Is(err, ErrLost)
}

// level returns the level of a message that may come for many connections.
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

// Shutdown has the End or Listener from which the connections come take no new streams, waits
// until there are none, and closes it, at the end of ctx in any case. A peer that does not
// answer is left as soon as no connection is open.
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

// Stop waits until all connections have ended, or until ctx does: then it breaks
// those that are left. Carry must not be called any more.
func (c *Carrier) Stop(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { c.cancel(ErrStopped) })
	defer stop()
	c.wg.Wait()
	c.cancel(ErrStopped)
}
