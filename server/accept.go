package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/guard"
)

// accept accepts connections until the listener is closed or has failed. After a temporary
// error it pauses and tries again.
func (l *listener) accept() {
	const shortest, longest = 5 * time.Millisecond, time.Second
	why := errors.New("the listener's Accept ended its goroutine")
	defer func() { // also after runtime.Goexit
		l.stop(failed, keepEnds, why)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.acceptRuns = false
		l.changed.Broadcast()
	}()
	pause := shortest
	for {
		nc, temporary, err := l.acceptOne()
		switch {
		case err == nil:
			pause = shortest
			l.admit(nc)
			continue
		case !temporary:
			why = err
			return
		case isClosed(l.quit):
			why = net.ErrClosed
			return
		}
		l.log.Warn("Accept failed; the listener tries again", "err", err, "pause", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			pause = min(2*pause, longest)
		case <-l.quit:
			timer.Stop()
		}
	}
}

// acceptOne calls the underlying Accept, and tells whether its error is temporary.
func (l *listener) acceptOne() (nc net.Conn, temporary bool, err error) {
	guard.Run(l.log, "Accept of the listener", func() {
		if nc, err = l.nl.Accept(); err != nil {
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
func (l *listener) admit(nc net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.starting+len(l.ready) >= maxPending && l.admits() {
		l.changed.Wait()
	}
	if !l.admits() {
		go conn.Discard(nc)
		return
	}
	cl := &clientConn{nc: nc, holder: newHolder()}
	cl.ctx, cl.cancel = context.WithCancel(context.Background())
	l.clients[cl] = struct{}{}
	l.count(cl.stage, 1)
	go l.serve(cl)
}

// admits tells whether handshakes may begin. l.mu is held.
func (l *listener) admits() bool { return l.state == accepting || l.state == resuming }

// stopped tells whether the listener takes no more clients.
func (l *listener) stopped() bool { return isClosed(l.done) }

// isClosed tells whether c is closed.
func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
