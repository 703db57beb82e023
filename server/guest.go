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

// stage says how far a guest has come.
type stage uint8

const (
	// greeting: the handshake waits for the client.
	greeting stage = iota
	// asking: a callback of the user decides about the client. Only the callback's return
	// ends this stage, so no method waits for it without a time limit.
	asking
	// answering: the client's id is claimed and the answer is sent to the client. A
	// callback leads back to asking.
	answering
	// introducing: the handshake is done, and the methods of both sides are exchanged.
	introducing
	// ready: the End waits for AcceptEnd.
	ready
	// parted: AcceptEnd has returned the End, or there is none. Nothing leaves this stage.
	parted
)

// guest is a client of a listener, from the Accept of its connection to the end of its
// End. The listener's lock guards the fields below stop.
type guest struct {
	nc     net.Conn
	holder *holder
	stop   context.Context // ends the handshake; nil once the guest has arrived

	// The goroutine of welcome uses these fields.
	resumable *resumable // nil if its session cannot be resumed
	approved  *resumable // the session that it may resume
	asked     bool       // the delegate has identified the client that wants to resume a session
	answer    demand     // the answer of the delegate then

	cut     context.CancelFunc // ends stop; nil once the guest has arrived
	stage   stage
	e       *ServerEnd // from introducing on
	over    bool       // the callbacks of its end have returned
	leaving bool       // the listener shuts it down
}

// welcome brings a guest from its connection to its End.
func (l *listener) welcome(g *guest) {
	err := errors.New("a callback ended its goroutine")
	defer func() { l.arrived(g, err) }() // also after runtime.Goexit
	err = l.receive(g)
}

// receive shakes hands with a guest, and exchanges methods.
func (l *listener) receive(g *guest) error {
	cc, ac, err := l.opt.resolve()
	if err != nil {
		return err // never: resolve has succeeded before
	}
	l.configure(g, cc)
	c, err := conn.Server(g.nc, cc)
	if g.approved != nil {
		g.approved.tell.settle(g.approved.c)
	}
	if err != nil {
		l.resumables.remove(g.resumable)
		return err
	}
	s := l.sessions.attach(c.ClientID(), c.Session(), c.RemoteAddr(), l.ids.chosen(g.holder))
	if s != nil {
		ac.Deliveries = &s.deliveries
	}
	offline := ac.Hooks.Offline
	ac.Hooks.Offline = func(c delegate.ConnDescriber) {
		defer l.offline(g, s)
		if g.resumable != nil {
			g.resumable.tell.end()
		}
		if offline != nil {
			offline(c)
		}
	}
	l.ids.keep(g.holder) // until the callbacks of its end have returned
	e := &ServerEnd{application.Start(c, ac)}
	if !l.met(g, e) {
		e.control().CloseWith(io.EOF, packet.Reason{})
	}
	l.ids.evictBy(g.holder, func(replace bool) bool {
		if expired := c.Expire(geminio.ErrReplaced); expired || !replace {
			return expired
		}
		e.control().CloseWith(geminio.ErrReplaced, packet.Reason{
			Code: uint32(geminio.CodeReplaced), Text: geminio.ErrReplaced.Error(),
		})
		return true
	})
	l.resumables.begin(g.resumable, e)
	return e.introduce(cc, ac)
}

// configureResume adds the settings for the sessions of clients that come back.
func (l *listener) configureResume(g *guest, cc *conn.Config) {
	r := cc.Resume
	if r == nil {
		return
	}
	r.Issued = func(c *conn.Conn) { g.resumable = l.resumables.add(c, newInterruptions(l.log, l.opt.Delegate)) }
	r.Find = l.resumables.findConn
	r.Allow = func(session, c *conn.Conn, wanted uint64) error { return l.allowResume(g, session, c, wanted) }
	r.Interrupted = func(*conn.Conn, error) { l.resumables.update(g.resumable) }
	r.Resumed = func(*conn.Conn) { l.resumables.update(g.resumable) }
}

// allowResume decides whether a session continues on the connection of a guest.
func (l *listener) allowResume(g *guest, session, c *conn.Conn, wanted uint64) (err error) {
	r := l.resumables.find(session.TicketID())
	if r == nil {
		return conn.ErrFresh
	}
	if d := l.opt.Delegate; d != nil {
		l.ask(g, func() { g.answer, err = l.opt.identify(l.log, wanted, c.Meta()) })
		if err != nil {
			return err
		}
		g.asked = true
		if id := g.answer.id; id != 0 && id != session.ClientID() {
			return conn.ErrFresh
		}
	}
	l.ask(g, func() { err = r.tell.approve(session) })
	if err == nil {
		g.approved = r
	}
	return err
}

