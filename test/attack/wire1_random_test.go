package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/internal/wire1"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/oldpeer"
)

// wilfulPeer is a peer of wire 1 that answers and sends packets as it likes, with ids that
// were used before.
type wilfulPeer struct {
	nc     net.Conn
	client bool

	mu       sync.Mutex
	r        *rand.Rand
	ids      []uint64 // of packets that were seen or sent
	sessions []uint64
	queue    []byte
	wake     *sync.Cond // with mu: signals the queue
	over     bool
	reads    int           // the number of packets after which it reads nothing more
	done     chan struct{} // closed when over is set
}

// shake performs the handshake.
func (w *wilfulPeer) shake() error {
	if w.client {
		if _, err := w.nc.Write(oldHello()); err != nil {
			return err
		}
		_, err := oldpeer.Read(w.nc)
		return err
	}
	p, err := oldpeer.Read(w.nc)
	if err != nil {
		return err
	}
	_, err = w.nc.Write(wire1.Append(nil, wire1.Packet{Type: wire1.TypeConnAck, ID: p.ID, Client: 7}))
	return err
}

// run reads and writes until the connection ends.
func (w *wilfulPeer) run() {
	var wg sync.WaitGroup
	wg.Go(func() {
		for range w.reads {
			p, err := oldpeer.Read(w.nc)
			if err != nil {
				w.end()
				return
			}
			w.answer(p)
		}
		<-w.done
	})
	wg.Go(func() {
		for {
			w.mu.Lock()
			for len(w.queue) == 0 && !w.over {
				w.wake.Wait()
			}
			b := w.queue
			w.queue = nil
			w.mu.Unlock()
			if len(b) == 0 {
				return
			}
			if _, err := w.nc.Write(b); err != nil {
				w.end()
				return
			}
		}
	})
	wg.Wait()
}

func (w *wilfulPeer) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.over = true
		close(w.done)
	}
	w.wake.Broadcast()
	w.nc.Close()
}

// answer answers a packet: rightly, or with another type, id or session, or several times, or
// not at all.
func (w *wilfulPeer) answer(p wire1.Packet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids = append(w.ids, p.ID)
	for _, id := range []uint64{p.Session, p.Negotiate} {
		if id != 0 {
			w.sessions = append(w.sessions, id)
		}
	}
	a := wire1.Packet{Type: p.Type + 1, ID: p.ID, Session: p.Session, Negotiate: p.Negotiate}
	switch p.Type {
	case wire1.TypeSession:
		if !w.client {
			a.Session = p.ID + 1
			w.sessions = append(w.sessions, a.Session)
		} else {
			a.Session = p.Negotiate
		}
	case wire1.TypeRequest, wire1.TypeMessage, wire1.TypeRegister, wire1.TypeDismiss, wire1.TypeDisConn, wire1.TypeHeartbeat:
	default:
		return
	}
	if p.Type == wire1.TypeRequest {
		a.Content = wire1.Content{Key: p.Key, Value: p.Value}
	}
	for w.r.IntN(12) != 0 {
		switch w.r.IntN(12) {
		case 0:
			return // no answer
		case 1:
			a = w.random()
		case 2:
			a.ID = w.pick(w.ids)
		case 3:
			a.Session = w.pick(w.sessions)
		case 4:
			a.Error = w.text()
		case 5: // another answer follows
			w.put(a)
			continue
		}
		w.put(a)
		return
	}
}

// put queues a packet; w.mu is held.
func (w *wilfulPeer) put(p wire1.Packet) {
	w.queue = wire1.Append(w.queue, p)
	w.wake.Broadcast()
}

func (w *wilfulPeer) pick(from []uint64) uint64 {
	if len(from) == 0 || w.r.IntN(8) == 0 {
		return []uint64{0, 1, 2, 3, 1 << 31, 1 << 62, 1 << 63, 1<<64 - 1}[w.r.IntN(8)]
	}
	return from[w.r.IntN(len(from))]
}

// text returns a text of any length, which need not be UTF-8.
func (w *wilfulPeer) text() string {
	n := []int{0, 1, 10, 255, 256, 1024, 1025, 65535, 65536, 65537, 300 << 10}[w.r.IntN(11)]
	return strings.Repeat(string([]byte{byte(w.r.Uint32())}), n)
}

