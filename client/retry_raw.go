package client

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/singchia/geminio/application"
)

// rawSide is one direction of the raw bytes of a RetryEnd. RetryEnd.mu guards it.
type rawSide struct {
	cursor
	moved    bool          // bytes were moved over the connection at the cursor
	closed   bool          // CloseRead or CloseWrite was called
	deadline time.Time     // of Read or Write; zero: none
	changed  chan struct{} // closed, and made anew, when deadline or closed is set
}

// Read reads bytes over one connection after the other. If a connection is lost after bytes
// were read over it, Read returns the bytes that have arrived, and then an error once: io.EOF
// if the server has closed the connection, and otherwise an error that matches
// geminio.ErrConnectionLost. Then Read continues with the next connection. After Close it
// returns io.EOF.
func (r *RetryEnd) Read(p []byte) (int, error) {
	for {
		l, err := r.rawLink(&r.reading)
		if err != nil {
			return 0, err
		}
		n, err := l.e.Read(p)
		if next, err := r.afterMove(&r.reading, l, n, err); !next {
			return n, err
		}
	}
}

// Write sends p over the connection. If there is none, Write waits for one, within the deadline,
// and without a deadline for at most the time of SetConnectWait. As long as the session of the
// lost connection can be resumed, Write waits for that, within the deadline. If a connection is lost after
// bytes were written over it, some of the bytes may not have arrived. Write then returns, once, an
// error that matches geminio.ErrConnectionLost, and continues with the next connection. After Close
// it returns net.ErrClosed.
func (r *RetryEnd) Write(p []byte) (int, error) {
	for {
		l, err := r.rawLink(&r.writing)
		if err == io.EOF {
			err = net.ErrClosed
		}
		if err != nil {
			return 0, err
		}
		n, err := l.e.Write(p)
		if next, err := r.afterMove(&r.writing, l, n, err); !next {
			return n, err
		}
	}
}

// rawLink returns the connection of a direction, and waits for one if there is none. The
// deadline bounds the wait. Without one, SetConnectWait bounds the wait of Write.
func (r *RetryEnd) rawLink(s *rawSide) (*link, error) {
	var start time.Time // of the wait
	for {
		r.mu.Lock()
		l, connChanged, deadline, changed, shut := s.at, r.connChanged, s.deadline, s.changed, s.closed
		r.mu.Unlock()
		if shut || l == nil && r.ended() { // also after the deadline
			return nil, io.EOF
		}
		if l != nil {
			return l, nil
		}
		if start.IsZero() {
			start = time.Now()
		}
		left := noLimit
		if !deadline.IsZero() {
			left = time.Until(deadline)
		} else if s == &r.writing {
			var err error
			if left, err = r.connectWaitLeft(start); err != nil {
				return nil, err
			}
		}
		if left <= 0 {
			return nil, os.ErrDeadlineExceeded
		}
		timer := time.NewTimer(left)
		select {
		case <-connChanged:
		case <-changed:
		case <-timer.C:
		case <-r.done:
		}
		timer.Stop()
	}
}

// afterMove takes the outcome of a Read or Write on l. It tells whether the call continues
// with the next connection, and if not, which error the call returns.
func (r *RetryEnd) afterMove(s *rawSide, l *link, n int, err error) (next bool, _ error) {
	lost := err != nil && l.ending() && !errors.Is(err, os.ErrDeadlineExceeded)
	r.mu.Lock()
	here := s.at == l
	if here && n > 0 {
		s.moved = true
	}
	used := here && s.moved
	if here && lost {
		s.moved = false
	}
	r.mu.Unlock()
	if !lost {
		return false, err
	}
	r.advance(&s.cursor, l)
	return !used && n == 0, err
}

// CloseWrite ends the raw bytes of this side, over this connection and all that follow: the
// server reads the written bytes and then io.EOF. Write returns net.ErrClosed from now on.
// Calls, messages and streams continue. After Close, CloseWrite returns net.ErrClosed.
func (r *RetryEnd) CloseWrite() error { return r.closeSide(&r.writing, (*application.End).CloseWrite) }

// CloseRead discards the raw bytes that have arrived and asks the server to send no more, over
// this connection and all that follow: Write of the server returns a *geminio.StreamError. Read
// returns io.EOF from now on. After Close, CloseRead returns net.ErrClosed.
func (r *RetryEnd) CloseRead() error { return r.closeSide(&r.reading, (*application.End).CloseRead) }

// closeSide ends a direction of the raw bytes, by calling half on the connections.
func (r *RetryEnd) closeSide(s *rawSide, half func(*application.End) error) error {
	if r.ended() {
		return net.ErrClosed
	}
	r.mu.Lock()
	s.closed = true
	close(s.changed)
	s.changed = make(chan struct{})
	at, cur := s.at, r.last.Load()
	r.mu.Unlock()
	for _, l := range []*link{at, cur} {
		if l != nil {
			half(l.e) // an error says that l has ended
		}
	}
	return nil
}

// SetDeadline sets both deadlines.
func (r *RetryEnd) SetDeadline(t time.Time) error {
	r.SetReadDeadline(t)
	return r.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline of Read, over this connection and all that follow, also
// of a Read that waits already. A zero t removes it.
func (r *RetryEnd) SetReadDeadline(t time.Time) error {
	return r.setDeadline(&r.reading, t, func(l *link) { l.e.SetReadDeadline(t) })
}

// SetWriteDeadline sets the deadline of Write, over this connection and all that follow,
// also of a Write that waits already. A zero t removes it.
func (r *RetryEnd) SetWriteDeadline(t time.Time) error {
	return r.setDeadline(&r.writing, t, func(l *link) { l.e.SetWriteDeadline(t) })
}

func (r *RetryEnd) setDeadline(s *rawSide, t time.Time, set func(*link)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.deadline = t
	close(s.changed)
	s.changed = make(chan struct{})
	if l := r.last.Load(); l != nil {
		set(l)
	}
	if l := s.at; l != nil && l != r.last.Load() {
		set(l)
	}
	return nil
}
