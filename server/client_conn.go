package server

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/packet"
)

// stage is the stage of a clientConn. The stages follow one another in the order of the
// constants, except that deciding and answering alternate.
type stage uint8

const (
	// handshaking: the handshake waits for the client.
	handshaking stage = iota
	// deciding: a callback of the user decides about the client. Only the callback's return
	// ends this stage, so no method waits for it without a time limit.
	deciding
	// answering: the client's id is claimed and the answer is sent to the client. A further
	// callback leads back to deciding.
	answering
	// registering: the handshake is done, and the methods of both sides are exchanged.
	registering
	// ready: the End waits for AcceptEnd.
	ready
	// finished: AcceptEnd has returned the End, or there is none. Nothing leaves this stage.
	finished
)

// clientConn is a connection of a client to a listener, from Accept to the end of its End.
type clientConn struct {
	nc     net.Conn
	holder *holder         // has the client's id
	ctx    context.Context // ends the handshake; nil once finish was called

	// Used by the goroutine of serve.
	resumable  *resumable // the session of this connection; nil if it cannot be resumed
	approved   *resumable // the session that this connection may resume; else nil
	identified bool       // the delegate has identified a client that asks to resume a session
	identity   idChoice   // the answer of the delegate if identified is set

	// Guarded by listener.mu.
	cancel      context.CancelFunc // ends ctx; nil once finish was called
	stage       stage
	e           *ServerEnd // set in the stage registering
	offlineDone bool       // the callbacks for the end of the End have returned
	draining    bool       // the listener shuts the End down
}

// serve makes an End of a connection. It runs in a goroutine of its own.
func (l *listener) serve(cl *clientConn) {
	err := errors.New("a callback ended its goroutine")
	defer func() { l.finish(cl, err) }() // also after runtime.Goexit
	err = l.handshake(cl)
}

// handshake shakes hands with a client, starts its End, and exchanges methods.
func (l *listener) handshake(cl *clientConn) error {
	cc, ac, err := l.opt.resolve()
	if err != nil {
		return err // never: resolve has succeeded before
	}
	l.configure(cl, cc)
	c, err := conn.Server(cl.nc, cc)
	if cl.approved != nil {
		cl.approved.callbacks.settle(cl.approved.c)
	}
	if err != nil {
		l.resumables.remove(cl.resumable)
		return err
	}
	s := l.sessions.attach(c.ClientID(), c.Session(), c.RemoteAddr(), l.ids.chosen(cl.holder))
	if s != nil {
		ac.Deliveries = &s.deliveries
	}
	offline := ac.Hooks.Offline
	ac.Hooks.Offline = func(c delegate.ConnDescriber) {
		defer l.offline(cl, s)
		if cl.resumable != nil {
			cl.resumable.callbacks.end()
		}
		if offline != nil {
			offline(c)
		}
	}
	l.ids.keep(cl.holder) // until the callbacks for the end of the End have returned
	e := &ServerEnd{application.Start(c, ac)}
	if !l.setEnd(cl, e) {
		e.control().CloseWith(io.EOF, packet.Reason{})
	}
	l.ids.evictBy(cl.holder, func(replace bool) bool {
		if expired := c.Expire(geminio.ErrReplaced); expired || !replace {
			return expired
		}
		e.control().CloseWith(geminio.ErrReplaced, packet.Reason{
			Code: uint32(geminio.CodeReplaced), Text: geminio.ErrReplaced.Error(),
		})
		return true
	})
	l.resumables.setEnd(cl.resumable, e)
	return e.exchangeMethods(cc, ac)
}

// configureResume adds the settings for resuming sessions to the configuration of a connection.
func (l *listener) configureResume(cl *clientConn, cc *conn.Config) {
	r := cc.Resume
	if r == nil {
		return
	}
	r.Issued = func(c *conn.Conn) { cl.resumable = l.resumables.add(c, newInterruptions(l.log, l.opt.Delegate)) }
	r.Find = l.resumables.findConn
	r.Allow = func(session, c *conn.Conn, wanted uint64) error { return l.allowResume(cl, session, c, wanted) }
	r.Interrupted = func(*conn.Conn, error) { l.resumables.update(cl.resumable) }
	r.Resumed = func(*conn.Conn) { l.resumables.update(cl.resumable) }
	r.Ended = func(*conn.Conn) { l.resumables.remove(cl.resumable) }
}

// allowResume decides whether a session continues on the connection cl. If it does not, the
// error is conn.ErrFresh, or a refusal.
func (l *listener) allowResume(cl *clientConn, session, c *conn.Conn, wanted uint64) (err error) {
	r := l.resumables.find(session.TicketID())
	if r == nil {
		return conn.ErrFresh
	}
	if d := l.opt.Delegate; d != nil {
		l.decide(cl, func() { cl.identity, err = l.opt.identify(l.log, wanted, c.Meta()) })
		if err != nil {
			return err
		}
		cl.identified = true
		if id := cl.identity.id; id != 0 && id != session.ClientID() {
			return conn.ErrFresh
		}
	}
	l.decide(cl, func() { err = r.callbacks.approve(session) })
	if err == nil {
		cl.approved = r
	}
	return err
}

