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
	start time.Time               // when the connection began, or its session was resumed; the goroutine that connects uses it
	ready atomic.Bool             // e is set, and the methods of both sides are exchanged
	away  atomic.Bool             // the peer wants no new work
	down  atomic.Bool             // the connection is interrupted; set with RetryEnd.mu held
	retry atomic.Int64            // how long a peer that is away asks the client to stay away, in ns
	stop  context.CancelCauseFunc // ends the exchange of methods
	drain sync.Once               // starts RetryEnd.drain

	// Guarded by RetryEnd.mu.
	kept       bool // reconnect starts when this connection ends or is interrupted
	gone       bool // the connection has ended
	delivering bool // a goroutine lets this connection, which closes, deliver what was written

	// Used by the callbacks, which run one after the other.
	refused error // the error of ConnOnline
}

// control returns the methods of the End that its users do not have.
func (l *link) control() *application.Control { return (*application.Control)(l.e) }

// works tells whether new work can begin on l.
func (l *link) works() bool { return !l.away.Load() && !l.down.Load() && !l.ended() }

// ended tells whether l has ended.
func (l *link) ended() bool {
	select {
	case <-l.e.Done():
		return true
	default:
		return false
	}
}

// ending tells whether l has ended or is about to end: Read and Write return their error
// before l has ended.
func (l *link) ending() bool { return l.control().Conn().State() >= conn.Closing }

// maxFormer bounds the number of former client ids that are kept, for a server that gives
// a new one each time.
const maxFormer = 1024

// connect makes a connection, shakes hands and exchanges methods. If lost has a session that
// the server continues, the error is conn.ErrResumed. lost may be nil.
func (r *RetryEnd) connect(lost *link) (*link, error) {
	nc, err := r.dial(r.ctx)
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
	if cc.Resume != nil && lost != nil {
		cc.Resume.Session = lost.resumable()
	}
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

// leave is called when the peer of l wants no new work. Operations that are under way on l
// may end, within the time of SetDrainTimeout. Then l is closed, if the peer has not
// closed it.
func (r *RetryEnd) leave(l *link) {
	l.away.Store(true)
	if !l.ready.Load() {
		l.stop(geminio.ErrGoingAway) // no work has begun on it
		return
	}
	l.drain.Do(func() { go r.drain(l) })
}

// drain waits until l has nothing under way, and closes it.
func (r *RetryEnd) drain(l *link) {
	timeout := time.AfterFunc(r.opt.DrainTimeout, func() {
		err := fmt.Errorf("%w: the connection was not idle after %v", geminio.ErrGoingAway, r.opt.DrainTimeout)
		l.control().CloseWith(err, packet.Reason{Code: uint32(geminio.CodeGoingAway), Text: "the connection was not idle within the time for draining"})
	})
	defer timeout.Stop()
	l.e.Shutdown(context.Background())
}

// configure adds the settings of the RetryEnd to the configurations of a connection. The
// caller calls the returned function when the handshake is done.
//
// All connections share one queue of callbacks, so that the callbacks of one connection
// come before those of the next. The RetryEnd does not wait for them, since they may
// themselves wait for the next connection. Therefore the queue, not the handshake, calls
// ConnOnline for all connections except the first.
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
		if l == r.cur.Load() {
			r.outage.begin(time.Now())
		}
		next := l.kept && !r.connecting
		r.connecting = r.connecting || next
		r.mu.Unlock()
		if next {
			go r.reconnect(l)
		}
	}
	if cc.Resume != nil {
		cc.Resume.Interrupted = func(c *conn.Conn, _ error) { r.interrupted(l, c) }
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

// rename sets the client id to that of a new connection.
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

// keep makes l the connection of the RetryEnd. It reports false if l is interrupted or has
// ended already, or the RetryEnd has. Then the caller has to make the next connection, since
// l does not start reconnect.
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
	l.kept = !ended
	kept := l.kept && l.settled()
	l.down.Store(!l.gone && !l.settled())
	r.connecting = !kept
	r.connections++
	if prev != nil {
		r.resumes.add(prev.control().Conn(), prev.e.Cause())
	}
	r.cur.Store(l)
	r.outage.failure = nil
	if l.gone || l.down.Load() {
		r.outage.begin(time.Now())
	}
	close(r.connChanged)
	r.connChanged = make(chan struct{})
	rdShut, wrShut := r.rd.shut, r.wr.shut
	r.mu.Unlock()
	if rdShut {
		l.e.CloseRead()
	}
	if wrShut {
		l.e.CloseWrite()
	}
	if ended {
		l.e.Close() // RetryEnd.Close may have closed the connection before l
		return false
	}
	r.calls.wake()
	r.outbox.wake()
	return kept
}