// wilfulTypes are the types that wilfulPeer sends of its own accord. Those that end the
// connection are rare.
var wilfulTypes = []wire1.Type{
	wire1.TypeSession, wire1.TypeSession, wire1.TypeSessionAck, wire1.TypeDismiss, wire1.TypeDismissAck,
	wire1.TypeMessage, wire1.TypeMessage, wire1.TypeMessageAck, wire1.TypeStream, wire1.TypeStream, wire1.TypeStream,
	wire1.TypeRequest, wire1.TypeRequest, wire1.TypeRequest, wire1.TypeResponse, wire1.TypeRequestCancel, wire1.TypeRegister, wire1.TypeRegisterAck,
}

// random returns a packet that is well-formed.
func (w *wilfulPeer) random() wire1.Packet {
	p := wire1.Packet{Type: wilfulTypes[w.r.IntN(len(wilfulTypes))], ID: w.r.Uint64()}
	if w.r.IntN(200) == 0 {
		p.Type = []wire1.Type{wire1.TypeDisConn, wire1.TypeDisConnAck, wire1.TypeHeartbeat, wire1.TypeHeartbeatAck, wire1.TypeConn}[w.r.IntN(5)]
	}
	if w.r.IntN(2) == 0 {
		p.ID = w.pick(w.ids)
	}
	p.Session, p.Negotiate = 1, w.pick(w.sessions)
	if w.r.IntN(2) == 0 || p.Type == wire1.TypeDismiss && w.r.IntN(20) != 0 {
		p.Session = w.pick(w.sessions)
	}
	if p.Type == wire1.TypeSession {
		p.Flags = wire1.FlagAcquireSession
		if p.Negotiate = w.r.Uint64(); !w.client {
			p.Flags = 0
			w.sessions = append(w.sessions, p.Negotiate)
		}
	}
	p.Kind = int16(w.r.IntN(4))
	p.Content = wire1.Content{Key: []byte("echo"), Value: []byte(w.text()), Topic: "t"}
	switch w.r.IntN(10) {
	case 0:
		p.Key = []byte(w.text())
	case 1:
		p.Topic = w.text()
	case 2:
		p.Custom = []byte(w.text())
	case 3:
		p.Error = w.text()
	case 4:
		p.Meta, p.Peer = []byte(w.text()), w.text()
	case 5:
		p.Deadline = time.Unix(w.r.Int64N(1<<36), 0)
	case 6:
		p.ContextDeadline = time.Unix(w.r.Int64N(1<<36), 0)
	}
	p.Raw = []byte(w.text())
	w.ids = append(w.ids, p.ID)
	return p
}

// send sends a random packet, unless the End reads nothing.
func (w *wilfulPeer) send() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) < 1<<20 {
		w.put(w.random())
	}
}

// cut closes the connection, with an incomplete packet before if part is set.
func (w *wilfulPeer) cut(part bool) {
	w.mu.Lock()
	if part {
		b := wire1.Append(nil, w.random())
		w.queue = append(w.queue, b[:w.r.IntN(len(b))]...)
		w.wake.Broadcast()
	}
	w.mu.Unlock()
	time.Sleep(time.Second)
	w.end()
}

// wilfulOptions makes an End small, so that its limits are met, and collects its log.
func wilfulOptions(l *options.Limits, log *slog.Logger) {
	l.SetMaxMessageSize(256 << 10)
	l.SetMaxStreams(8)
	l.SetMaxHandlers(4)
	l.SetMemoryBudget(2 << 20)
	l.SetLogger(log)
}

// A peer of wire 1 follows no rule, while an End does work of all kinds. Every operation returns,
// nothing panics, and the End can be closed at any time.
func TestWilfulOldPeers(t *testing.T) {
	const rounds = 40 / kit.Slowdown
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i := range uint64(rounds) {
		for _, asServer := range []bool{false, true} {
			runWilful(t, seed+i, asServer)
			if t.Failed() {
				t.Fatalf("round %d with the End as server: %v", i, asServer)
			}
		}
	}
}