// configure adds the settings of the listener to the configuration of a connection.
func (l *listener) configure(cl *clientConn, cc *conn.Config) {
	cc.Context = cl.ctx
	l.configureResume(cl, cc)
	online, offline := cc.Online, cc.Offline
	cc.Admit = func(c *conn.Conn, wanted uint64, timeout <-chan struct{}) (clientID uint64, err error) {
		var want idChoice
		if cl.identified { // about a session that does not continue
			want = l.opt.choose(cl.identity, wanted)
		} else {
			l.decide(cl, func() { want, err = l.opt.chooseID(l.log, wanted, c.Meta()) })
		}
		select {
		case <-timeout: // of the handshake: the client must not replace another any more
			return 0, cmp.Or(err, net.ErrClosed)
		default:
		}
		if err == nil {
			// claim gives up before the time of the handshake ends, so that the client gets an answer.
			wait := cc.HandshakeTimeout * 3 / 4
			clientID, err = l.ids.claim(cl.holder, want, c.Session(), l.opt.duplicates(want.id), wait, l.done)
		}
		if err == nil && l.stopped() {
			err = geminio.ErrGoingAway
		}
		if err == geminio.ErrGoingAway {
			err = &geminio.RefusedError{Code: geminio.CodeGoingAway, Text: err.Error(), RetryAfter: l.opt.RetryAfter}
		}
		return clientID, err
	}
	if online != nil {
		cc.Online = func(c *conn.Conn) (err error) {
			l.decide(cl, func() { err = online(c) })
			return err
		}
	}
	if offline != nil {
		cc.Offline = func(c *conn.Conn) { l.decide(cl, func() { offline(c) }) }
	}
}

// decide calls a callback that decides about a client.
func (l *listener) decide(cl *clientConn, f func()) {
	l.enter(cl, deciding)
	defer l.enter(cl, answering)
	f()
}

// enter sets the stage of cl.
func (l *listener) enter(cl *clientConn, to stage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setStage(cl, to)
}

// setStage sets the stage of cl and updates the counters. l.mu is held.
func (l *listener) setStage(cl *clientConn, to stage) {
	l.count(cl.stage, -1)
	l.count(to, 1)
	cl.stage = to
	l.forget(cl)
	l.changed.Broadcast()
}

// forget removes cl from l.clients if neither AcceptEnd nor a callback needs it any more. l.mu is
// held.
func (l *listener) forget(cl *clientConn) {
	if (cl.stage == finished || cl.stage == ready && l.state >= resuming) && (cl.e == nil || cl.offlineDone) {
		delete(l.clients, cl)
	}
}

// count adds n, which is 1 or -1, to the counters of a stage. l.mu is held.
func (l *listener) count(s stage, n int) {
	if s < ready {
		l.starting += n
	}
	if s == deciding {
		l.deciding += n
	}
}

// setEnd sets the End of cl, whose handshake is done. It reports false if the listener is
// closed. Then the caller has to close the End.
func (l *listener) setEnd(cl *clientConn, e *ServerEnd) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	cl.e = e
	l.setStage(cl, registering)
	return l.state != closed
}

// finish is called when handshake has returned. It makes the End ready for AcceptEnd. If there
// is no End, err says why.
func (l *listener) finish(cl *clientConn, err error) {
	l.mu.Lock()
	cancel := cl.cancel
	cl.ctx, cl.cancel = nil, nil
	switch {
	case err != nil:
		l.setStage(cl, finished)
	default:
		l.setStage(cl, ready)
		if l.state < resuming {
			l.ready = append(l.ready, cl)
		} else if l.policy == drainEnds {
			l.shutDown(cl)
		}
	}
	l.mu.Unlock()
	cancel() // closes the connection if a callback has ended the goroutine
	l.ids.release(cl.holder)
	switch {
	case errors.Is(err, conn.ErrResumed):
		l.log.Debug("a session was resumed", "client", cl.approved.c.ClientID())
	case err != nil:
		guard.Run(l.log, "RemoteAddr", func() {
			l.log.Info("no End for a client", "remote", cl.nc.RemoteAddr(), "err", err)
		}, nil)
	}
}

// shutDown shuts the End of cl down. l.mu is held.
func (l *listener) shutDown(cl *clientConn) {
	if cl.draining || cl.offlineDone {
		return
	}
	cl.draining = true
	l.draining++
	go func() {
		cl.e.Shutdown(context.Background()) // returns at the latest when the End ends
		l.mu.Lock()
		defer l.mu.Unlock()
		l.draining--
		l.changed.Broadcast()
	}()
}

// offline is called when the callbacks for the end of the End of cl have returned.
func (l *listener) offline(cl *clientConn, s *session) {
	l.sessions.detach(s)
	l.mu.Lock()
	cl.offlineDone = true
	l.forget(cl)
	l.changed.Broadcast()
	l.mu.Unlock()
	l.ids.release(cl.holder)
}