// reconnect resumes the session of lost or, if that is not possible, makes the connection
// after lost. It runs in a goroutine of its own.
func (r *RetryEnd) reconnect(lost *link) {
	defer func() { r.abandon(lost) }()
	r.lost(lost)
	for r.pause() {
		l, err := r.connect(lost)
		switch {
		case err == conn.ErrResumed:
			if r.resumed(lost) {
				return
			}
			r.lost(lost)
			continue
		case err != nil:
			r.failed(err)
			if r.hint == 0 {
				r.hint = r.hintLater
			}
			r.hintLater = 0
			continue
		}
		if d := r.opt.Delegate; d != nil {
			l.control().PostHook("EndReOnline", func() {
				if l.refused == nil {
					d.EndReOnline(r)
				}
			})
		}
		settled := r.keep(l)
		lost = l
		if settled {
			return
		}
		r.lost(l)
	}
}

// minLifetime is the lifetime from which a connection counts as a success, as a multiple
// of the shortest back-off, if its peer has sent nothing or a side has broken a rule of
// the wire.
const minLifetime = 10

// lost sets the back-off after the end or the interruption of a connection.
func (r *RetryEnd) lost(l *link) {
	cause := l.e.Cause()
	works := l.control().Conn().Worked() && !errors.Is(cause, geminio.ErrProtocol)
	if works || time.Since(l.start) >= minLifetime*r.opt.RetryMin {
		r.fails = 0
	}
	interrupted := l.resumable() != nil
	r.quick = interrupted && !l.away.Load() && time.Since(l.start) > r.opt.RetryMin
	r.hintLater = 0
	if l.away.Load() {
		hint := &r.hint
		if interrupted {
			hint = &r.hintLater
		}
		*hint = time.Duration(l.retry.Load())
	}
	if errors.Is(cause, geminio.ErrReplaced) {
		r.fails = replacedFails
		r.failed(cause)
	}
}

// replacedFails is the number of failures for which it counts that another connection has
// taken the client's id over: two clients with one id must not replace each other all
// the time.
const replacedFails = 64

// failed reports an attempt that failed to the user, and sets the back-off or the end
// that follows from its error.
func (r *RetryEnd) failed(err error) {
	if r.ended() {
		return
	}
	r.mu.Lock()
	r.outage.failure = err
	r.mu.Unlock()
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

// tell calls the function of SetRetryFailedFunc with the error of an attempt.
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

// maxQuick bounds the time before the first attempt to resume a session. It is random, so
// that not all clients of a server come at the same moment.
const maxQuick = 50 * time.Millisecond

// backoff returns the time before the next attempt: random up to a bound that doubles with
// each failure, and at least the time for which the server asked, up to MaxRetryAfter.
func (r *RetryEnd) backoff() time.Duration {
	if r.quick {
		r.quick = false
		return rand.N(maxQuick)
	}
	bound := r.opt.RetryMax
	if shift := r.opt.RetryMin << min(r.fails, 32); r.fails <= 32 && shift>>min(r.fails, 32) == r.opt.RetryMin {
		bound = min(bound, shift)
	}
	r.fails++
	wait := rand.N(bound)
	if hint := min(r.hint, r.opt.MaxRetryAfter); hint > 0 {
		wait = max(wait, hint+rand.N(hint))
		r.mu.Lock()
		r.outage.begin(time.Now().Add(wait))
		r.mu.Unlock()
	}
	r.hint = 0
	return wait
}
