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

// link is one connection of a RetryEnd, with its resumptions.
type link struct {
	e            *application.End
	start        time.Time               // when the connection began or was last resumed; the goroutine that connects uses it
	ready        atomic.Bool             // e is set, and the methods of both sides are exchanged
	goingAway    atomic.Bool             // the server is shutting down
	declined     atomic.Bool             // ConnOnline has refused it; refused is set
	interrupted  atomic.Bool             // the session waits to be resumed; set with RetryEnd.mu held
	retryAfter   atomic.Int64            // how long a server that is shutting down asks the client to stay away, in ns
	stopExchange context.CancelCauseFunc // ends the exchange of methods
	drainOnce    sync.Once               // starts RetryEnd.drain once

	// Guarded by RetryEnd.mu.
	reconnects bool // reconnect starts when this connection ends or is interrupted
	hasEnded   bool // the connection has ended
	delivering bool // deliverAll runs

	// Used by the callbacks, which run one after the other.
	refused error // the error of ConnOnline, also used after declined is set
}

// control returns the End with the methods that its users do not have.
func (l *link) control() *application.Control { return (*application.Control)(l.e) }

// takesWork tells whether new operations can begin on l.
func (l *link) takesWork() bool { return !l.goingAway.Load() && !l.interrupted.Load() && !l.ended() }

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

// maxFormerIDs bounds RetryEnd.formerIDs, for a server that gives a new id each time.
const maxFormerIDs = 1024

// prepare dials for one attempt to connect, which ends with ctx, and returns the transport
// and the configurations.
func (r *RetryEnd) prepare(ctx context.Context) (net.Conn, *conn.Config, *application.Config, error) {
	nc, err := r.dialing.dial(context.WithValue(ctx, lastAddressKey{}, &r.dialed), r.log)
	if err != nil {
		return nil, nil, nil, err
	}
	cc, ac, err := r.opt.resolve()
	if err != nil { // never: resolve has succeeded before
		conn.Discard(nc)
		return nil, nil, nil, err
	}
	if id := r.clientID.Load(); id != 0 {
		cc.ClientID = id
	}
	cc.Settings.Session, cc.Context = r.session, ctx
	cc.Methods = r.methods.All
	return nc, cc, ac, nil
}

// connect makes a connection, shakes hands and exchanges methods. If lost has a session that
// the server continues, the error is conn.ErrResumed. lost may be nil.
func (r *RetryEnd) connect(lost *link) (_ *link, err error) {
	begin := time.Now()
	nc, cc, ac, err := r.prepare(r.ctx)
	if err != nil {
		r.observer.HandshakeFailed(geminio.InitiatorSide, nil, begin, err)
		return nil, err
	}
	defer func() {
		if err != nil && err != conn.ErrResumed {
			r.dialed.fail()
			r.observer.HandshakeFailed(geminio.InitiatorSide, conn.RemoteAddr(r.log, nc), begin, err)
		}
	}()
	ctx, stop := context.WithCancelCause(r.ctx)
	defer stop(nil)
	l := &link{start: time.Now(), stopExchange: stop}
	online := r.configure(l, cc, ac)
	if cc.Resume != nil && lost != nil {
		cc.Resume.Session = lost.resumable()
	}
	c, err := conn.Client(nc, cc)
	if err != nil {
		return nil, err
	}
	online(c)
	if l.e, err = application.New(ctx, c, ac); err != nil {
		if l.goingAway.Load() {
			r.retryAfter = time.Duration(l.retryAfter.Load())
			err = geminio.ErrGoingAway
		}
		if l.declined.Load() {
			err = fmt.Errorf("ConnOnline: %w", l.refused)
		}
		return nil, err
	}
	r.setClientID(c.ClientID())
	if l.ready.Store(true); l.goingAway.Load() {
		r.goAway(l)
	}
	if l.declined.Load() {
		l.close(l.refused)
	}
	return l, nil
}

// prepareFirst calls the function of SetPrepareFunc, once the ids of the first connection are known.
// When over is closed, operations that the function waits for return.
func (r *RetryEnd) prepareFirst(c *conn.Conn, over <-chan struct{}) error {
	r.first = c
	r.setClientID(c.ClientID())
	result := guard.Start(r.log, "the function of SetPrepareFunc", func() error { return r.opt.PrepareFunc(r) })
	select {
	case r.unprepared = <-result:
	case <-over:
		r.unprepared = fmt.Errorf("%w: the function of SetPrepareFunc has not returned", geminio.ErrHandshakeTimeout)
		r.end(r.unprepared)
		<-result
	}
	if r.unprepared == nil && r.ended() {
		r.unprepared = net.ErrClosed
	}
	r.preparing.Store(r.unprepared != nil)
	return r.unprepared
}

