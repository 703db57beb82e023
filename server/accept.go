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

// accept accepts connections until the listener is closed, or has failed. An error that
// passes makes it wait a little.
func (l *listener) accept() {
	const shortest, longest = 5 * time.Millisecond, time.Second
	why := errors.New("the listener's Accept ended its goroutine")
	defer func() { // also where it has
		l.stop(failed, served, why)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.listens = false
		l.changed.Broadcast()
	}()
	pause := shortest
	for {
		nc, again, err := l.acceptOne()
		switch {
		case err == nil:
			pause = shortest
			l.admit(nc)
			continue
		case !again:
			why = err
			return
		case l.stopped():
			why = net.ErrClosed
			return
		}
		l.log.Warn("Accept failed; the listener tries again", "err", err, "pause", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			pause = min(2*pause, longest)
		case <-l.done:
			timer.Stop()
		}
	}
}

// acceptOne calls the underlying Accept, and tells whether its error passes.
func (l *listener) acceptOne() (nc net.Conn, again bool, err error) {
	guard.Run(l.log, "Accept of the listener", func() {
		if nc, err = l.nl.Accept(); err != nil {
			again = passes(err)
		} else if err = conn.Check(nc); err != nil {
			again, err = true, fmt.Errorf("Accept returned no error, but %w", err)
		}
	}, func(failed error) {
		if failed != nil {
			again, err = false, failed
		}
	})
	return nc, again, err
}

// passes tells whether an error of Accept is likely to pass: a time-out, an error that
// says so itself, or one of the network or of the system that concerns one connection or
// a want of memory or file descriptors.
func passes(err error) bool {
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
	return slices.ContainsFunc(passing, func(e error) bool { return errors.Is(err, e) })
}

// admit waits until one more client may come in, and lets it. It closes nc if nobody is
// let in any more.
func (l *listener) admit(nc net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.coming+len(l.ready) >= maxPending && l.state == accepting {
		l.changed.Wait()
	}
	if l.state != accepting {
		go conn.Discard(nc)
		return
	}
	g := &guest{nc: nc, holder: newHolder()}
	g.stop, g.cut = context.WithCancel(context.Background())
	l.guests[g] = struct{}{}
	l.count(g.stage, 1)
	go l.welcome(g)
}

// stopped tells whether nobody is let in any more.
func (l *listener) stopped() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}
