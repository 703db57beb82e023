package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/internal/nilarg"
)

// served is a listener of a Server, from Serve on.
type served struct {
	net.Listener
	closeOnce sync.Once
	closed    chan struct{} // closed when Close of the listener has returned
	closeErr  error         // the error of Close; set before closed is closed
}

// Serve accepts clients over l, until l fails or the Server is closed or shut down. Then it closes
// l, and returns l's error, or net.ErrClosed after Close and Shutdown. Shutdown returns later than
// Serve, so a program has to wait for Shutdown. The Server owns l from now on. Temporary errors of
// l are logged, and Serve tries again after a pause of 5 ms to one second.
//
// A program may serve any number of listeners, at any time. The error of one does not disturb the
// others, nor the clients that have connected over it. To stop serving l alone, close l. If l is
// nil, or the options of the Server have an error, Serve returns an error that says so.
func (srv *Server) Serve(l net.Listener) error {
	if isNil(l) {
		return nilarg.New("server", "net.Listener")
	}
	s, err := srv.add(l)
	if err != nil {
		l.Close()
		return err
	}
	return srv.accept(s)
}

// add makes l a listener of the Server, for accept. If the Server takes no more clients, add
// returns the reason.
func (srv *Server) add(l net.Listener) (*served, error) {
	s := &served{Listener: l, closed: make(chan struct{})}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.state != accepting {
		return nil, srv.err
	}
	srv.listeners = append(srv.listeners, s)
	srv.addr = srv.listeners[0]
	return s, nil
}

// remove removes s, whose Accept is not called any more because of an error.
func (srv *Server) remove(s *served, why error) {
	srv.mu.Lock()
	srv.listeners = slices.DeleteFunc(srv.listeners, func(other *served) bool { return other == s })
	if len(srv.listeners) > 0 {
		srv.addr = srv.listeners[0]
	}
	fails := srv.failsWithListeners && len(srv.listeners) == 0
	srv.changed.Broadcast()
	srv.mu.Unlock()
	if fails {
		srv.stop(failed, keepEnds, why)
	}
}

// close closes the listener. Only the first call has an effect.
func (s *served) close(log *slog.Logger) {
	s.closeOnce.Do(func() {
		defer close(s.closed)
		guard.Run(log, "Close of the listener", func() { s.closeErr = s.Close() }, func(failed error) {
			if failed != nil {
				s.closeErr = failed
			}
		})
	})
}

// accept accepts connections over s until the Server is closed or s has failed, and returns the
// reason. After a temporary error it pauses and tries again.
func (srv *Server) accept(s *served) (why error) {
	const shortest, longest = 5 * time.Millisecond, time.Second
	why = errors.New("the listener's Accept ended its goroutine")
	defer func() { // also after runtime.Goexit
		srv.remove(s, why)
		s.close(srv.log)
	}()
	pause := shortest
	for {
		nc, temporary, err := srv.acceptOne(s)
		switch {
		case err == nil:
			pause = shortest
			srv.admit(nc)
			continue
		case isClosed(srv.quit):
			return net.ErrClosed
		case !temporary:
			return err
		}
		srv.log.Warn("Accept failed; the listener tries again", "err", err, "pause", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			pause = min(2*pause, longest)
		case <-srv.quit:
			timer.Stop()
		}
	}
}

// acceptOne calls the underlying Accept, and tells whether its error is temporary.
func (srv *Server) acceptOne(s *served) (nc net.Conn, temporary bool, err error) {
	guard.Run(srv.log, "Accept of the listener", func() {
		if nc, err = s.Accept(); err != nil {
			temporary = isTemporary(err)
		} else if err = conn.Check(nc); err != nil {
			temporary, err = true, fmt.Errorf("Accept returned no error, but %w", err)
		}
	}, func(failed error) {
		if failed != nil {
			temporary, err = false, failed
		}
	})
	return nc, temporary, err
}

// isTemporary tells whether a later Accept may succeed after an error: a time-out, an error
// whose Temporary method says so, or an error of the network or the system that concerns a
// single connection or a lack of memory or file descriptors.
func isTemporary(err error) bool {
	var timeout interface{ Timeout() bool }
	var temporary interface{ Temporary() bool }
	switch {
	case errors.Is(err, net.ErrClosed):
		return false
	case errors.As(err, &timeout) && timeout.Timeout():
		return true
	case errors.As(err, &temporary) && temporary.Temporary():
		return true
	}
	return slices.ContainsFunc(temporaryErrors, func(e error) bool { return errors.Is(err, e) })
}

// admit waits until the listener has room for one more client, and starts its handshake.
// It closes nc if the listener takes no more clients.
func (srv *Server) admit(nc net.Conn) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for srv.starting+len(srv.ready) >= maxPending && srv.admits() {
		srv.changed.Wait()
	}
	if !srv.admits() {
		go conn.Discard(nc)
		return
	}
	cl := &clientConn{nc: nc, begin: time.Now(), holder: newHolder()}
	cl.ctx, cl.cancel = context.WithCancel(context.Background())
	srv.clients[cl] = struct{}{}
	srv.count(cl.stage, 1)
	go srv.serve(cl)
}

// admits tells whether handshakes may begin. srv.mu is held.
func (srv *Server) admits() bool { return srv.state == accepting || srv.state == resuming }

// stopped tells whether the listener takes no more clients.
func (srv *Server) stopped() bool { return isClosed(srv.done) }

// isClosed tells whether c is closed.
func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