// configure adds the settings of the listener to the configuration of a guest's connection.
func (l *listener) configure(g *guest, cc *conn.Config) {
	cc.Context = g.stop
	l.configureResume(g, cc)
	online, offline := cc.Online, cc.Offline
	cc.Admit = func(c *conn.Conn, wanted uint64, over <-chan struct{}) (clientID uint64, err error) {
		var want demand
		if g.asked { // about a session that does not continue
			want = l.opt.choose(g.answer, wanted)
		} else {
			l.ask(g, func() { want, err = l.opt.admit(l.log, wanted, c.Meta()) })
		}
		select {
		case <-over: // the callback took too long: the client must not replace another
			return 0, cmp.Or(err, net.ErrClosed)
		default:
		}
		if err == nil {
			// claim gives up before the time of the handshake ends, so that the client gets an answer.
			patience := cc.HandshakeTimeout * 3 / 4
			clientID, err = l.ids.claim(g.holder, want, c.Session(), l.opt.duplicates(want.id), patience, l.done)
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
			l.ask(g, func() { err = online(c) })
			return err
		}
	}
	if offline != nil {
		cc.Offline = func(c *conn.Conn) { l.ask(g, func() { offline(c) }) }
	}
}

// ask calls a callback that decides about a guest.
func (l *listener) ask(g *guest, f func()) {
	l.move(g, asking)
	defer l.move(g, answering)
	f()
}

// move sets the stage of a guest.
func (l *listener) move(g *guest, to stage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setStage(g, to)
}

// setStage is the one place that changes a guest's stage. l.mu is held.
func (l *listener) setStage(g *guest, to stage) {
	l.count(g.stage, -1)
	l.count(to, 1)
	g.stage = to
	l.forget(g)
	l.changed.Broadcast()
}

// forget removes a guest that neither AcceptEnd nor a callback needs any more. l.mu is held.
func (l *listener) forget(g *guest) {
	if (g.stage == parted || g.stage == ready && l.state >= resuming) && (g.e == nil || g.over) {
		delete(l.guests, g)
	}
}

// count adds n, which is 1 or -1, to the counters of a stage. l.mu is held.
func (l *listener) count(s stage, n int) {
	if s < ready {
		l.coming += n
	}
	if s == asking {
		l.asked += n
	}
}

// met sets the End of a guest whose handshake is done. It reports false if the listener is
// closed, so that the End has to be closed too.
func (l *listener) met(g *guest, e *ServerEnd) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	g.e = e
	l.setStage(g, introducing)
	return l.state != closed
}

// arrived makes the End of a guest ready. If there is none, err says why.
func (l *listener) arrived(g *guest, err error) {
	l.mu.Lock()
	cut := g.cut
	g.stop, g.cut = nil, nil
	switch {
	case err != nil:
		l.setStage(g, parted)
	default:
		l.setStage(g, ready)
		if l.state < resuming {
			l.ready = append(l.ready, g)
		} else if l.fate == drained {
			l.shutDown(g)
		}
	}
	l.mu.Unlock()
	cut() // closes the connection, if a callback has ended the goroutine
	l.ids.release(g.holder)
	switch {
	case errors.Is(err, conn.ErrResumed):
		l.log.Debug("a session was resumed", "client", g.approved.c.ClientID())
	case err != nil:
		guard.Run(l.log, "RemoteAddr", func() {
			l.log.Info("no End for a client", "remote", g.nc.RemoteAddr(), "err", err)
		}, nil)
	}
}

// shutDown shuts the End of a guest down. l.mu is held.
func (l *listener) shutDown(g *guest) {
	if g.leaving || g.over {
		return
	}
	g.leaving = true
	l.leaving++
	go func() {
		g.e.Shutdown(context.Background()) // returns at the latest when the End ends
		l.mu.Lock()
		defer l.mu.Unlock()
		l.leaving--
		l.changed.Broadcast()
	}()
}

// offline is called when the callbacks of the end of a guest's End have returned.
func (l *listener) offline(g *guest, s *session) {
	l.resumables.remove(g.resumable)
	l.sessions.detach(s)
	l.mu.Lock()
	g.over = true
	l.forget(g)
	l.changed.Broadcast()
	l.mu.Unlock()
	l.ids.release(g.holder)
}
