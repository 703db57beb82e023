package server

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"reflect"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/packet"
)

// maxPending bounds the connections that shake hands or wait for AcceptEnd.
const maxPending = 8192

// Listener returns an End for each client. All methods are safe for concurrent use, and may
// be called from within callbacks and handlers. Its concrete type is a
// [geminio.Shutdowner]: see [geminio.Shutdown].
type Listener interface {
	// AcceptEnd returns the next End whose handshake is done. A client that is slow or
	// silent, breaks the rules or is refused does not delay other clients, and gets no
	// End. If a client closes its End in an orderly way before AcceptEnd is called,
	// AcceptEnd returns its End all the same: the End has everything that the client has
	// sent, and then io.EOF.
	//
	// After Close and Shutdown AcceptEnd returns net.ErrClosed. If the underlying listener
	// fails with a permanent error, AcceptEnd returns the Ends of the clients that
	// connected before, and then that error. Temporary errors, such as too many open
	// files, are logged, and the Listener tries again after a pause of 5 ms to one second.
	AcceptEnd() (geminio.End, error)
	// Accept is AcceptEnd.
	Accept() (net.Conn, error)
	// Close closes the underlying listener, the Ends that AcceptEnd has not returned, and
	// the connections whose handshake is not done. Ends that AcceptEnd has returned stay
	// open as long as they have their connection: no session can be resumed any more (see
	// SetResumeKeep). Close returns within the time of SetLinger. It does not wait for callbacks: if
	// a callback that decides about a client returns later, the client is refused. The
	// error is that of the underlying listener. A second Close returns nil.
	Close() error
	// Addr returns the listener's address.
	Addr() net.Addr
}

// Listen listens on an address, as net.Listen does, and returns a Listener.
func Listen(network, address string, opts ...*EndOptions) (Listener, error) {
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return newListener(l, opts)
}

// NewListener returns a Listener over l, whose connections may be of any kind, such as TLS. The
// Listener owns l from now on.
func NewListener(l net.Listener, opts ...*EndOptions) (Listener, error) {
	if v := reflect.ValueOf(l); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, nilarg.New("server", "net.Listener")
	}
	return newListener(l, opts)
}

// state is the state of a listener. It only increases.
type state uint8

const (
	// accepting: the listener takes clients.
	accepting state = iota
	// failed: the underlying listener has failed. The handshakes of clients that connected
	// before continue.
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

// endPolicy says what happens to the Ends of a listener that takes no more clients. It only
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

// listener accepts connections in one goroutine, and shakes hands with each client in another.
type listener struct {
	// Read-only after creation.
	nl               net.Listener
	opt              *EndOptions
	log              *slog.Logger
	handshakeTimeout time.Duration // the time for the handshake
	linger           time.Duration
	ids              *identities
	sessions         *sessions
	resumables       *resumables
	resumes          bool          // clients can resume their sessions
	unlistenOnce     sync.Once     // closes nl
	done             chan struct{} // closed from the state resuming on
	quit             chan struct{} // closed from the state refusing on
	unlistened       chan struct{} // closed when unlisten has closed nl
	closeErr         error         // the error of closing nl; set before unlistened is closed

	mu         sync.Mutex
	changed    *sync.Cond // on mu
	state      state
	policy     endPolicy
	err        error                    // the error of AcceptEnd when no more Ends come; set once
	clients    map[*clientConn]struct{} // removed by forget
	ready      []*clientConn            // in the order in which AcceptEnd returns them
	starting   int                      // how many have not reached the stage ready
	deciding   int                      // how many are in the stage deciding
	draining   int                      // how many Ends are being shut down
	acceptRuns bool                     // the goroutine of accept runs
}

func newListener(nl net.Listener, opts []*EndOptions) (*listener, error) {
	opt := MergeEndOptions(opts...)
	cc, _, err := opt.resolve()
	if err != nil {
		nl.Close()
		return nil, err
	}
	l := &listener{
		nl: nl, opt: opt, log: cc.Log, handshakeTimeout: cc.HandshakeTimeout, linger: cc.Linger,
		resumes: cc.Resume != nil, resumables: newResumables(opt.ResumeSessions, opt.ResumeBytes),
		done: make(chan struct{}), quit: make(chan struct{}), unlistened: make(chan struct{}),
		clients: make(map[*clientConn]struct{}), acceptRuns: true,
	}
	l.changed = sync.NewCond(&l.mu)
	l.sessions = newSessions(cmp.Or(opt.SessionKeep, defaultSessionKeep))
	l.ids = newIdentities(l.sessions)
	go l.accept()
	return l, nil
}

// AcceptEnd implements Listener.
func (l *listener) AcceptEnd() (geminio.End, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.ready) == 0 && (l.state == accepting || l.state == failed && l.starting > 0) {
		l.changed.Wait()
	}
	if len(l.ready) == 0 {
		return nil, l.err
	}
	cl := l.ready[0]
	l.ready[0] = nil
	l.ready = l.ready[1:]
	l.setStage(cl, finished)
	return cl.e, nil
}

