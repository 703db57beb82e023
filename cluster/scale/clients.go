package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/test/gauge"
)

// The backoff of clients that reconnect.
const minBackoff, maxBackoff = 10 * time.Millisecond, time.Second

// clients is the actor of all clients, which reconnect to any of the nodes.
type clients struct {
	addresses atomic.Pointer[[]string]
	received  atomic.Int64 // messages
	stream    geminio.Stream
	sum       hash.Hash // of the bytes of the stream

	mu   sync.Mutex
	ends map[uint64]*member
}

// member is a client.
type member struct {
	end  geminio.End
	addr atomic.Pointer[string] // where it has connected last
}

// newClients returns an actor without clients.
func newClients(settings) (actor, ready, error) {
	return &clients{ends: make(map[uint64]*member)}, ready{}, nil
}

// obey implements actor.
func (x *clients) obey(o order) (a answer) {
	switch o.Do {
	case "usage":
		a.Usage = gauge.Take()
	case "addresses":
		x.addresses.Store(&o.Addresses)
	case "connect":
		a = work(o.First, o.N, func(_ context.Context, id uint64) error { return x.connect(id) })
	case "close":
		a = work(o.First, o.N, func(_ context.Context, id uint64) error {
			x.mu.Lock()
			m := x.ends[id]
			delete(x.ends, id)
			x.mu.Unlock()
			return m.end.Close()
		})
	case "where":
		a.Where = make(tallies)
		x.mu.Lock()
		for id, m := range x.ends {
			a.Where.add(*m.addr.Load(), id)
		}
		x.mu.Unlock()
	case "received":
		a.Done = int(x.received.Load())
	case "locate":
		x.mu.Lock()
		a.First = *x.ends[o.First].addr.Load()
		x.mu.Unlock()
	case "accept":
		a = x.accept(o)
	case "read":
		a = x.read(o)
	default:
		a.Error = "unknown"
	}
	return a
}

// connect connects a client.
func (x *clients) connect(id uint64) error {
	m := &member{}
	opt := client.NewEndOptions()
	opt.SetClientID(id)
	opt.SetRetryBackoff(minBackoff, maxBackoff)
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "who", RPC: func(_ context.Context, _ geminio.Request, resp geminio.Response) {
		resp.SetData(binary.BigEndian.AppendUint64(nil, id))
	}})
	end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) {
		all := *x.addresses.Load()
		addr := all[rand.IntN(len(all))]
		conn, err := net.DialTimeout("tcp", addr, tooLong)
		if err == nil {
			m.addr.Store(&addr)
		}
		return conn, err
	}, opt)
	if err != nil {
		return err
	}
	m.end = end
	x.mu.Lock()
	x.ends[id] = m
	x.mu.Unlock()
	go func() {
		for {
			msg, err := end.Receive(context.Background())
			if err != nil {
				return
			}
			x.received.Add(1)
			msg.Done()
		}
	}()
	return nil
}

// accept accepts a stream and reads some bytes, so that its windows grow.
func (x *clients) accept(o order) answer {
	x.mu.Lock()
	m := x.ends[o.First]
	x.mu.Unlock()
	var err error
	if x.stream, err = m.end.AcceptStream(); err == nil {
		x.sum = sha256.New()
		_, err = io.CopyN(x.sum, x.stream, o.Size)
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Bytes: o.Size}
}

// read reads the rest of the stream, and then writes to its other direction.
func (x *clients) read(o order) answer {
	n, err := io.Copy(x.sum, x.stream)
	_, err2 := x.stream.Write(make([]byte, o.N))
	a := answer{Bytes: n, Sum: x.sum.Sum(nil)}
	if err := errors.Join(err, err2, x.stream.Close()); err != nil {
		a.Error = err.Error()
	}
	return a
}
