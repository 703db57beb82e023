package server

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/internal/setup"
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

// clientConn is a connection of a client to a Server, from Accept to the end of its End.
type clientConn struct {
	nc     net.Conn
	begin  time.Time       // when it was accepted
	holder *holder         // has the client's id
	ctx    context.Context // ends the handshake; nil once finish was called

	// Used by the goroutine of serve.
	observer  *application.Observer
	resumable *resumable // the session of this connection; nil if it cannot be resumed
	approved  *resumable // the session that this connection may resume; else nil

	// Guarded by Server.mu.
	cancel      context.CancelFunc // ends ctx; nil once finish was called
	stage       stage
	e           *ServerEnd // set in the stage registering
	offlineDone bool       // the callbacks for the end of the End have returned
	draining    bool       // the Server shuts the End down

	older, newer *clientConn // the neighbours among the clients with the same id that are in Server.newest
}

// serve makes an End of a connection. It runs in a goroutine of its own.
func (srv *Server) serve(cl *clientConn) {
	err := errors.New("a callback ended its goroutine")
	defer func() { srv.finish(cl, err) }() // also after runtime.Goexit
	err = srv.handshake(cl)
}

// handshake shakes hands with a client, starts its End, and exchanges methods.
func (srv *Server) handshake(cl *clientConn) error {
	cc, ac := srv.configs()
	cl.observer = ac.Observer
	srv.configure(cl, cc)
	var e *ServerEnd
	cc.Prepare = func(c *conn.Conn, over <-chan struct{}) (err error) {
		prepare := func() { e, err = srv.opt.prepare(c, ac, over) }
		if srv.opt.PrepareFunc == nil && len(ac.Middleware) == 0 { // no function of the user is called
			prepare()
		} else {
			srv.decide(cl, prepare)
		}
		return err
	}
	cc.Methods = func() []string { return e.control().Methods() }
	c, err := conn.Server(cl.nc, cc)
	if cl.approved != nil {
		cl.approved.callbacks.settle(cl.approved.c)
	}
	if err != nil {
		e.abandon(err)
		srv.resumables.remove(cl.resumable)
		return err
	}
	s := srv.sessions.attach(c.ClientID(), c.Session(), c.RemoteAddr(), srv.ids.chosen(cl.holder))
	if s != nil {
		ac.Deliveries = &s.deliveries
	}
	offline := ac.Hooks.Offline
	ac.Hooks.Offline = func(c delegate.ConnDescriber) {
		defer srv.offline(cl, s)
		if cl.resumable != nil {
			cl.resumable.callbacks.end()
		}
		if offline != nil {
			offline(c)
		}
	}
	srv.ids.keep(cl.holder) // until the callbacks for the end of the End have returned
	e.control().Announce()
	if !srv.startEnd(cl, e) {
		e.control().CloseWith(io.EOF, packet.Reason{})
	}
	srv.ids.evictBy(cl.holder, func(replace bool) bool {
		if !replace {
			return c.Expire(geminio.ErrReplaced)
		}
		e.Replace()
		return true
	})
	srv.resumables.setEnd(cl.resumable, e)
	return e.exchangeMethods(cc, ac)
}

// configs returns the configurations of a connection, which share what all connections have in common.
func (srv *Server) configs() (*conn.Config, *application.Config) {
	cc, ac := *srv.cc, *srv.ac
	if cc.Resume != nil {
		own := *cc.Resume
		cc.Resume = &own
	}
	if srv.opt.PacketFactory == nil {
		ac.IDs = setup.NewIDs(geminio.RecipientSide)
	}
	return &cc, &ac
}

// configureResume adds the settings for resuming sessions to the configuration of a connection.
func (srv *Server) configureResume(cl *clientConn, cc *conn.Config) {
	r := cc.Resume
	if r == nil {
		return
	}
	r.Issued = func(c *conn.Conn) { cl.resumable = srv.resumables.add(c, newInterruptions(srv.log, srv.opt.Delegate)) }
	r.Find = srv.resumables.findConn
	r.Allow = func(session, _ *conn.Conn, identified uint64) error { return srv.allowResume(cl, session, identified) }
	r.Interrupted = func(*conn.Conn, error) { srv.resumables.update(cl.resumable) }
	r.Resumed = func(*conn.Conn) { srv.resumables.update(cl.resumable) }
	r.Ended = func(*conn.Conn) { srv.resumables.remove(cl.resumable) }
}

// allowResume decides whether a session continues on the connection cl. If it does not, the
// error is conn.ErrFresh, or a refusal.
func (srv *Server) allowResume(cl *clientConn, session *conn.Conn, identified uint64) (err error) {
	r := srv.resumables.find(session.TicketID())
	if r == nil {
		return conn.ErrFresh
	}
	if identified != 0 && identified != session.ClientID() {
		return conn.ErrFresh
	}
	srv.decide(cl, func() { err = r.callbacks.approve(session) })
	if err == nil {
		cl.approved = r
	}
	return err
}

