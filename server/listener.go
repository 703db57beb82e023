package server

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/packet"
)

// maxPending bounds the connections that shake hands or wait for AcceptEnd.
const maxPending = 8192

// Listener hands out an End for each client. All methods are safe for concurrent
// use. Its concrete type also has Shutdown(context.Context) error.
type Listener interface {
	// AcceptEnd returns the next End whose handshake is done. Clients that are
	// slow, silent, broken or refused delay nobody and are not seen here. Its
	// error is that of the underlying listener, after which there will be no
	// more Ends: net.ErrClosed after Close or Shutdown.
	AcceptEnd() (geminio.End, error)
	// Accept is AcceptEnd.
	Accept() (net.Conn, error)
	// Close stops listening and closes the Ends that were not handed out. Those
	// that were go on.
	Close() error
	// Addr returns the listener's address.
	Addr() net.Addr
}

// Listen listens as net.Listen does and accepts Ends from there.
func Listen(network, address string, opts ...*EndOptions) (Listener, error) {
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return newListener(l, opts)
}

// NewListener accepts Ends from l, whatever its connections are: TLS, for
// example. The listener belongs to the returned one, which closes it.
func NewListener(l net.Listener, opts ...*EndOptions) (Listener, error) {
	if v := reflect.ValueOf(l); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, nilarg.New("server", "net.Listener")
	}
	return newListener(l, opts)
}

// listener accepts connections in one goroutine and shakes hands in one each.
type listener struct {
	nl   net.Listener
	opt  *EndOptions
	done chan struct{} // closed on Close
	wg   sync.WaitGroup

	ids      identities
	sessions sessions

	mu      sync.Mutex
	changed *sync.Cond                            // on mu
	ready   []*ServerEnd                          // to be handed out
	pending map[net.Conn]struct{}                 // shaking hands
	begun   map[net.Conn]struct{}                 // hands are shaken, methods are exchanged
	drain   context.Context                       // Shutdown's; nil as long as it was not called
	ends    map[delegate.ConnDescriber]*ServerEnd // all that have not ended
	err     error                                 // why no more will come; set once
}

func newListener(nl net.Listener, opts []*EndOptions) (*listener, error) {
	l := &listener{
		nl: nl, opt: MergeEndOptions(opts...), done: make(chan struct{}),
		pending: make(map[net.Conn]struct{}), begun: make(map[net.Conn]struct{}),
		ends: make(map[delegate.ConnDescriber]*ServerEnd),
	}
	l.changed = sync.NewCond(&l.mu)
	l.sessions.keep = cmp.Or(l.opt.SessionKeep, defaultSessionKeep)
	if _, _, err := l.opt.resolve(); err != nil {
		nl.Close()
		return nil, err
	}
	l.wg.Go(l.accept)
	return l, nil
}

// accept accepts connections until the listener is closed. An error that passes,
// such as too many open files, makes it wait a little.
func (l *listener) accept() {
	const shortest, longest = 5 * time.Millisecond, time.Second
	pause := shortest
	for {
		nc, err := l.nl.Accept()
		if err == nil {
			pause = shortest
			if l.admit(nc) {
				l.wg.Go(func() { l.welcome(nc) })
			}
			continue
		}
		var ne net.Error
		if !errors.As(err, &ne) || errors.Is(err, net.ErrClosed) {
			l.stop(err)
			return
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, longest)
		case <-l.done:
			l.stop(net.ErrClosed)
			return
		}
	}
}

// admit waits until one more connection may shake hands.
func (l *listener) admit(nc net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.pending)+len(l.begun)+len(l.ready) >= maxPending && l.err == nil {
		l.changed.Wait()
	}
	if l.err != nil {
		nc.Close()
		return false
	}
	l.pending[nc] = struct{}{}
	return true
}

// welcome shakes hands with one client.
func (l *listener) welcome(nc net.Conn) {
	e, err := l.handshake(nc)
	l.mu.Lock()
	delete(l.pending, nc)
	delete(l.begun, nc)
	l.changed.Broadcast()
	closed, drain := l.err != nil, l.drain
	if err == nil && !closed {
		l.ready = append(l.ready, e)
		select {
		case <-e.Over():
		default:
			l.ends[e.Conn()] = e
		}
	}
	l.mu.Unlock()
	switch {
	case err != nil || !closed:
	case drain != nil:
		e.Shutdown(drain)
	default:
		e.Close()
	}
}