// ResumeStats implements ResumeStatser.
func (l *listener) ResumeStats() ResumeStats { return l.resumables.stats() }

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	e, err := l.AcceptEnd()
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Addr implements Listener.
func (l *listener) Addr() net.Addr { return l.nl.Addr() }

// Close implements Listener.
func (l *listener) Close() error {
	first, ends := l.stop(closed, keepEnds, net.ErrClosed)
	ctx, cancel := context.WithTimeout(context.Background(), l.linger)
	defer cancel()
	for _, e := range ends {
		select {
		case <-e.control().Conn().Done():
		case <-ctx.Done():
		}
	}
	l.wait(ctx, func() bool { return l.starting == l.deciding && !l.acceptRuns })
	select {
	case <-l.unlistened:
	case <-ctx.Done():
		return nil
	}
	if !first || errors.Is(l.closeErr, net.ErrClosed) {
		return nil
	}
	return l.closeErr
}

// Shutdown shuts down all Ends, also those that AcceptEnd has not returned: nothing new begins,
// and an End closes when all operations that are under way have ended. Clients whose handshake
// is not done are refused with an error that matches geminio.ErrGoingAway, except those that
// resume the session of an End (see SetResumeKeep). Shutdown closes the underlying listener when
// all Ends have closed, or at once if no session can be resumed. If ctx ends earlier, Shutdown
// closes all Ends at once and returns ctx's error.
//
// Shutdown waits for callbacks that decide about clients (GetClientID, ConnOnline), at most for
// the time of the handshake. If such a callback returns later, its client is refused. Shutdown
// waits for handlers, and for callbacks about streams. A handler or callback that calls
// Shutdown itself must pass a ctx that ends.
func (l *listener) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return nilarg.New("shutdown", "context")
	}
	if l.resumes {
		l.stop(resuming, drainEnds, net.ErrClosed)
		l.wait(ctx, func() bool { return l.draining == 0 })
	}
	l.stop(refusing, drainEnds, net.ErrClosed)
	bounded, cancel := context.WithTimeout(ctx, l.handshakeTimeout)
	defer cancel()
	decided := l.wait(bounded, func() bool { return l.deciding == 0 && !l.acceptRuns })
	drained := l.wait(ctx, func() bool { return l.starting == l.deciding && l.draining == 0 })
	if !drained || !decided && ctx.Err() != nil {
		l.stop(closed, closeEnds, net.ErrClosed)
		return ctx.Err()
	}
	return nil
}

// wait waits until f, which it calls with l.mu held, returns true. It reports false if ctx ends
// earlier. l.mu is not held, since wait calls methods of ctx.
func (l *listener) wait(ctx context.Context, f func() bool) bool {
	over := false
	defer context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		over = true
		l.changed.Broadcast()
	})()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !f() {
		if over {
			return false
		}
		l.changed.Wait()
	}
	return true
}

// stop moves the listener to a state in which it takes no more clients, applies a policy to
// its Ends, and returns those that it closes. The first call sets the error of AcceptEnd. stop
// does not block.
func (l *listener) stop(to state, policy endPolicy, why error) (first bool, closing []*ServerEnd) {
	var cancels []context.CancelFunc
	l.mu.Lock()
	if first = l.state == accepting; first {
		l.err = why
	}
	if l.state < resuming && to >= resuming {
		close(l.done)
		l.ready = nil
	}
	if l.state < refusing && to >= refusing {
		close(l.quit)
	}
	l.state, l.policy = max(l.state, to), max(l.policy, policy)
	for cl := range l.clients {
		switch {
		case cl.cancel == nil && cl.e == nil: // it has failed
		case cl.e == nil:
			if l.state == closed || l.state == refusing && cl.stage == handshaking {
				cancels = append(cancels, cl.cancel)
			}
		case l.policy == closeEnds || l.state == closed && cl.stage < finished:
			closing = append(closing, cl.e)
		case l.policy == drainEnds && cl.stage > registering:
			l.shutDown(cl)
		}
	}
	l.changed.Broadcast()
	l.mu.Unlock()
	for _, cancel := range cancels {
		cancel()
	}
	for _, e := range closing {
		e.control().CloseWith(io.EOF, packet.Reason{})
	}
	if to != resuming {
		l.resumables.close()
		l.unlistenOnce.Do(func() { go l.unlisten() })
	}
	return first, closing
}

// unlisten closes the underlying listener.
func (l *listener) unlisten() {
	defer close(l.unlistened)
	guard.Run(l.log, "Close of the listener", func() { l.closeErr = l.nl.Close() }, func(failed error) {
		if failed != nil {
			l.closeErr = failed
		}
	})
}
