package server

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/packet"
)

// maxPending bounds the connections that shake hands or wait for AcceptEnd.
const maxPending = 8192

// state is the state of a Server. It only increases.
type state uint8

const (
	// accepting: the Server takes clients.
	accepting state = iota
	// failed: the options have an error, or failsWithListeners is set and the last listener
	// has failed. The handshakes of clients that connected before continue.
	failed
	// resuming: Shutdown was called, and clients can still resume their sessions. A client
	// whose handshake is not done is refused, unless it resumes a session. All Ends are
	// shut down. When no End is left, Shutdown leads to refusing.
	resuming
	// refusing: Shutdown was called, and no session can be resumed.
	refusing
	// closed: Close was called, or the context of Shutdown has ended. The connections of
	// clients that AcceptEnd has not returned are closed.
	closed
)

// endPolicy says what happens to the Ends of a Server that takes no more clients. It only
// increases.
type endPolicy uint8

const (
	// keepEnds: the Ends that AcceptEnd has returned stay open.
	keepEnds endPolicy = iota
	// drainEnds: all Ends are shut down.
	drainEnds
	// closeEnds: all Ends are closed.
	closeEnds
)

// Server makes an End of each client that connects over one of its listeners. The clients of all
// listeners share their ids, their sessions, the messages that are handed out once, and AcceptEnd.
// So a client that comes back over another listener replaces its former connection, and can resume
// its session. All methods are safe for concurrent use, and may be called from within callbacks and
// handlers.
//
// A Server needs a goroutine that calls AcceptEnd. If 8192 clients shake hands or wait for
// AcceptEnd, the Server accepts no further connection.
type Server struct {
	// Read-only after creation.
	opt                *EndOptions
	cc                 *conn.Config        // of all connections; see configs
	ac                 *application.Config // of all Ends; see configs
	log                *slog.Logger
	handshakeTimeout   time.Duration // the time for the handshake
	linger             time.Duration
	ids                *identities
	sessions           *sessions
	resumables         *resumables
	resumes            bool          // clients can resume their sessions
	failsWithListeners bool          // the Server fails when its last listener fails
	done               chan struct{} // closed from the state resuming on
	quit               chan struct{} // closed from the state refusing on

	mu        sync.Mutex
	changed   *sync.Cond // on mu
	state     state
	policy    endPolicy
	err       error                    // the error of AcceptEnd when no more Ends come; set once
	clients   map[*clientConn]struct{} // removed by forget
	newest    map[uint64]*clientConn   // the client that came online last, by client id
	ready     []*clientConn            // in the order in which AcceptEnd returns them
	starting  int                      // how many have not reached the stage ready
	deciding  int                      // how many are in the stage deciding
	draining  int                      // how many Ends are being shut down
	listeners []*served                // those that accept, in the order of Serve
	addr      net.Listener             // the listener of Addr; nil before the first Serve
}

var _ Listener = (*Server)(nil)

// New returns a Server without listeners: Serve adds them. If the options have an error, Serve and
// AcceptEnd return it.
func New(opts ...*EndOptions) *Server {
	opt := MergeEndOptions(opts...)
	srv := &Server{
		opt: opt, resumables: newResumables(opt.ResumeSessions, opt.ResumeBytes),
		sessions: newSessions(cmp.Or(opt.SessionKeep, defaultSessionKeep)),
		done:     make(chan struct{}), quit: make(chan struct{}),
		clients: make(map[*clientConn]struct{}), newest: make(map[uint64]*clientConn),
	}
	srv.changed = sync.NewCond(&srv.mu)
	srv.ids = newIdentities(srv.sessions)
	cc, ac, err := opt.resolve()
	if err != nil {
		srv.state, srv.err = failed, err
		return srv
	}
	srv.cc, srv.ac = cc, ac
	srv.log, srv.handshakeTimeout, srv.linger, srv.resumes = cc.Log, cc.HandshakeTimeout, cc.Linger, cc.Resume != nil
	return srv
}

// AcceptEnd returns the next End whose handshake is done, of the clients of all listeners; see
// [Listener]. The error of a listener ends only its Serve: AcceptEnd waits for the clients of
// the others, and of those that are served later. After Close and Shutdown AcceptEnd returns
// net.ErrClosed. A Server of NewListener or Listen ends when its last listener has failed.
func (srv *Server) AcceptEnd() (geminio.End, error) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for len(srv.ready) == 0 && (srv.state == accepting || srv.state == failed && srv.starting > 0) {
		srv.changed.Wait()
	}
	if len(srv.ready) == 0 {
		return nil, srv.err
	}
	cl := srv.ready[0]
	srv.ready[0] = nil
	srv.ready = srv.ready[1:]
	srv.setStage(cl, finished)
	return cl.e, nil
}

// ResumeStats implements ResumeStatser. The counters are those of the clients of all listeners.
func (srv *Server) ResumeStats() ResumeStats { return srv.resumables.stats() }

// Accept is AcceptEnd.
func (srv *Server) Accept() (net.Conn, error) {
	e, err := srv.AcceptEnd()
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Ends returns all Ends that are online: from the end of the handshake on, so handlers find their own
// End, until they have ended. They include those that AcceptEnd has not returned yet, and those that
// are interrupted (see SetResumeKeep), but not one in the function of SetPrepareFunc. The range begins
// with the Ends of that moment, in no particular order, and skips those that have ended meanwhile. The
// loop may use the Server and the Ends.
func (srv *Server) Ends() iter.Seq[geminio.End] {
	return func(yield func(geminio.End) bool) {
		srv.mu.Lock()
		ends := make([]*ServerEnd, 0, len(srv.clients))
		for cl := range srv.clients {
			if cl.e != nil {
				ends = append(ends, cl.e)
			}
		}
		srv.mu.Unlock()
		for _, e := range ends {
			if !isClosed(e.Done()) && !yield(e) {
				return
			}
		}
	}
}

// End returns the online End of the client with an id, as Ends does, and whether there is one. If
// several clients have the id (see DuplicatePolicy), it returns the End that came online last.
func (srv *Server) End(clientID uint64) (geminio.End, bool) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for cl := srv.newest[clientID]; cl != nil; cl = cl.older {
		if !isClosed(cl.e.Done()) {
			return cl.e, true
		}
	}
	return nil, false
}

