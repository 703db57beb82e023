package client

// This file resumes the session of a link that has lost its transport.

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/internal/guard"
)

// resumable returns the connection of l if its session can be resumed, and else nil.
func (l *link) resumable() *conn.Conn {
	c := l.control().Conn()
	if c.TicketID() == nil || c.State() >= conn.Closing {
		return nil
	}
	return c
}

// settled tells whether l is neither interrupted nor has ended.
// RetryEnd.mu is held.
func (l *link) settled() bool {
	return !l.hasEnded && l.control().Conn().SessionStats().Connected
}

// interrupted is called when l has lost its transport and its session is kept. If the
// methods of both sides are not exchanged yet, no operation has begun on l, and the session
// ends. It also ends if ConnOnline has refused l. If l closes already, no other connection takes
// its place for that, and only the rest of its bytes is delivered, if the RetryEnd has ended too.
func (r *RetryEnd) interrupted(l *link, c *conn.Conn) {
	if !l.ready.Load() || l.declined.Load() {
		c.Expire(nil)
		return
	}
	if c.State() >= conn.Closing {
		if r.ended() {
			r.deliver(l)
		}
		return
	}
	if d, ok := r.opt.Delegate.(delegate.ConnInterruptedDelegate); ok {
		l.control().PostHook("ConnInterrupted", func() { d.ConnInterrupted(c) })
	}
	r.mu.Lock()
	if l.interrupted.Store(!l.settled()); l.interrupted.Load() && l == r.last.Load() {
		r.outage.begin(time.Now())
	}
	next := l.reconnects && !r.connecting && r.cause == nil
	r.connecting = r.connecting || next
	ended := r.cause != nil
	r.mu.Unlock()
	switch {
	case next:
		go r.reconnect(l)
	case ended:
		r.deliver(l)
	}
	r.closeIfUnused(l)
}

// closeIfUnused closes the RetryEnd if Shutdown waits for nothing but the return of l, which is
// interrupted. It does not block.
func (r *RetryEnd) closeIfUnused(l *link) {
	if !r.draining.Load() || !l.interrupted.Load() || r.last.Load() != l || r.operations.Load() > 0 {
		return
	}
	go func() { // the caller may hold locks of the End
		if l.control().Unused() {
			r.Close()
		}
	}()
}

// resumed is called when the session of l has been resumed. It reports false if l is
// interrupted again. Then the caller has to resume it.
func (r *RetryEnd) resumed(l *link) bool {
	l.start = time.Now()
	if d, ok := r.opt.Delegate.(delegate.ConnResumedDelegate); ok {
		l.control().PostHook("ConnResumed", func() {
			if err := d.ConnResumed(l.control().Conn()); err != nil {
				r.log.Warn("ConnResumed", "err", guard.Check(r.log, err))
			}
		})
	}
	r.mu.Lock()
	settled := l.settled()
	l.interrupted.Store(!settled)
	r.connecting = !settled
	if settled {
		r.outage.failure = nil
		close(r.connChanged)
		r.connChanged = make(chan struct{})
	}
	r.mu.Unlock()
	if settled {
		r.calls.wake()
		r.outbox.wake()
	}
	return settled
}

// abandon ends an interrupted session if the RetryEnd has ended by itself.
func (r *RetryEnd) abandon(l *link) {
	if cause := r.Cause(); cause != nil && cause != io.EOF {
		l.control().Conn().Expire(cause)
	}
}

// deliver is called when l closes, and when it is interrupted after that. If l is interrupted,
// deliver starts deliverAll, which resumes the session so that the written bytes are delivered
// and the server learns of the end. The End ends within the time of SetLinger in any case.
func (r *RetryEnd) deliver(l *link) {
	c := l.control().Conn()
	if c.TicketID() == nil {
		return
	}
	r.mu.Lock()
	begin := !l.delivering && c.State() < conn.Closed && !c.SessionStats().Connected
	l.delivering = l.delivering || begin
	r.mu.Unlock()
	if begin {
		c.HoldClose() // for the first attempt
		go r.deliverAll(l, c)
	}
}

// deliverAll tries to resume the session of l until it has a transport or has ended. If the
// server has received everything and no stream was open, the session ends with the first attempt.
func (r *RetryEnd) deliverAll(l *link, c *conn.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-c.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	release := sync.OnceFunc(c.ReleaseClose)
	defer release()
	for bound := maxResumePause; ; bound = min(2*bound, time.Second) {
		timer := time.NewTimer(rand.N(bound))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		err := r.resumeOnly(ctx, c)
		r.mu.Lock()
		over := ctx.Err() != nil || errors.Is(err, errNotResumed) || errors.Is(err, conn.ErrSessionEnded) || c.SessionStats().Connected
		l.delivering = !over
		r.mu.Unlock()
		if over {
			return
		}
		release()
	}
}

// errNotResumed is the error of resumeOnly if the server has not continued the session.
var errNotResumed = errors.New("the server has not continued the session")

// resumeOnly makes one attempt to resume the session of c. It returns an error that matches
// conn.ErrResumed or errNotResumed if the server has answered. It gets no fresh connection, of
// which the callbacks of the server would be told. If the server has no such session any more, c
// ends.
func (r *RetryEnd) resumeOnly(ctx context.Context, c *conn.Conn) error {
	nc, cc, _, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	cc.Online, cc.Offline = func(*conn.Conn) error { return errNotResumed }, nil
	cc.Resume.Session, cc.Resume.Only = c, true
	_, err = conn.Client(nc, cc)
	var refused *geminio.RefusedError
	if errors.As(err, &refused) && refused.Code == geminio.CodeClosed {
		c.Expire(conn.ErrSessionUnknown)
		return errNotResumed
	}
	return err
}

// resumeCounts has the sums of the counters of sessions.
type resumeCounts struct {
	interruptions, resumes, replayed uint64
	fallbacks                        RetryFallbacks
}

// add adds the counters of c, which has ended for a cause.
func (n *resumeCounts) add(c *conn.Conn, cause error) {
	s := c.SessionStats()
	n.interruptions += s.Interruptions
	n.resumes += s.Resumes
	n.replayed += s.Replayed
	switch {
	case s.Expired:
		n.fallbacks.Expired++
	case errors.Is(cause, conn.ErrSessionUnknown):
		n.fallbacks.Unknown++
	case errors.Is(cause, conn.ErrSessionEnded):
		n.fallbacks.Ended++
	}
}
