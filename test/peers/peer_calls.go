package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
)

func minimalCallsPeer() *peer {
	return &peer{
		name: minimalCallsName, role: reference,
		setup: "written for the comparison, over TCP: the minimum for calls, which is a table of waiting callers, a copy of the received bytes for the receiver, and a reused goroutine for each handler; one writer sends the frames of others with its own; no streams, credit, contexts, limits",
		start: func(svc *service) (server, error) {
			return startTCP(svc, func(c, s net.Conn) (link, error) { return joinMinimalCalls(c, s, svc), nil })
		},
	}
}

// minimalCallsBuffer is the size of the read buffer. The frames are those of the minimal
// echo, with the number of the call in place of that of the caller.
const minimalCallsBuffer = 64 << 10

// minimalCallsSide is the common part of both sides: a connection and the bytes to be
// written.
type minimalCallsSide struct {
	nc net.Conn

	mu         sync.Mutex
	out, spare []byte
	writing    bool
}

// write appends a frame and writes all frames, unless another goroutine writes. With
// gather set other goroutines may first add frames. The caller holds mu, and write
// releases it.
func (s *minimalCallsSide) write(id uint32, data []byte, gather bool) {
	defer s.mu.Unlock()
	s.out = appendMinimal(s.out, id, data)
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
		s.nc.Write(b) // an error also ends read
		s.mu.Lock()
	}
	s.writing = false
}

// read calls take for each frame, with newly allocated bytes, until the connection ends.
func (s *minimalCallsSide) read(take func(id uint32, data []byte)) {
	r := bufio.NewReaderSize(s.nc, minimalCallsBuffer)
	for {
		n, id, err := readMinimalHead(r)
		if err != nil {
			return
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(r, data); err != nil {
			return
		}
		take(id, data)
	}
}

// minimalCaller is the client's side. mu guards the fields below it.
type minimalCaller struct {
	minimalCallsSide

	last    uint32
	pending map[uint32]*minimalPending
	free    []*minimalPending
	closed  bool
}

type minimalPending struct {
	answer []byte
	done   chan bool // true for an answer, false when the connection has ended
}

func (c *minimalCaller) call(kind uint32, request []byte) ([]byte, error) {
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
	id := c.last&^minimalMessage | kind
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

func (c *minimalCaller) take(id uint32, data []byte) {
	c.mu.Lock()
	p := c.pending[id]
	delete(c.pending, id)
	c.mu.Unlock()
	p.answer = data
	p.done <- true
}

// end releases the waiting callers after the end of the connection.
func (c *minimalCaller) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, p := range c.pending {
		p.done <- false
	}
}

// minimalCallee is the server's side. mu guards the fields below it.
type minimalCallee struct {
	minimalCallsSide
	service *service

	idle    []chan minimalRequest // idle goroutines of handlers
	serving int
	closed  bool
}

type minimalRequest struct {
	id   uint32
	data []byte
}

func (c *minimalCallee) take(id uint32, data []byte) {
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

// work is the main function of a handler's goroutine.
func (c *minimalCallee) work(next chan minimalRequest) {
	for r := range next {
		var answer []byte
		if r.id&minimalMessage != 0 {
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

// end ends the idle goroutines.
func (c *minimalCallee) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, next := range c.idle {
		close(next)
	}
}

// minimalCallsLink is a connection with both sides.
type minimalCallsLink struct {
	client  *minimalCaller
	server  *minimalCallee
	reading sync.WaitGroup
}

func joinMinimalCalls(c, s net.Conn, svc *service) *minimalCallsLink {
	l := &minimalCallsLink{
		client: &minimalCaller{minimalCallsSide: minimalCallsSide{nc: c}, pending: map[uint32]*minimalPending{}},
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

// ask makes a call; kind is a bit of the frame's number.
func (l *minimalCallsLink) ask(kind uint32) call {
	return func(request []byte) ([]byte, error) { return l.client.call(kind, request) }
}

func (l *minimalCallsLink) caller() (call, error) { return l.ask(0), nil }

func (l *minimalCallsLink) publisher() (publish, error) { return asPublish(l.ask(minimalMessage)), nil }
