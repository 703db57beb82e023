package tunnel

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// ErrStopped is the reason for breaking connections that were not over when the
// program was to end.
var ErrStopped = errors.New("the program was stopped")

// Carrier carries connections on until it is stopped.
type Carrier struct {
	log    *slog.Logger
	wait   time.Duration
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

// NewCarrier makes a Carrier whose connections may wait so long for what they are
// to be joined with.
func NewCarrier(log *slog.Logger, wait time.Duration) *Carrier {
	c := &Carrier{log: log, wait: wait}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// Carry joins a connection with what open returns, and does not wait. The
// attributes describe the connection in the log.
func (c *Carrier) Carry(leg Leg, open func(context.Context) (Leg, error), attributes ...any) {
	c.wg.Go(func() {
		log := c.log.With(attributes...)
		ctx, cancel := context.WithTimeout(c.ctx, c.wait)
		other, err := open(ctx)
		cancel()
		if err != nil {
			log.Warn("refused", "err", err)
			leg.Abort(err)
			return
		}
		log.Info("begins")
		if err := Join(c.ctx, leg, other); err != nil {
			log.Warn("broken", "err", err)
			return
		}
		log.Info("ends")
	})
}

// Stop waits until all connections have ended, or until ctx does: then it breaks
// those that are left. Nothing may be carried any more.
func (c *Carrier) Stop(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { c.cancel(ErrStopped) })
	defer stop()
	c.wg.Wait()
	c.cancel(ErrStopped)
}
