package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
)

func minimalCallsPeer() *peer {
	return &peer{
		name: minimalCallsName, role: reference,
		setup: "written for the comparison, over TCP: what calls cannot do without, which is a table of those who wait, a copy of what has come for its receiver to keep, and a goroutine for a handler, used again; the first to write takes along what others add; no streams, credit, contexts, limits",
		start: func(svc *service) (server, error) {
			return startTCP(func(c, s net.Conn) (link, error) { return joinMinimalCalls(c, s, svc), nil })
		},
	}
}

// A frame of minimal calls is a length, the number of the call, and the bytes. The top
// bit of the number tells a message from a request.
const (
	minimalCallsHead    = 12
	minimalCallsMessage = 1 << 63
	minimalCallsBuffer  = 64 << 10
)

// minimalCallsSide is what both sides have: a connection and what is to be written.
type minimalCallsSide struct {
	nc net.Conn

	mu         sync.Mutex
	out, spare []byte
	writing    bool
}

// write appends a frame and writes all that there is, unless somebody does already. With
// gather set others may add to it first. mu is held, and released.
func (s *minimalCallsSide) write(id uint64, data []byte, gather bool) {
	defer s.mu.Unlock()
	s.out = binary.BigEndian.AppendUint32(s.out, uint32(len(data)))
	s.out = binary.BigEndian.AppendUint64(s.out, id)
	s.out = append(s.out, data...)
	if s.writing {
		return
	}
	s.writing = true
	for ; len(s.out) > 0; gather = true {
		if gather {
			s.mu.Unlock()
			runtime.Gosched()
			s.mu.Lock()
		}
		s.spare, s.out = s.out, s.spare[:0]
		b := s.spare
		s.mu.Unlock()
		s.nc.Write(b) // an error ends the reading too
		s.mu.Lock()
	}
	s.writing = false
}

// read gives take each frame, with bytes of its own, until the connection ends.
func (s *minimalCallsSide) read(take func(id uint64, data []byte)) {
	r := bufio.NewReaderSize(s.nc, minimalCallsBuffer)
	for {
		head, err := r.Peek(minimalCallsHead)
		if err != nil {
			return
		}
		data, id := make([]byte, binary.BigEndian.Uint32(head)), binary.BigEndian.Uint64(head[4:])
		r.Discard(minimalCallsHead)
		if _, err := io.ReadFull(r, data); err != nil {
			return
		}
		take(id, data)
	}
}

// minimalCaller is the client's side. mu guards what follows.
type minimalCaller struct {
	minimalCallsSide

	last    uint64
	pending map[uint64]*minimalPending
	free    []*minimalPending
	closed  bool
}

type minimalPending struct {
	answer []byte
	done   chan bool // true for an answer, false when the connection has ended
}

func (c *minimalCaller) call(kind uint64, request []byte) ([]byte, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, net.ErrClosed
	}
	var p *minimalPending
	if n := len(c.free); n > 0 {
		p, c.free = c.free[n-1], c.free[:n-1]
	} else {
		p = &minimalPending{done: make(chan bool, 1)}
	}
	c.last++
	id := c.last | kind
	c.pending[id] = p
	c.write(id, request, len(c.pending) > 1)
	if !<-p.done {
		return nil, net.ErrClosed
	}
	answer := p.answer
	c.mu.Lock()
	c.free = append(c.free, p)
	c.mu.Unlock()
	return answer, nil
}

func (c *minimalCaller) take(id uint64, data []byte) {
	c.mu.Lock()
	p := c.pending[id]
	delete(c.pending, id)
	c.mu.Unlock()
	p.answer = data
	p.done <- true
}

// end lets go who waits when the connection has ended.
func (c *minimalCaller) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, p := range c.pending {
		p.done <- false
	}
}

// minimalCallee is the server's side. mu guards what follows.
type minimalCallee struct {
	minimalCallsSide
	service *service

	idle    []chan minimalRequest // of handlers' goroutines
	serving int
	closed  bool
}

type minimalRequest struct {
	id   uint64
	data []byte
}

func (c *minimalCallee) take(id uint64, data []byte) {
	c.mu.Lock()
	c.serving++
	var next chan minimalRequest
	if n := len(c.idle); n > 0 {
		next, c.idle = c.idle[n-1], c.idle[:n-1]
	}
	c.mu.Unlock()
	if next == nil {
		next = make(chan minimalRequest, 1)
		go c.work(next)
	}
	next <- minimalRequest{id, data}
}

// work is a handlers' goroutine.
func (c *minimalCallee) work(next chan minimalRequest) {
	for r := range next {
		var answer []byte
		if r.id&minimalCallsMessage != 0 {
			c.service.message(r.data)
		} else {
			answer = c.service.answer(r.data)
		}
		c.mu.Lock()
		others := c.serving > 1
		c.serving--
		c.write(r.id, answer, others)
		c.mu.Lock()
		if c.closed {
			close(next)
		}
		c.idle = append(c.idle, next)
		c.mu.Unlock()
	}
}

// end lets the idle go.
func (c *minimalCallee) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, next := range c.idle {
		close(next)
	}
}

// minimalCallsLink has both sides.
type minimalCallsLink struct {
	client  *minimalCaller
	server  *minimalCallee
	reading sync.WaitGroup
}

func joinMinimalCalls(c, s net.Conn, svc *service) *minimalCallsLink {
	l := &minimalCallsLink{
		client: &minimalCaller{minimalCallsSide: minimalCallsSide{nc: c}, pending: map[uint64]*minimalPending{}},
		server: &minimalCallee{minimalCallsSide: minimalCallsSide{nc: s}, service: svc},
	}
	l.reading.Go(func() {
		l.client.read(l.client.take)
		l.client.end()
	})
	l.reading.Go(func() {
		l.server.read(l.server.take)
		l.server.end()
	})
	return l
}

func (l *minimalCallsLink) close() error {
	err := errors.Join(l.client.nc.Close(), l.server.nc.Close())
	l.reading.Wait()
	return err
}

func (l *minimalCallsLink) caller() (call, error) {
	return func(request []byte) ([]byte, error) { return l.client.call(0, request) }, nil
}

func (l *minimalCallsLink) publisher() (publish, error) {
	return func(data []byte) error {
		_, err := l.client.call(minimalCallsMessage, data)
		return err
	}, nil
}