// decline is called when ConnOnline has refused l. It ends l in an orderly way, so that neither
// side keeps the session.
func (l *link) decline() {
	l.declined.Store(true)
	if l.ready.Load() {
		l.close(l.refused)
	} else {
		l.stopExchange(l.refused)
	}
}

// close begins the close of l for a cause.
func (l *link) close(cause error) { l.control().CloseWith(cause, packet.Reason{}) }

// goAway is called when the server of l is shutting down. Operations that are under way on l
// have the time of SetDrainTimeout to end. Then l is closed, if the server has not closed it.
func (r *RetryEnd) goAway(l *link) {
	l.goingAway.Store(true)
	if !l.ready.Load() {
		l.stopExchange(geminio.ErrGoingAway) // no work has begun on it
		return
	}
	l.drainOnce.Do(func() { go r.drain(l) })
}

// drain waits until no operation is under way on l, at most for the time of SetDrainTimeout,
// and closes l.
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
// come before those of the next. The RetryEnd does not wait for callbacks, since they may
// themselves wait for the next connection. Therefore the handshake calls ConnOnline for the
// first connection only, and the queue calls it for the others.
func (r *RetryEnd) configure(l *link, cc *conn.Config, ac *application.Config) (online func(*conn.Conn)) {
	ac.User = func(*application.End) geminio.End { return r }
	ac.Events = &r.events
	ac.Methods = r.methods
	if r.preparing.Load() {
		cc.Prepare = r.prepareFirst
	}
	ac.Hooks.GoAway = func(n packet.Reason) {
		l.retryAfter.Store(int64(n.Retry))
		r.goAway(l)
	}
	ac.Hooks.Done = func() {
		r.mu.Lock()
		l.hasEnded = true
		if l == r.last.Load() {
			r.outage.begin(time.Now())
		}
		next := l.reconnects && !r.connecting
		r.connecting = r.connecting || next
		r.mu.Unlock()
		if next {
			go r.reconnect(l)
		}
	}
	ac.Hooks.OperationEnded = func() { r.closeIfUnused(l) }
	if cc.Resume != nil {
		cc.Resume.Interrupted = func(c *conn.Conn, _ error) { r.interrupted(l, c) }
	}
	connOnline := cc.Online
	if connOnline == nil || r.last.Load() == nil {
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
			if l.refused = connOnline(c); l.refused != nil {
				l.decline()
			}
		})
	}
}

// setClientID sets the client id to that of a new connection.
func (r *RetryEnd) setClientID(clientID uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.clientID.Swap(clientID)
	if old == 0 || old == clientID || slices.Contains(r.formerIDs, old) {
		return
	}
	if len(r.formerIDs) >= maxFormerIDs {
		r.formerIDs = slices.Delete(r.formerIDs, 0, 1)
	}
	r.formerIDs = append(r.formerIDs, old)
}

// install makes l the connection of the RetryEnd. It reports false if l is interrupted or has
// ended already, or if the RetryEnd has ended. Then the caller has to make the next
// connection, since l does not start reconnect.
func (r *RetryEnd) install(l *link) bool {
	prev, former := r.last.Load(), r.former // only this goroutine changes them
	if prev != nil {
		former.add(prev) // r.mu is not held: the addresses of prev are those of a net.Conn of the user
	}
	r.mu.Lock()
	r.receiving.follow(prev, l)
	r.accepting.follow(prev, l)
	r.reading.follow(prev, l)
	r.writing.follow(prev, l)
	if !r.reading.deadline.IsZero() {
		l.e.SetReadDeadline(r.reading.deadline)
	}
	if !r.writing.deadline.IsZero() {
		l.e.SetWriteDeadline(r.writing.deadline)
	}
	ended := r.cause != nil
	l.reconnects = !ended
	installed := l.reconnects && l.settled()
	l.interrupted.Store(!l.hasEnded && !l.settled())
	r.connecting = !installed
	r.connections++
	if prev != nil {
		r.former = former
		r.resumes.add(prev.control().Conn(), prev.e.Cause())
	}
	r.last.Store(l)
	r.outage.failure = nil
	if l.hasEnded || l.interrupted.Load() {
		r.outage.begin(time.Now())
	}
	close(r.connChanged)
	r.connChanged = make(chan struct{})
	readClosed, writeClosed := r.reading.closed, r.writing.closed
	r.mu.Unlock()
	if readClosed {
		l.e.CloseRead()
	}
	if writeClosed {
		l.e.CloseWrite()
	}
	if ended {
		l.e.Close() // RetryEnd.Close may have closed the connection before l
		return false
	}
	r.calls.wake()
	r.outbox.wake()
	return installed
}

