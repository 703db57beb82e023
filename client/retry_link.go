package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/packet"
)

// link is one connection of a RetryEnd.
type link struct {
	e     *application.End
	start time.Time
	ready atomic.Bool             // e is set, and methods are exchanged
	away  atomic.Bool             // the peer wants no new work
	retry atomic.Int64            // and wants to be left alone for about so long
	stop  context.CancelCauseFunc // ends the exchange of methods
	drain sync.Once

	// Guarded by RetryEnd.mu.
	kept bool // its end begins the making of the next
	gone bool // it has ended

	// The callbacks'.
	refused error // what ConnOnline has said
}

// control returns the methods of the End that its users do not have.
func (l *link) control() *application.Control { return (*application.Control)(l.e) }

// works tells whether new work can begin on l.
func (l *link) works() bool { return !l.away.Load() && !l.over() }

// over tells whether l has ended.
func (l *link) over() bool {
	select {
	case <-l.e.Done():
		return true
	default:
		return false
	}
}

// ending tells whether l has ended or is about to: its readers and writers are told
// before that.
func (l *link) ending() bool { return l.control().Conn().State() >= conn.Closing }

// maxFormer bounds how many client ids are remembered, for a server that gives a
// new one each time.
const maxFormer = 1024

// connect makes a connection, shakes hands and exchanges methods.
func (r *RetryEnd) connect() (*link, error) {
	nc, err := r.dial()
	if err != nil {
		return nil, err
	}
	cc, ac, err := r.opt.resolve()
	if err != nil {
		conn.Discard(nc)
		return nil, err // never: resolve has succeeded before
	}
	ctx, stop := context.WithCancelCause(r.ctx)
	defer stop(nil)
	l := &link{start: time.Now(), stop: stop}
	online := r.configure(l, nc, cc, ac)
	cc.Context = r.ctx
	c, err := conn.Client(nc, cc)
	if err != nil {
		return nil, err
	}
	online(c)
	if l.e, err = application.New(ctx, c, ac); err != nil {
		if l.away.Load() {
			r.hint = time.Duration(l.retry.Load())
			err = geminio.ErrGoingAway
		}
		return nil, err
	}
	r.rename(c.ClientID())
	if l.ready.Store(true); l.away.Load() {
		r.leave(l)
	}
	return l, nil
}

// leave is called when the peer of l wants no new work. What is under way on l may end,
// within the time for draining; then l is closed, if the peer has not done so.
func (r *RetryEnd) leave(l *link) {
	l.away.Store(true)
	if !l.ready.Load() {
		l.stop(geminio.ErrGoingAway) // no work has begun on it
		return
	}
	l.drain.Do(func() { go r.drain(l) })
}

func (r *RetryEnd) drain(l *link) {
	late := time.AfterFunc(r.opt.DrainTimeout, func() {
		err := fmt.Errorf("%w, and is still there after %v", geminio.ErrGoingAway, r.opt.DrainTimeout)
		l.control().CloseWith(err, packet.Reason{Code: uint32(geminio.CodeGoingAway), Text: "the time for draining is over"})
	})
	defer late.Stop()
	l.e.Shutdown(context.Background())
}

// configure adds to the configurations what is the RetryEnd's. The function that it
// returns is to be called when the handshake is done.
//
// All connections have one queue of callbacks, so that those of one come before
// those of the next, and nothing here waits for them: they may themselves wait for
// the next connection. So it is that, but for the first connection, ConnOnline is
// called from there and not by the handshake.
func (r *RetryEnd) configure(l *link, nc net.Conn, cc *conn.Config, ac *application.Config) (online func(*conn.Conn)) {
	ac.Events = &r.events
	if id := r.clientID.Load(); id != 0 {
		cc.ClientID = id
	}
	cc.Settings.Session = r.session
	ac.Methods = r.methods
	ac.Hooks.GoAway = func(n packet.Reason) {
		l.retry.Store(int64(n.Retry))
		r.leave(l)
	}
	ac.Hooks.Done = func() {
		r.mu.Lock()
		l.gone = true
		next := l.kept
		r.mu.Unlock()
		if next {
			go r.reconnect(l)
		}
	}
	tell := cc.Online
	if tell == nil || r.cur.Load() == nil {
		return func(*conn.Conn) {}
	}
	cc.Online = nil
	offline := ac.Hooks.Offline
	ac.Hooks.Offline = func(c delegate.ConnDescriber) {
		if l.refused == nil {
			offline(c)
		}
	}
	return func(c *conn.Conn) {
		r.events.Post(r.log, "ConnOnline", func() {
			if l.refused = tell(c); l.refused != nil {
				conn.Discard(nc)
			}
		})
	}
}