// configure adds the settings of the Server to the configuration of a connection.
func (srv *Server) configure(cl *clientConn, cc *conn.Config) {
	cc.Context = cl.ctx
	srv.configureResume(cl, cc)
	online, offline := cc.Online, cc.Offline
	if identify := cc.Identify; identify != nil {
		cc.Identify = func(ctx context.Context, c *conn.Conn, wanted uint64, resumes bool) (id uint64, err error) {
			srv.decide(cl, func() { id, err = identify(ctx, c, wanted, resumes) })
			return id, err
		}
	}
	cc.Admit = func(c *conn.Conn, identified, wanted uint64, timeout <-chan struct{}) (uint64, error) {
		select {
		case <-timeout: // of the handshake: the client must not replace another any more
			return 0, net.ErrClosed
		default:
		}
		want := srv.opt.choose(identified, wanted)
		// claim gives up before the time of the handshake ends, so that the client gets an answer.
		wait := cc.HandshakeTimeout * 3 / 4
		clientID, err := srv.ids.claim(cl.holder, want, c.Session(), srv.opt.duplicates(want.id), wait, srv.done)
		if err == nil && srv.stopped() {
			err = geminio.ErrGoingAway
		}
		if err == geminio.ErrGoingAway {
			err = &geminio.RefusedError{Code: geminio.CodeGoingAway, Text: err.Error(), RetryAfter: srv.opt.RetryAfter}
		}
		return clientID, err
	}
	if online != nil {
		cc.Online = func(c *conn.Conn) (err error) {
			srv.decide(cl, func() { err = online(c) })
			return err
		}
	}
	if offline != nil {
		cc.Offline = func(c *conn.Conn) { srv.decide(cl, func() { offline(c) }) }
	}
}

// decide calls a callback that decides about a client.
func (srv *Server) decide(cl *clientConn, f func()) {
	srv.enter(cl, deciding)
	defer srv.enter(cl, answering)
	f()
}

// enter sets the stage of cl.
func (srv *Server) enter(cl *clientConn, to stage) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.setStage(cl, to)
}

// setStage sets the stage of cl and updates the counters. srv.mu is held.
func (srv *Server) setStage(cl *clientConn, to stage) {
	srv.count(cl.stage, -1)
	srv.count(to, 1)
	cl.stage = to
	srv.forget(cl)
	srv.changed.Broadcast()
}

// forget removes cl from srv.clients if neither AcceptEnd nor a callback needs it any more. srv.mu is
// held.
func (srv *Server) forget(cl *clientConn) {
	if (cl.stage == finished || cl.stage == ready && srv.state >= resuming) && (cl.e == nil || cl.offlineDone) {
		delete(srv.clients, cl)
	}
}

// count adds n, which is 1 or -1, to the counters of a stage. srv.mu is held.
func (srv *Server) count(s stage, n int) {
	if s < ready {
		srv.starting += n
	}
	if s == deciding {
		srv.deciding += n
	}
}

// startEnd starts the End of cl, whose handshake is done. It reports false if the Server is closed.
// Then the caller has to close the End. srv.mu is held when the End starts, so that its handlers and
// callbacks find it by Server.End.
func (srv *Server) startEnd(cl *clientConn, e *ServerEnd) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	e.control().Begin()
	cl.e = e
	srv.addNewest(cl)
	srv.setStage(cl, registering)
	return srv.state != closed
}

// addNewest makes cl the newest client with its id. srv.mu is held.
func (srv *Server) addNewest(cl *clientConn) {
	id := cl.e.ClientID()
	if cl.older = srv.newest[id]; cl.older != nil {
		cl.older.newer = cl
	}
	srv.newest[id] = cl
}

// removeNewest removes cl from the clients with its id. srv.mu is held.
func (srv *Server) removeNewest(cl *clientConn) {
	switch id := cl.e.ClientID(); {
	case cl.newer != nil:
		cl.newer.older = cl.older
	case cl.older != nil:
		srv.newest[id] = cl.older
	default:
		delete(srv.newest, id)
	}
	if cl.older != nil {
		cl.older.newer = cl.newer
	}
	cl.older, cl.newer = nil, nil
}

// finish is called when handshake has returned. It makes the End ready for AcceptEnd. If there
// is no End, err says why.
func (srv *Server) finish(cl *clientConn, err error) {
	srv.mu.Lock()
	cancel := cl.cancel
	cl.ctx, cl.cancel = nil, nil
	switch {
	case err != nil:
		srv.setStage(cl, finished)
	default:
		srv.setStage(cl, ready)
		if srv.state < resuming {
			srv.ready = append(srv.ready, cl)
		} else if srv.policy == drainEnds {
			srv.shutDown(cl)
		}
	}
	srv.mu.Unlock()
	cancel() // closes the connection if a callback has ended the goroutine
	srv.ids.release(cl.holder)
	switch {
	case errors.Is(err, conn.ErrResumed):
		srv.log.Debug("a session was resumed", "client", cl.approved.c.ClientID())
	case err != nil:
		remote := conn.RemoteAddr(srv.log, cl.nc)
		srv.log.Info("no End for a client", "remote", remote, "err", err)
		cl.observer.HandshakeFailed(geminio.RecipientSide, remote, cl.begin, err)
	}
}

// shutDown shuts the End of cl down. srv.mu is held.
func (srv *Server) shutDown(cl *clientConn) {
	if cl.draining || cl.offlineDone {
		return
	}
	cl.draining = true
	srv.draining++
	go func() {
		cl.e.Shutdown(context.Background()) // returns at the latest when the End ends
		srv.mu.Lock()
		defer srv.mu.Unlock()
		srv.draining--
		srv.changed.Broadcast()
	}()
}

// offline is called when the callbacks for the end of the End of cl have returned.
func (srv *Server) offline(cl *clientConn, s *session) {
	srv.sessions.detach(s)
	srv.mu.Lock()
	cl.offlineDone = true
	srv.removeNewest(cl)
	srv.forget(cl)
	srv.changed.Broadcast()
	srv.mu.Unlock()
	srv.ids.release(cl.holder)
}