func (l *listener) handshake(nc net.Conn) (*ServerEnd, error) {
	cc, ac, err := l.opt.resolve()
	if err != nil {
		nc.Close()
		return nil, err // never: resolve has succeeded before
	}
	h := newHolder()
	admit := cc.Admit
	cc.Admit = func(wanted uint64, meta []byte) (uint64, error) {
		clientID, err := admit(wanted, meta)
		if err != nil {
			return 0, err
		}
		return clientID, l.ids.claim(h, clientID, l.opt.duplicates(clientID), cc.HandshakeTimeout, l.done)
	}
	e, err := l.establish(nc, h, cc, ac)
	if err != nil {
		cc.Log.Info("no End for a client", "remote", nc.RemoteAddr(), "err", err)
	}
	return e, err
}

func (l *listener) establish(nc net.Conn, h *holder, cc *conn.Config, ac *application.Config) (*ServerEnd, error) {
	c, err := conn.Server(nc, cc)
	if err != nil {
		l.ids.release(h)
		return nil, err
	}
	l.mu.Lock()
	delete(l.pending, nc)
	l.begun[nc] = struct{}{}
	cut := l.err != nil && l.drain == nil
	l.mu.Unlock()
	if cut {
		nc.Close()
	}
	s := l.sessions.attach(c.ClientID(), c.Session())
	if s != nil {
		ac.Deliveries = &s.deliveries
	}
	told := ac.Hooks.Offline
	ac.Hooks.Offline = func(c delegate.ConnDescriber) {
		l.mu.Lock()
		delete(l.ends, c)
		l.mu.Unlock()
		if told != nil {
			told(c)
		}
		l.sessions.detach(s)
		l.ids.release(h)
	}
	e := &ServerEnd{application.Start(c, ac)}
	l.ids.evictBy(h, func() {
		e.CloseWith(geminio.ErrReplaced, packet.Notice{
			Code: uint32(geminio.CodeReplaced), Text: geminio.ErrReplaced.Error(),
		})
	})
	if err := e.introduce(cc, ac); err != nil {
		return nil, err
	}
	return e, nil
}

// AcceptEnd implements Listener.
func (l *listener) AcceptEnd() (geminio.End, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.ready) == 0 && l.err == nil {
		l.changed.Wait()
	}
	if l.err != nil {
		return nil, l.err
	}
	e := l.ready[0]
	l.ready[0] = nil
	l.ready = l.ready[1:]
	l.changed.Broadcast()
	return e, nil
}

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
	err := l.stop(net.ErrClosed)
	l.wg.Wait()
	return err
}

// stop ends the accepting for the given reason, the first time it is called.
func (l *listener) stop(why error) error {
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return nil
	}
	l.err = why
	ready, pending := l.ready, l.pending
	l.ready, l.pending = nil, make(map[net.Conn]struct{})
	if l.drain == nil {
		maps.Copy(pending, l.begun)
	} else {
		ready = nil // Shutdown sees to these, and to those that have begun
	}
	l.changed.Broadcast()
	l.mu.Unlock()
	close(l.done)
	err := l.nl.Close()
	for nc := range pending {
		nc.Close()
	}
	var wg sync.WaitGroup
	for _, e := range ready {
		wg.Go(func() { e.Close() })
	}
	wg.Wait()
	if errors.Is(why, net.ErrClosed) && errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Shutdown stops listening and shuts down all Ends at once, handed out or not:
// nothing new begins, what is under way ends, then they are closed. When ctx is
// done before, they are closed at once and ctx's error is returned.
func (l *listener) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return nilarg.New("shutdown", "context")
	}
	l.mu.Lock()
	l.drain = ctx
	l.mu.Unlock()
	l.stop(net.ErrClosed)
	l.mu.Lock()
	ends := slices.Collect(maps.Values(l.ends))
	l.mu.Unlock()
	cut := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for nc := range l.begun {
			nc.Close()
		}
	})
	defer cut()
	var wg sync.WaitGroup
	errs := make([]error, len(ends))
	for i, e := range ends {
		wg.Go(func() { errs[i] = e.Shutdown(ctx) })
	}
	wg.Wait()
	l.wg.Wait() // for those that had just begun
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