func runWilful(t *testing.T, seed uint64, asServer bool) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
		near, far := net.Pipe()
		w := &wilfulPeer{
			nc: far, client: asServer, r: rand.New(rand.NewPCG(seed, 1)), reads: math.MaxInt, done: make(chan struct{}),
		}
		if w.r.IntN(4) == 0 {
			w.reads = w.r.IntN(100)
		}
		w.wake = sync.NewCond(&w.mu)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := w.shake(); err == nil {
				w.run()
			}
		})
		echo := func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			if len(req.Data())%2 == 1 {
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
			resp.SetData(req.Data())
		}
		var end geminio.End
		var err error
		if asServer {
			opt := server.NewEndOptions()
			wilfulOptions(&opt.Limits, logger)
			end, err = server.NewEndWithConn(near, opt)
		} else {
			opt := client.NewEndOptions()
			wilfulOptions(&opt.Limits, logger)
			end, err = client.NewEndWithConn(near, opt)
		}
		require.NoError(t, err)
		wg.Go(func() { end.Register(context.Background(), "echo", echo) })
		r := rand.New(rand.NewPCG(seed, 2))
		wg.Go(func() {
			for {
				m, err := end.Receive(context.Background())
				if err != nil {
					return
				}
				m.Done()
			}
		})
		wg.Go(func() {
			for {
				s, err := end.AcceptStream()
				if err != nil {
					return
				}
				wg.Go(func() { useStream(t, s) })
			}
		})
		for range r.IntN(60) {
			seed := r.Uint64()
			wg.Go(func() { useEnd(t, end, rand.New(rand.NewPCG(seed, 3))) })
			for range r.IntN(5) {
				w.send()
			}
			time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
		}
		switch r.IntN(4) {
		case 0:
			w.cut(r.IntN(2) == 0)
		case 1:
			time.Sleep(time.Minute)
		case 2:
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			geminio.Shutdown(ctx, end)
			cancel()
		}
		start := time.Now()
		end.Close()
		assert.LessOrEqual(t, time.Since(start), 6*time.Second, "the time of Close")
		w.end()
		wg.Wait()
		assert.Error(t, geminio.Cause(end))
		assert.NotContains(t, log.String(), "BUG")
		assert.NotContains(t, fmt.Sprint(geminio.Cause(end)), "BUG")
	})
}

// useEnd does one operation. Every operation must return within its time.
func useEnd(t *testing.T, end geminio.End, r *rand.Rand) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+r.IntN(3000))*time.Millisecond)
	defer cancel()
	data := make([]byte, []int{0, 1, 100, 40_000, 300_000}[r.IntN(5)])
	var err error
	switch r.IntN(5) {
	case 0:
		_, err = end.Call(ctx, "echo", end.NewRequest(data))
	case 1:
		err = end.Publish(ctx, end.NewMessage(data))
	case 2:
		err = end.Register(ctx, fmt.Sprint("m", r.IntN(10)), func(context.Context, geminio.Request, geminio.Response) {})
	case 3:
		opt := options.OpenStream()
		opt.SetTimeout(time.Second)
		var s geminio.Stream
		if s, err = end.OpenStream(opt); err == nil {
			useStream(t, s)
			return
		}
	case 4:
		end.SetWriteDeadline(time.Now().Add(time.Second))
		_, err = end.Write(data)
	}
	assert.LessOrEqual(t, time.Since(start), 4*time.Second, "%v", err)
	if err != nil {
		assert.NotContains(t, err.Error(), "BUG")
	}
}

// useStream writes, reads and closes a stream.
func useStream(t *testing.T, s geminio.Stream) {
	defer s.Close()
	s.SetDeadline(time.Now().Add(time.Second))
	s.Write(make([]byte, 1000))
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := s.Call(ctx, "echo", s.NewRequest([]byte("hi")))
	if err != nil {
		assert.NotContains(t, err.Error(), "BUG")
	}
	if _, err := io.CopyN(io.Discard, s, 1000); errors.Is(err, io.EOF) {
		return
	}
	if s.StreamID()%3 == 0 {
		geminio.CloseWrite(s)
	}
}