// reconnect resumes the session of lost or, if that is not possible, makes the connection
// after lost. It runs in a goroutine of its own. There is at most one such goroutine.
func (r *RetryEnd) reconnect(lost *link) {
	defer func() { r.abandon(lost) }()
	r.afterLoss(lost)
	for r.pause() {
		l, err := r.connect(lost)
		switch {
		case err == conn.ErrResumed:
			if r.resumed(lost) {
				return
			}
			r.afterLoss(lost)
			continue
		case err != nil:
			r.afterFailure(err)
			if r.retryAfter == 0 {
				r.retryAfter = r.retryAfterLater
			}
			r.retryAfterLater = 0
			continue
		}
		if d := r.opt.Delegate; d != nil {
			l.control().PostHook("EndReOnline", func() {
				if l.refused == nil {
					d.EndReOnline(r)
				}
			})
		}
		settled := r.install(l)
		lost = l
		if settled {
			return
		}
		r.afterLoss(l)
	}
}

// minLifetime is the lifetime of a connection from which it counts as a success in any case,
// as a multiple of the shortest back-off. A shorter one counts as a success if the server has
// sent anything other than registrations and the end, and no side has broken a rule of the
// wire.
const minLifetime = 10

// afterLoss sets the back-off after the end or the interruption of a connection.
func (r *RetryEnd) afterLoss(l *link) {
	cause := l.e.Cause()
	works := l.control().Conn().Worked() && !errors.Is(cause, geminio.ErrProtocol)
	if works || time.Since(l.start) >= minLifetime*r.opt.RetryMin {
		r.failures = 0
	}
	interrupted := l.resumable() != nil
	r.resumeSoon = interrupted && !l.goingAway.Load() && time.Since(l.start) > r.opt.RetryMin
	r.retryAfterLater = 0
	if l.goingAway.Load() {
		hint := &r.retryAfter
		if interrupted {
			hint = &r.retryAfterLater
		} else {
			r.dialed.fail() // another server may take new work
		}
		*hint = time.Duration(l.retryAfter.Load())
	}
	if errors.Is(cause, geminio.ErrReplaced) {
		r.failures = replacedFailures
		r.afterFailure(cause)
		return
	}
	// An operation that waits does not get this error: there, a RemoteError is that of a handler.
	var reason *geminio.RemoteError
	if errors.As(cause, &reason) && geminio.CodeOf(reason) == reason.Code && !r.ended() {
		r.reportFailure(reason) // of CloseWithError
	}
}

// replacedFailures is the number of failures that are counted when a connection ends because
// another connection has taken over the client's id. It is large, so that two clients with one
// id do not replace each other all the time.
const replacedFailures = 64

// afterFailure is called when an attempt to connect has failed. It reports the error to the
// user, and sets the back-off. If the error is final, it ends the RetryEnd.
func (r *RetryEnd) afterFailure(err error) {
	if r.ended() {
		return
	}
	r.mu.Lock()
	r.outage.failure = err
	r.mu.Unlock()
	r.reportFailure(err)
	var refused *geminio.RefusedError
	final := errors.Is(err, geminio.ErrReplaced)
	if errors.As(err, &refused) {
		r.retryAfter = refused.RetryAfter
		final = !errors.Is(err, geminio.ErrGoingAway)
	}
	if final && r.opt.StopOnRefusal {
		r.end(err)
	}
}

// reportFailure calls the function of SetRetryFailedFunc with the error of an attempt.
func (r *RetryEnd) reportFailure(err error) {
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

// maxResumePause bounds the time before the first attempt to resume a session. The time is
// random, so that the clients of a server do not all come at the same moment.
const maxResumePause = 50 * time.Millisecond

// backoff returns the time before the next attempt: random up to a bound that doubles with
// each failure, and at least the time for which the server asked, up to MaxRetryAfter.
func (r *RetryEnd) backoff() time.Duration {
	if r.resumeSoon {
		r.resumeSoon = false
		return rand.N(maxResumePause)
	}
	bound := r.opt.RetryMax
	if shift := r.opt.RetryMin << min(r.failures, 32); r.failures <= 32 && shift>>min(r.failures, 32) == r.opt.RetryMin {
		bound = min(bound, shift)
	}
	r.failures++
	wait := rand.N(bound)
	if hint := min(r.retryAfter, r.opt.MaxRetryAfter); hint > 0 {
		wait = max(wait, hint+rand.N(hint))
		r.mu.Lock()
		r.outage.begin(time.Now().Add(wait))
		r.mu.Unlock()
	}
	r.retryAfter = 0
	return wait
}