// rename notes the client id of a new connection.
func (r *RetryEnd) rename(clientID uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.clientID.Swap(clientID)
	if old == 0 || old == clientID || slices.Contains(r.former, old) {
		return
	}
	if len(r.former) >= maxFormer {
		r.former = slices.Delete(r.former, 0, 1)
	}
	r.former = append(r.former, old)
}

// keep lets everything go on over l. It reports false if l has ended already, or the
// RetryEnd has: then nothing else will care for l.
func (r *RetryEnd) keep(l *link) bool {
	r.mu.Lock()
	prev := r.cur.Load()
	r.rx.follow(prev, l)
	r.accepting.follow(prev, l)
	r.rd.follow(prev, l)
	r.wr.follow(prev, l)
	if !r.rd.deadline.IsZero() {
		l.e.SetReadDeadline(r.rd.deadline)
	}
	if !r.wr.deadline.IsZero() {
		l.e.SetWriteDeadline(r.wr.deadline)
	}
	ended := r.cause != nil
	l.kept = !l.gone && !ended
	r.connections++
	r.cur.Store(l)
	close(r.connChanged)
	r.connChanged = make(chan struct{})
	kept, rdShut, wrShut := l.kept, r.rd.shut, r.wr.shut
	r.mu.Unlock()
	if rdShut {
		l.e.CloseRead()
	}
	if wrShut {
		l.e.CloseWrite()
	}
	if ended {
		l.e.Close() // Close may have seen the one before
		return false
	}
	r.calls.wake()
	r.outbox.wake()
	return kept
}

// reconnect makes the connection after lost. It runs in a goroutine of its own.
func (r *RetryEnd) reconnect(lost *link) {
	r.lost(lost)
	for r.pause() {
		l, err := r.connect()
		if err != nil {
			r.failed(err)
			continue
		}
		if d := r.opt.Delegate; d != nil {
			l.control().Tell("EndReOnline", func() {
				if l.refused == nil {
					d.EndReOnline(r)
				}
			})
		}
		if r.keep(l) {
			return
		}
		r.lost(l)
	}
}

// lived is how many times the shortest back-off a connection must live to count as
// a success if its peer has said nothing, or a side has broken a rule of the wire.
const lived = 10

// lost looks at a connection that has ended.
func (r *RetryEnd) lost(l *link) {
	cause := l.e.Cause()
	works := l.control().Conn().Worked() && !errors.Is(cause, geminio.ErrProtocol)
	if works || time.Since(l.start) >= lived*r.opt.RetryMin {
		r.fails = 0
	}
	if l.away.Load() {
		r.hint = time.Duration(l.retry.Load())
	}
	if errors.Is(cause, geminio.ErrReplaced) {
		r.fails = replaced
		r.failed(cause)
	}
}

// replaced is for how many failures it counts when another connection has taken the
// client's id over: two clients with one id must not chase each other.
const replaced = 64

// failed tells the user of an attempt that failed, and notes what follows from it.
func (r *RetryEnd) failed(err error) {
	if r.ended() {
		return
	}
	r.tell(err)
	var refused *geminio.RefusedError
	final := errors.Is(err, geminio.ErrReplaced)
	if errors.As(err, &refused) {
		r.hint = refused.RetryAfter
		final = !errors.Is(err, geminio.ErrGoingAway)
	}
	if final && r.opt.StopOnRefusal {
		r.end(err)
	}
}

// tell tells the user of an attempt that failed.
func (r *RetryEnd) tell(err error) {
	f := r.opt.RetryFailed
	if f == nil {
		return
	}
	guard.Wait(r.log, "the function of SetRetryFailedFunc", func() error { f(err); return nil })
}

// pause waits before the next attempt. It reports false if the RetryEnd has ended.
func (r *RetryEnd) pause() bool {
	wait := time.NewTimer(r.backoff())
	defer wait.Stop()
	select {
	case <-wait.C:
		return !r.ended()
	case <-r.ctx.Done():
		return false
	}
}

// backoff returns how long to wait: with full jitter, and not less than the server
// has asked for, as far as it may.
func (r *RetryEnd) backoff() time.Duration {
	bound := r.opt.RetryMax
	if shift := r.opt.RetryMin << min(r.fails, 32); r.fails <= 32 && shift>>min(r.fails, 32) == r.opt.RetryMin {
		bound = min(bound, shift)
	}
	r.fails++
	wait := rand.N(bound)
	if hint := min(r.hint, r.opt.MaxRetryAfter); hint > 0 {
		wait = max(wait, hint+rand.N(hint))
	}
	r.hint = 0
	return wait
}
