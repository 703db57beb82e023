package main

import (
	"fmt"
	"io"
	"sync"
)

// session is the common part of libraries that multiplex streams.
type session struct {
	open   func() (io.ReadWriteCloser, error) // on the client's side
	accept func() (io.ReadWriteCloser, error) // on the server's side
	end    func() error                       // ends both sides
	// preface is set if the server learns of a stream only with its first byte.
	preface bool
	// settle, if not nil, is what the opener calls for a stream of one byte after the
	// server has closed its side.
	settle func(io.ReadWriteCloser) error
}

// streamLink is a link with streams and, on a stream for each caller, calls and
// messages.
type streamLink struct {
	session
	service *service

	opening  sync.Mutex // held from opening a stream until it is accepted
	start    sync.Once  // starts acceptAll; a link without streams does not run it
	accepted chan io.ReadWriteCloser
	stop     chan struct{} // closed by close
	ended    chan struct{} // closed when no more streams are accepted
	cause    error         // the cause; set before ended is closed
	closing  sync.Once
	err      error // the error of close
	serving  sync.WaitGroup
}

func newStreamLink(s session, svc *service) *streamLink {
	return &streamLink{
		session: s, service: svc,
		accepted: make(chan io.ReadWriteCloser), stop: make(chan struct{}), ended: make(chan struct{}),
	}
}

// listen starts the accepting of streams.
func (l *streamLink) listen() {
	l.start.Do(func() { l.serving.Go(l.acceptAll) })
}

// acceptAll passes accepted streams to their openers, or serves them if they are opened
// for a byte.
func (l *streamLink) acceptAll() {
	defer close(l.ended)
	for {
		s, err := l.accept()
		if err != nil {
			l.cause = err
			return
		}
		if l.service.closed != nil {
			l.serving.Go(func() { l.readByte(s) })
			continue
		}
		select {
		case l.accepted <- s:
		case <-l.stop:
			s.Close()
		}
	}
}

// readByte reads a stream of one byte to its end and closes it.
func (l *streamLink) readByte(s io.ReadWriteCloser) {
	var p [2]byte
	n, err := io.ReadFull(s, p[:])
	s.Close()
	if n == 1 && err == io.ErrUnexpectedEOF {
		l.service.closed(p[0])
	}
}

func (l *streamLink) open() (opener, accepted io.ReadWriteCloser, err error) {
	l.opening.Lock()
	defer l.opening.Unlock()
	l.listen()
	opener, err = l.session.open()
	if err != nil {
		return nil, nil, err
	}
	if l.preface {
		if _, err := opener.Write([]byte{0}); err != nil {
			return nil, nil, err
		}
	}
	select {
	case accepted = <-l.accepted:
	case <-l.ended:
		return nil, nil, fmt.Errorf("accept: %w", l.cause)
	}
	if l.preface {
		if _, err := io.ReadFull(accepted, make([]byte, 1)); err != nil {
			return nil, nil, err
		}
	}
	return opener, accepted, nil
}

func (l *streamLink) caller() (call, error) {
	opener, accepted, err := l.open()
	if err != nil {
		return nil, err
	}
	l.serving.Go(func() { serveFramedCalls(accepted, l.service.answer) })
	return framedCaller(opener), nil
}

func (l *streamLink) publisher() (publish, error) {
	opener, accepted, err := l.open()
	if err != nil {
		return nil, err
	}
	l.serving.Go(func() { serveFramedMessages(accepted, l.service.message) })
	return framedPublisher(opener), nil
}

func (l *streamLink) touch(b byte) (func() error, error) {
	l.listen()
	s, err := l.session.open()
	if err != nil {
		return nil, err
	}
	if _, err := s.Write([]byte{b}); err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	if l.settle == nil {
		return nil, nil
	}
	return func() error { return l.settle(s) }, nil
}

func (l *streamLink) close() error {
	l.closing.Do(func() {
		close(l.stop)
		l.err = l.end()
	})
	l.serving.Wait()
	return l.err
}