// Addr returns the address of the listener that has been served for the longest time, or of the
// last one if none is served. It returns nil before the first Serve.
func (srv *Server) Addr() net.Addr {
	srv.mu.Lock()
	l := srv.addr
	srv.mu.Unlock()
	if l == nil {
		return nil
	}
	return l.Addr()
}

// Close closes all listeners, the Ends that AcceptEnd has not returned, and the connections whose
// handshake is not done; see [Listener]. Serve returns net.ErrClosed. The error is that of closing
// the listeners. A second Close returns nil.
func (srv *Server) Close() error {
	listeners, ends := srv.stop(closed, keepEnds, net.ErrClosed)
	ctx, cancel := context.WithTimeout(context.Background(), srv.linger)
	defer cancel()
	for _, e := range ends {
		select {
		case <-e.control().Conn().Done():
		case <-ctx.Done():
		}
	}
	srv.wait(ctx, func() bool { return srv.starting == srv.deciding && len(srv.listeners) == 0 })
	var errs []error
	for _, s := range listeners {
		select {
		case <-s.closed:
			if !errors.Is(s.closeErr, net.ErrClosed) {
				errs = append(errs, s.closeErr)
			}
		case <-ctx.Done():
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// Shutdown shuts down all Ends, also those that AcceptEnd has not returned: nothing new begins,
// and an End closes when all operations that are under way have ended. Clients whose handshake
// is not done are refused with an error that matches geminio.ErrGoingAway, except those that
// resume the session of an End (see SetResumeKeep). Shutdown closes the listeners when all Ends
// have closed, or at once if no session can be resumed. If ctx ends earlier, Shutdown
// closes all Ends at once and returns ctx's error.
//
// Shutdown waits for callbacks that decide about clients (GetClientID, ConnOnline), at most for
// the time of the handshake. If such a callback returns later, its client is refused. Shutdown
// waits for handlers, and for callbacks about streams. A handler or callback that calls
// Shutdown itself must pass a ctx that ends.
func (srv *Server) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return nilarg.New("shutdown", "context")
	}
	if srv.resumes {
		srv.stop(resuming, drainEnds, net.ErrClosed)
		srv.wait(ctx, func() bool { return srv.draining == 0 })
	}
	srv.stop(refusing, drainEnds, net.ErrClosed)
	bounded, cancel := context.WithTimeout(ctx, srv.handshakeTimeout)
	defer cancel()
	decided := srv.wait(bounded, func() bool { return srv.deciding == 0 && len(srv.listeners) == 0 })
	drained := srv.wait(ctx, func() bool { return srv.starting == srv.deciding && srv.draining == 0 })
	if !drained || !decided && ctx.Err() != nil {
		srv.stop(closed, closeEnds, net.ErrClosed)
		return ctx.Err()
	}
	return nil
}

// wait waits until f, which it calls with srv.mu held, returns true. It reports false if ctx ends
// earlier. srv.mu is not held, since wait calls methods of ctx.
func (srv *Server) wait(ctx context.Context, f func() bool) bool {
	over := false
	defer context.AfterFunc(ctx, func() {
		srv.mu.Lock()
		defer srv.mu.Unlock()
		over = true
		srv.changed.Broadcast()
	})()
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for !f() {
		if over {
			return false
		}
		srv.changed.Wait()
	}
	return true
}

// stop moves the Server to a state in which it takes no more clients, applies a policy to its
// Ends, and closes the listeners unless the state is resuming. It returns the listeners and the
// Ends that it closes. The first call sets the error of AcceptEnd. stop does not block.
func (srv *Server) stop(to state, policy endPolicy, why error) (listeners []*served, ends []*ServerEnd) {
	var cancels []context.CancelFunc
	srv.mu.Lock()
	if srv.err == nil {
		srv.err = why
	}
	if srv.state < resuming && to >= resuming {
		close(srv.done)
		srv.ready = nil
	}
	if srv.state < refusing && to >= refusing {
		close(srv.quit)
		listeners = slices.Clone(srv.listeners)
	}
	srv.state, srv.policy = max(srv.state, to), max(srv.policy, policy)
	for cl := range srv.clients {
		switch {
		case cl.cancel == nil && cl.e == nil: // it has failed
		case cl.e == nil:
			if srv.state == closed || srv.state == refusing && cl.stage == handshaking {
				cancels = append(cancels, cl.cancel)
			}
		case srv.policy == closeEnds || srv.state == closed && cl.stage < finished:
			ends = append(ends, cl.e)
		case srv.policy == drainEnds && cl.stage > registering:
			srv.shutDown(cl)
		}
	}
	srv.changed.Broadcast()
	srv.mu.Unlock()
	for _, cancel := range cancels {
		cancel()
	}
	for _, e := range ends {
		e.control().CloseWith(io.EOF, packet.Reason{})
	}
	if to != resuming {
		srv.resumables.close()
	}
	for _, s := range listeners {
		go s.close(srv.log)
	}
	return listeners, ends
}
