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

func minimalPeer() *peer {
	return &peer{
		name: minimalName, role: reference,
		setup: "written for the comparison, over TCP: one writer collects the requests of all callers into one system call, the reader answers them inline; no contexts, no goroutine for a call",
		start: func(svc *service) (server, error) {
			return startTCP(svc, func(c, s net.Conn) (link, error) { return joinMinimal(c, s, svc), nil })
		},
	}
}

// A frame of the minimal echo is a length, the number of the caller, and the bytes. The
// top bit of the number distinguishes a message from a request.
const (
	minimalHead    = 8
	minimalMessage = 1 << 31
	minimalBuffer  = 256 << 10
)

func appendMinimal(b []byte, id uint32, data []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	b = binary.BigEndian.AppendUint32(b, id)
	return append(b, data...)
}

// minimalLink has a slot for each caller. A caller fills the common buffer and
// waits at its slot.
type minimalLink struct {
	client, server net.Conn
	service        *service
	wake           chan struct{} // has an element when there are frames to write
	running        sync.WaitGroup

	mu     sync.Mutex
	out    []byte
	slots  []*minimalSlot
	closed bool
}

type minimalSlot struct {
	answer []byte
	done   chan bool // true for an answer, closed when the connection has ended
}

func joinMinimal(c, s net.Conn, svc *service) *minimalLink {
	l := &minimalLink{client: c, server: s, service: svc, wake: make(chan struct{}, 1)}
	l.running.Go(l.write)
	l.running.Go(l.read)
	l.running.Go(l.serve)
	return l
}

func (l *minimalLink) close() error {
	err := errors.Join(l.client.Close(), l.server.Close())
	l.running.Wait()
	return err
}

// write sends all collected frames with one system call. It first yields to goroutines
// that are about to add frames.
func (l *minimalLink) write() {
	var spare []byte
	for range l.wake {
		runtime.Gosched()
		l.mu.Lock()
		spare, l.out = l.out, spare[:0]
		l.mu.Unlock()
		if _, err := l.client.Write(spare); err != nil {
			return
		}
	}
}

// read passes the answers to the callers.
func (l *minimalLink) read() {
	defer l.release()
	r := bufio.NewReaderSize(l.client, minimalBuffer)
	for {
		n, id, err := readMinimalHead(r)
		if err != nil {
			return
		}
		l.mu.Lock()
		slot := l.slots[id&^minimalMessage]
		l.mu.Unlock()
		if cap(slot.answer) < n {
			slot.answer = make([]byte, n)
		}
		slot.answer = slot.answer[:n]
		if _, err := io.ReadFull(r, slot.answer); err != nil {
			return
		}
		slot.done <- true
	}
}

// release releases the waiting callers after the end of the connection.
func (l *minimalLink) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	close(l.wake)
	for _, slot := range l.slots {
		close(slot.done)
	}
}

// serve answers requests, and writes when no more bytes are available.
func (l *minimalLink) serve() {
	r := bufio.NewReaderSize(l.server, minimalBuffer)
	var request, out []byte
	for {
		n, id, err := readMinimalHead(r)
		if err != nil {
			return
		}
		if cap(request) < n {
			request = make([]byte, n)
		}
		request = request[:n]
		if _, err := io.ReadFull(r, request); err != nil {
			return
		}
		if id&minimalMessage != 0 {
			l.service.message(request)
			out = appendMinimal(out, id, nil)
		} else {
			out = appendMinimal(out, id, l.service.answer(request))
		}
		if r.Buffered() < minimalHead {
			if _, err := l.server.Write(out); err != nil {
				return
			}
			out = out[:0]
		}
	}
}

func readMinimalHead(r *bufio.Reader) (n int, id uint32, err error) {
	head, err := r.Peek(minimalHead)
	if err != nil {
		return 0, 0, err
	}
	n, id = int(binary.BigEndian.Uint32(head)), binary.BigEndian.Uint32(head[4:])
	r.Discard(minimalHead)
	return n, id, nil
}

// ask makes a call of a new slot; kind is a bit of the frame's number.
func (l *minimalLink) ask(kind uint32) call {
	slot := &minimalSlot{done: make(chan bool, 1)}
	l.mu.Lock()
	id := uint32(len(l.slots)) | kind
	l.slots = append(l.slots, slot)
	l.mu.Unlock()
	return func(request []byte) ([]byte, error) {
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return nil, net.ErrClosed
		}
		l.out = appendMinimal(l.out, id, request)
		select {
		case l.wake <- struct{}{}:
		default:
		}
		l.mu.Unlock()
		if !<-slot.done {
			return nil, net.ErrClosed
		}
		return slot.answer, nil
	}
}

func (l *minimalLink) caller() (call, error) { return l.ask(0), nil }

func (l *minimalLink) publisher() (publish, error) { return asPublish(l.ask(minimalMessage)), nil }

// asPublish makes a publish from a call, whose answer it ignores.
func asPublish(ask call) publish {
	return func(data []byte) error {
		_, err := ask(data)
		return err
	}
}
