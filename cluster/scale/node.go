package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/gauge"
)

const (
	// atOnce is the number of operations that a process has under way.
	atOnce = 64
	// tooLong is the time after which an operation counts as hanging.
	tooLong = time.Minute
)

// node is the actor of a node with a listener for clients.
type node struct {
	nc      *nats.Conn
	n       *cluster.Node
	l       server.Listener
	stream  geminio.Stream // that a goroutine writes
	wrote   chan answer
	written atomic.Int64 // bytes
}

// newNode joins the cluster.
func newNode(s settings) (actor, ready, error) {
	nc, err := nats.Connect(s.URL, nats.MaxReconnects(-1))
	if err != nil {
		return nil, ready{}, err
	}
	x := &node{nc: nc}
	ctx, cancel := context.WithTimeout(context.Background(), tooLong)
	defer cancel()
	for { // JetStream needs the majority of the servers
		x.n, err = cluster.Join(ctx, nc, cluster.Options{Lease: s.Lease, Replicas: s.Replicas, DirectSize: s.Direct, Listen: "127.0.0.1:0"})
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil, ready{}, err
		}
		time.Sleep(50 * time.Millisecond)
	}
	if x.l, err = server.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, ready{}, err
	}
	attached := x.n.Listener(x.l)
	go func() {
		for {
			if _, err := attached.AcceptEnd(); err != nil {
				return
			}
		}
	}()
	return x, ready{ID: x.n.ID(), Addr: x.l.Addr().String()}, nil
}

// obey implements actor.
func (x *node) obey(o order) (a answer) {
	ctx := context.Background()
	group := func(id uint64) string { return fmt.Sprint("room-", id%o.Groups) }
	data := make([]byte, o.Size)
	random := rand.New(rand.NewPCG(o.Seed, 0))
	switch o.Do {
	case "usage":
		a.Usage = gauge.Take()
	case "traffic":
		a.Traffic = x.traffic()
	case "where":
		a.Where = make(tallies)
		for c := range x.n.Clients(ctx) {
			a.Where.add(c.Node, c.ID)
		}
	case "members": // of all groups
		for id := range o.Groups {
			a.Done += len(x.n.Members(group(id)))
		}
	case "join group":
		a = work(o.First, o.N, func(ctx context.Context, id uint64) error { return x.n.JoinGroup(ctx, id, group(id)) })
	case "leave group":
		a = work(o.First, o.N, func(ctx context.Context, id uint64) error { return x.n.LeaveGroup(ctx, id, group(id)) })
	case "call each":
		a = work(o.First, o.N, func(ctx context.Context, id uint64) error { return x.call(ctx, id, data) })
	case "call", "publish":
		ids := make([]uint64, o.N)
		for i := range ids {
			ids[i] = 1 + random.Uint64N(o.Clients)
		}
		f := x.call
		if o.Do == "publish" {
			f = func(ctx context.Context, id uint64, data []byte) error { return x.n.Publish(ctx, id, "t", data) }
		}
		a = work(0, o.N, func(ctx context.Context, i uint64) error { return f(ctx, ids[i], data) })
	case "broadcast":
		begin := time.Now()
		for range o.N {
			b, err := x.n.Broadcast(ctx, o.Group, "t", data)
			if err != nil {
				return answer{Error: err.Error()}
			}
			a.Done, a.Failed = a.Done+b.Reached, a.Failed+b.Failed
		}
		a.Took = time.Since(begin)
	case "write":
		a = x.write(o)
	case "progress":
		a.Bytes = x.written.Load()
	case "written":
		a = <-x.wrote
	case "shut down":
		begin := time.Now()
		ctx, cancel := context.WithTimeout(ctx, tooLong)
		defer cancel()
		err := x.n.Shutdown(ctx)
		if err = errors.Join(err, geminio.Shutdown(ctx, x.l)); err != nil {
			a.Error = err.Error()
		}
		a.Took = time.Since(begin)
	default:
		a.Error = "unknown"
	}
	return a
}

// traffic returns what this node has exchanged with NATS, and its use of processors.
func (x *node) traffic() traffic {
	s := x.nc.Stats()
	return traffic{s.InMsgs, s.OutMsgs, s.InBytes, s.OutBytes, gauge.Processor()}
}

// errWrong reports that a call has reached another client.
var errWrong = errors.New("another client has answered")

// call has a client say which one it is.
func (x *node) call(ctx context.Context, id uint64, data []byte) error {
	resp, err := x.n.Call(ctx, id, "who", data)
	if err == nil && (len(resp.Data) < 8 || binary.BigEndian.Uint64(resp.Data) != id) {
		err = errWrong
	}
	return err
}

// write opens a stream to a client, and begins to write bytes to it.
func (x *node) write(o order) (a answer) {
	ctx, cancel := context.WithTimeout(context.Background(), tooLong)
	defer cancel()
	var err error
	if x.stream, err = x.n.OpenStream(ctx, o.First); err != nil {
		return answer{Error: err.Error()}
	}
	x.wrote = make(chan answer, 1)
	go func() {
		sum := sha256.New()
		source := io.LimitReader(rand.NewChaCha8([32]byte{byte(o.Seed)}), o.Size)
		n, err := io.Copy(io.MultiWriter(x.stream, sum, (*counter)(&x.written)), source)
		err = errors.Join(err, geminio.CloseWrite(x.stream))
		a := answer{Bytes: n, Sum: sum.Sum(nil)}
		if err != nil {
			a.Error = err.Error()
		}
		back, err := io.Copy(io.Discard, x.stream) // the other direction continues
		if err != nil {
			a.Error = err.Error()
		}
		a.Done = int(back)
		x.wrote <- a
	}()
	return a
}

// counter counts the bytes that were written.
type counter atomic.Int64

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	(*atomic.Int64)(c).Add(int64(len(p)))
	return len(p), nil
}

// work does something for n numbers from first on, with atOnce of them under way, and counts the outcomes.
func work(first, n uint64, f func(ctx context.Context, i uint64) error) (a answer) {
	var mu sync.Mutex
	var times []time.Duration
	begin := time.Now()
	var all sync.WaitGroup
	next := make(chan uint64)
	for range atOnce {
		all.Go(func() {
			for i := range next {
				ctx, cancel := context.WithTimeout(context.Background(), tooLong)
				began := time.Now()
				err := f(ctx, i)
				cancel()
				mu.Lock()
				times = append(times, time.Since(began))
				switch {
				case err == errWrong:
					a.Wrong++
				case err != nil:
					if a.Failed++; a.Failed == 1 {
						a.First = err.Error()
					}
				default:
					a.Done++
				}
				mu.Unlock()
			}
		})
	}
	for i := range n {
		next <- first + i
	}
	close(next)
	all.Wait()
	a.Took = time.Since(begin)
	if slices.Sort(times); n > 0 {
		a.Half, a.Most = times[n/2], times[n*99/100]
	}
	return a
}
