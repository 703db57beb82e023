package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
)

// work is a server with busy clients. Its counters may be read at any time.
type work struct {
	l    server.Listener
	ends []*client.RetryEnd
	wg   sync.WaitGroup
	stop chan struct{}

	mu    sync.Mutex
	conns map[net.Conn]struct{}

	calls, messages, streams, bytes, cuts atomic.Int64
	wrong                                 atomic.Pointer[error]
}

// newWork makes a work with clients of this library and old clients, which speak wire 1.
func newWork(clients, old int) (*work, error) {
	w := &work{stop: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	var err error
	opt := server.NewEndOptions()
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: echo})
	if w.l, err = server.Listen("tcp", "127.0.0.1:0", opt); err != nil {
		return nil, err
	}
	w.wg.Go(w.serve)
	for range clients {
		opt := client.NewEndOptions()
		opt.SetRetryBackoff(time.Millisecond, 50*time.Millisecond)
		opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: echo})
		end, err := client.NewRetryEndWithDialer(w.dial, opt)
		if err != nil {
			return nil, err
		}
		r := end.(*client.RetryEnd)
		w.ends = append(w.ends, r)
		for _, do := range []func(*client.RetryEnd) error{w.call, w.call, w.publish, w.publishAsync, w.stream, w.stream, w.slow} {
			w.wg.Go(func() { w.repeat(r, do) })
		}
	}
	for range old {
		w.wg.Go(w.workOld)
	}
	w.wg.Go(w.cut)
	return w, nil
}

// dial is a client.Dialer. cut breaks its connections.
func (w *work) dial() (net.Conn, error) {
	nc, err := net.Dial("tcp", w.l.Addr().String())
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[nc] = struct{}{}
	return &noted{nc, w}, nil
}

// noted is a connection that is registered with work as long as it is open.
type noted struct {
	net.Conn
	w *work
}

func (c *noted) Close() error {
	c.w.mu.Lock()
	delete(c.w.conns, c.Conn)
	c.w.mu.Unlock()
	return c.Conn.Close()
}

// cut breaks a connection now and then.
func (w *work) cut() {
	for {
		select {
		case <-w.stop:
			return
		case <-time.After(rand.N(400 * time.Millisecond)):
		}
		w.mu.Lock()
		for nc := range w.conns {
			nc.Close()
			w.cuts.Add(1)
			break
		}
		w.mu.Unlock()
	}
}

// serve answers everything.
func (w *work) serve() {
	for {
		end, err := w.l.AcceptEnd()
		if err != nil {
			return
		}
		w.wg.Go(func() {
			for {
				m, err := end.Receive(context.Background())
				if err != nil {
					return
				}
				m.Done()
			}
		})
		w.wg.Go(func() {
			for {
				s, err := end.AcceptStream()
				if err != nil {
					return
				}
				w.wg.Go(func() {
					io.Copy(s, s)
					s.Close()
				})
			}
		})
		w.wg.Go(func() { // the server calls the client
			for {
				_, err := end.Call(context.Background(), "echo", end.NewRequest([]byte("from the server")))
				if err != nil && !errors.Is(err, geminio.ErrNotExecuted) {
					return
				}
				select {
				case <-w.stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
		})
	}
}

func echo(_ context.Context, req geminio.Request, resp geminio.Response) { resp.SetData(req.Data()) }

// repeat repeats an operation until the end. It collects unexpected errors.
func (w *work) repeat(end *client.RetryEnd, do func(*client.RetryEnd) error) {
	for {
		select {
		case <-w.stop:
			return
		default:
		}
		err := do(end)
		select {
		case <-w.stop:
			return // an operation under way may fail at the end
		default:
		}
		if err != nil && !errors.Is(err, geminio.ErrMaybeExecuted) && !errors.Is(err, geminio.ErrConnectionLost) &&
			!errors.Is(err, geminio.ErrNotExecuted) && err != io.EOF {
			w.wrong.CompareAndSwap(nil, &err)
		}
	}
}

// payload returns data of a random size, mostly a small one.
func payload() []byte {
	n := rand.IntN(300)
	if rand.IntN(50) == 0 {
		n = rand.IntN(100_000)
	}
	return bytes.Repeat([]byte{byte(n)}, n)
}

func (w *work) call(end *client.RetryEnd) error {
	opt := options.Call()
	opt.SetIdempotent(true)
	data := payload()
	resp, err := end.Call(context.Background(), "echo", end.NewRequest(data), opt)
	if err == nil && !bytes.Equal(resp.Data(), data) {
		err = fmt.Errorf("a call of %d bytes was answered with %d others", len(data), len(resp.Data()))
	}
	w.calls.Add(1)
	return err
}

func (w *work) publish(end *client.RetryEnd) error {
	w.messages.Add(1)
	return end.Publish(context.Background(), end.NewMessage(payload()))
}

func (w *work) publishAsync(end *client.RetryEnd) error {
	const batch = 64
	done := make(chan *geminio.Publish, batch)
	n := 0
	for range batch {
		if _, err := end.PublishAsync(context.Background(), end.NewMessage(payload()), done); err != nil {
			break
		}
		n++
	}
	var first error
	for range n {
		if p := <-done; p.Error != nil && first == nil {
			first = p.Error
		}
	}
	w.messages.Add(int64(n))
	return first
}

// stream moves bytes in both directions.
func (w *work) stream(end *client.RetryEnd) error { return w.exchange(end, 0) }

// slow does the same with a slow reader.
func (w *work) slow(end *client.RetryEnd) error { return w.exchange(end, time.Millisecond) }

func (w *work) exchange(end *client.RetryEnd, pause time.Duration) error {
	s, err := end.OpenStream()
	if err != nil {
		return err
	}
	defer s.Close()
	w.streams.Add(1)
	data := bytes.Repeat(payload(), 1+rand.IntN(10))
	wrote := make(chan error, 1)
	go func() {
		_, err := s.Write(data)
		if err == nil {
			err = geminio.CloseWrite(s)
		}
		wrote <- err
	}()
	buf, n := make([]byte, 4096), 0
	for err == nil {
		var k int
		k, err = s.Read(buf)
		if !bytes.Equal(buf[:k], data[n:min(n+k, len(data))]) {
			err = fmt.Errorf("other bytes came back at %d", n)
		}
		n += k
		time.Sleep(pause)
	}
	w.bytes.Add(int64(n))
	s.Close()
	werr := <-wrote
	if err == io.EOF && werr == nil && n != len(data) {
		return fmt.Errorf("%d of %d bytes came back, and no error", n, len(data))
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// close ends all work, and returns the collected errors.
func (w *work) close() error {
	close(w.stop)
	for _, end := range w.ends {
		end.Close()
	}
	geminio.Shutdown(context.Background(), w.l)
	w.wg.Wait()
	if err := w.wrong.Load(); err != nil {
		return *err
	}
	return nil
}
