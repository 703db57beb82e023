package cluster

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// renewals is how often a node renews its lease in the time of the lease.
	renewals = 5
	// renewalTimeout is how long JetStream may take for a renewal before the renewal counts as failed.
	renewalTimeout = time.Second
	// renewalPause is the pause after a renewal that has failed.
	renewalPause = 250 * time.Millisecond
)

// lease keeps the entry of a Node in the bucket. It does so independently of the session, since the
// session can take longer to begin than a lease lasts. All methods are safe for concurrent use; one
// goroutine runs run.
type lease struct {
	n   *Node
	now chan struct{} // a signal to renew at once; the first one begins the renewals

	writing sync.Mutex // held while an entry is made and sent, so that entries keep their order

	mu      sync.Mutex
	renewed time.Time // the beginning of the last renewal that has succeeded
	acked   time.Time // its end
	rev     uint64    // its revision
	failed  time.Time // when the last renewal has failed
}

// newLease returns a lease. Its Node has to run it.
func newLease(n *Node) *lease { return &lease{n: n, now: make(chan struct{}, 1)} }

// interval returns the time between two renewals.
func (l *lease) interval() time.Duration { return l.n.opt.Lease / renewals }

// run renews the lease until the Node is closed.
func (l *lease) run() {
	var next <-chan time.Time
	for {
		select {
		case <-l.n.ctx.Done():
			return
		case <-l.now:
		case <-next:
		}
		if l.renew() {
			next = time.After(l.interval())
		} else {
			next = time.After(min(l.interval(), renewalPause))
		}
	}
}

// renew renews the lease once, and reports whether that has succeeded.
func (l *lease) renew() bool {
	err := errNotConnected
	began := time.Now()
	var rev uint64
	if l.n.nc.IsConnected() {
		rev, err = l.write()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		if !l.failed.After(l.acked) && l.n.ctx.Err() == nil {
			level := slog.LevelWarn
			if l.acked.IsZero() { // Join waits for the first one
				level = slog.LevelInfo
			}
			l.n.opt.Logger.Log(l.n.ctx, level, "cluster: the lease was not renewed", "node", l.n.id, "err", err)
		}
		l.failed = time.Now()
		return false
	}
	if l.failed.After(l.acked) && !l.acked.IsZero() {
		l.n.opt.Logger.Info("cluster: the lease is renewed again", "node", l.n.id, "after", time.Since(l.acked))
	}
	l.n.counters.renewed.Store(int64(began.Sub(l.n.began)))
	l.renewed, l.acked, l.rev = began, time.Now(), rev
	return true
}

// write writes the entry, waits for the answer, and returns its revision.
func (l *lease) write() (uint64, error) {
	ctx, cancel := context.WithTimeout(l.n.ctx, renewalTimeout)
	defer cancel()
	rev, err := await(ctx, l.begin)
	if err == context.DeadlineExceeded {
		err = errUnanswered
	}
	return rev, err
}

// begin begins to write the entry.
func (l *lease) begin() (jetstream.PubAckFuture, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.n.ctx.Err(); err != nil {
		return nil, err
	}
	r := l.n.record
	r.Leaving, r.Load = l.n.leaving.Load(), l.n.load()
	return l.n.bucket.lease(l.n.id, r, l.n.opt.Lease)
}

// end begins to remove the entry, after which none is written. The context of the Node has ended.
func (l *lease) end() (jetstream.PubAckFuture, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.n.bucket.close(l.n.id)
}

// last returns the last renewal that has succeeded: its beginning, its end and its revision.
func (l *lease) last() (renewed, acked time.Time, rev uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewed, l.acked, l.rev
}

// disturbed reports whether a renewal has failed within a lease. Then the leases of other nodes may have
// ended for the same reason, and their nodes have not had the time to renew them.
func (l *lease) disturbed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.failed) < l.n.opt.Lease
}
