package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// cutCount returns how many times a test cuts its connection: n, or the number in the
// environment variable CUTS.
func cutCount(t testing.TB, n int) int {
	s := os.Getenv("CUTS")
	if s == "" {
		return kit.Amount("tcp", n)
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}

// seeded returns a source whose seed is that of the environment variable SEED, or random.
func seeded(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// TestWorkThatNoticesNoCut has a proxy cut the connection at random moments, while all
// kinds of work run in both directions. The session is resumed each time: no operation
// fails, nothing is lost and nothing comes twice, and no callback tells of the cuts except
// those of the optional interfaces.
func TestWorkThatNoticesNoCut(t *testing.T) {
	for _, network := range []string{"tcp", "tls"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel() // most of the time passes in pauses before dialing
			workThatNoticesNoCut(t, network)
		})
	}
}

func workThatNoticesNoCut(t *testing.T, network string) {
	nl, err := kit.ListenRaw()
	require.NoError(t, err)
	p := kit.NewProxy(t, nl.Addr().String())
	dial := func() (net.Conn, error) { return kit.DialRaw(p.Addr) }
	if network == "tls" {
		nl = tls.NewListener(nl, kit.ServerTLS())
		dial = func() (net.Conn, error) {
			nc, err := kit.DialRaw(p.Addr)
			if err != nil {
				return nil, err
			}
			return tls.Client(nc, kit.ClientTLS()), nil
		}
	}
	w := &resumeWork{t: t, stop: make(chan struct{})}
	so := server.NewEndOptions()
	so.SetDelegate(&witness{w: w, side: geminio.RecipientSide})
	so.SetResumeKeep(time.Minute)
	so.SetResumeBuffer(256 << 10)
	l, err := server.NewListener(nl, so)
	require.NoError(t, err)
	defer l.Close()
	co := fastRetry()
	co.SetDelegate(&witness{w: w, side: geminio.InitiatorSide})
	co.SetResumeKeep(time.Minute)
	co.SetResumeBuffer(256 << 10)
	made, err := client.NewRetryEndWithDialer(dial, co)
	require.NoError(t, err)
	defer made.Close()
	c := made.(*client.RetryEnd)
	s, err := l.AcceptEnd()
	require.NoError(t, err)

	var all sync.WaitGroup
	w.begin(&all, c, s)
	r := seeded(t)
	for done := 0; done < cutCount(t, 1000) && !t.Failed(); {
		if r.IntN(4) > 0 { // otherwise the cut may come during the handshake
			for !c.Stats().Connected && !t.Failed() {
				time.Sleep(time.Millisecond)
			}
		}
		time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond) // not a hope: the moment is what is random
		if r.IntN(8) == 0 {
			done += p.CutNear() // the server does not notice
		} else {
			done += p.CutRandomly(r)
		}
	}
	close(w.stop)
	kit.Within(t, kit.Forever, "the return of all workers", all.Wait)
	w.check()
	stats := c.Stats()
	server := l.(server.ResumeStatser).ResumeStats()
	t.Logf("client: %+v; server: %+v; work: %v", stats, server, w.counts())
	assert.EqualValues(t, 1, stats.Connections)
	assert.NotZero(t, stats.Resumes)
	assert.NotZero(t, stats.ReplayedBytes)
	assert.Zero(t, stats.Fallbacks)
	assert.NotZero(t, server.Resumes)
	assert.Zero(t, w.noticed.Load(), "callbacks that tell of a cut")
	assert.EqualValues(t, 1, w.online.Load(), "ConnOnline calls at the server")
	assert.NotZero(t, w.interrupted.Load())
	require.NoError(t, made.Close())
	<-geminio.Done(s)
	assert.Equal(t, io.EOF, geminio.Cause(s))
}

// resumeWork is the work of TestWorkThatNoticesNoCut.
type resumeWork struct {
	t    *testing.T
	stop chan struct{}

	noticed, online, interrupted, resumed          atomic.Int64
	calls, messages, registrations, streams, pages atomic.Int64
	ledgers                                        []*ledger
}

func (w *resumeWork) counts() map[string]int64 {
	return map[string]int64{
		"calls": w.calls.Load(), "messages": w.messages.Load(), "registrations": w.registrations.Load(),
		"streams": w.streams.Load(), "downloads": w.pages.Load(), "interruptions": w.interrupted.Load(), "resumes": w.resumed.Load(),
	}
}

// witness is a delegate that counts the callbacks that tell of a cut.
type witness struct {
	*delegate.UnimplementedDelegate
	w    *resumeWork
	side geminio.Side
}

func (v *witness) ConnOnline(delegate.ConnDescriber) error {
	if v.side == geminio.RecipientSide {
		v.w.online.Add(1)
	}
	return nil
}

func (v *witness) ConnOffline(delegate.ConnDescriber) error {
	select {
	case <-v.w.stop:
	default:
		v.w.noticed.Add(1)
	}
	return nil
}

func (v *witness) EndReOnline(delegate.ClientDescriber)             { v.w.noticed.Add(1) }
func (v *witness) DialogueOffline(delegate.DialogueDescriber) error { return nil }
func (v *witness) ConnInterrupted(delegate.ConnDescriber)           { v.w.interrupted.Add(1) }

func (v *witness) ConnResumed(delegate.ConnDescriber) error {
	v.w.resumed.Add(1)
	return nil
}

// ledger counts how often each number of one kind of work was sent and has come.
type ledger struct {
	what string
	mu   sync.Mutex
	sent uint64
	came map[uint64]int
}

func (w *resumeWork) ledger(what string) *ledger {
	l := &ledger{what: what, came: make(map[uint64]int)}
	w.ledgers = append(w.ledgers, l)
	return l
}

func (l *ledger) next() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	return binary.BigEndian.AppendUint64(nil, l.sent)
}

func (l *ledger) take(p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.came[binary.BigEndian.Uint64(p)]++
}

func (w *resumeWork) check() {
	for _, l := range w.ledgers {
		l.mu.Lock()
		assert.NotZero(w.t, l.sent, l.what)
		for n := uint64(1); n <= l.sent; n++ {
			if l.came[n] != 1 {
				w.t.Errorf("%s: number %d of %d arrived %d times, want once", l.what, n, l.sent, l.came[n])
			}
		}
		l.mu.Unlock()
	}
}

// until runs f until the work is to stop.
func (w *resumeWork) until(f func(n int)) {
	for n := 0; ; n++ {
		select {
		case <-w.stop:
			return
		default:
		}
		f(n)
		if w.t.Failed() {
			return
		}
	}
}

func (w *resumeWork) begin(all *sync.WaitGroup, c, s geminio.End) {
	ctx := context.Background()
	for _, d := range []struct {
		name     string
		from, to geminio.End
	}{{"to the server", c, s}, {"to the client", s, c}} {
		called := w.ledger("calls " + d.name)
		slow := func(_ context.Context, req geminio.Request, resp geminio.Response) {
			called.take(req.Data())
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
			resp.SetData(req.Data())
		}
		fast := func(_ context.Context, req geminio.Request, resp geminio.Response) {
			called.take(req.Data())
			resp.SetData(req.Data())
		}
		require.NoError(w.t, d.to.Register(ctx, "slow", slow))
		require.NoError(w.t, d.to.Register(ctx, "fast", fast))
		for i, method := range []string{"slow", "slow", "fast", "fast"} {
			large := i%2 == 1
			all.Go(func() {
				w.until(func(int) {
					number := called.next()
					data := number
					if large {
						data = append(number, kit.BytesOf(rand.IntN(50<<10), 1)...)
					}
					resp, err := d.from.Call(ctx, method, d.from.NewRequest(data))
					if assert.NoError(w.t, err, "call %s", d.name) {
						assert.True(w.t, bytes.Equal(data, resp.Data()))
					}
					w.calls.Add(1)
				})
			})
		}
		acked, once := w.ledger("messages "+d.name), w.ledger("messages without acks "+d.name)
		all.Go(func() {
			w.until(func(int) {
				data := append(acked.next(), 1)
				assert.NoError(w.t, d.from.Publish(ctx, d.from.NewMessage(data)), "publish %s", d.name)
				w.messages.Add(1)
			})
			// The messages that were sent before arrive before this one.
			assert.NoError(w.t, d.from.Publish(ctx, d.from.NewMessage([]byte("0123456789"))))
		})
		opt := options.NewMessage()
		opt.SetCnss(options.CnssAtMostOnce)
		unacked := make(chan struct{})
		all.Go(func() {
			defer close(unacked)
			w.until(func(int) {
				data := append(once.next(), 0)
				assert.NoError(w.t, d.from.Publish(ctx, d.from.NewMessage(data, opt)))
				w.messages.Add(1)
				time.Sleep(time.Millisecond) // let the other workers run
			})
			assert.NoError(w.t, d.from.Publish(ctx, d.from.NewMessage([]byte("0123456789"))))
		})
		all.Go(func() {
			for ends := 0; ends < 2; {
				m, err := d.to.Receive(ctx)
				if !assert.NoError(w.t, err) {
					return
				}
				switch {
				case len(m.Data()) == 10:
					ends++
				case m.Data()[8] == 1:
					acked.take(m.Data())
				default:
					once.take(m.Data())
				}
				if m.Data()[8] == 0 {
					continue
				}
				assert.NoError(w.t, m.Done())
			}
		})
		all.Go(func() {
			w.until(func(n int) {
				method := fmt.Sprintf("m%d", n)
				assert.NoError(w.t, d.to.Register(ctx, method, rig.Echo))
				_, err := d.from.Call(ctx, method, d.from.NewRequest([]byte(method)))
				assert.NoError(w.t, err, method)
				w.registrations.Add(1)
				time.Sleep(5 * time.Millisecond) // let the other workers run
			})
		})
		w.beginStreams(all, d.name, d.from, d.to)
	}
}

// beginStreams has echoes and downloads over streams.
func (w *resumeWork) beginStreams(all *sync.WaitGroup, name string, from, to geminio.End) {
	pages := &streamListener{streams: make(chan net.Conn), closed: make(chan struct{})}
	web := &http.Server{Handler: http.HandlerFunc(hashing)}
	go web.Serve(pages)
	var echoes sync.WaitGroup
	go func() {
		for {
			stream, err := to.AcceptStream()
			if err != nil {
				return
			}
			if string(stream.Meta()) == "http" {
				pages.streams <- stream
				continue
			}
			echoes.Go(func() {
				defer stream.Close()
				_, err := io.Copy(stream, stream)
				assert.NoError(w.t, err)
			})
		}
	}()
	var workers sync.WaitGroup
	workers.Go(func() {
		w.until(func(n int) {
			data := kit.BytesOf(rand.IntN(600<<10), uint64(n))
			stream, err := from.OpenStream()
			if !assert.NoError(w.t, err) {
				return
			}
			var writing sync.WaitGroup
			writing.Go(func() {
				_, err := stream.Write(data)
				assert.NoError(w.t, err)
				assert.NoError(w.t, geminio.CloseWrite(stream))
			})
			back, err := io.ReadAll(stream)
			writing.Wait()
			assert.NoError(w.t, err)
			assert.Equal(w.t, sha256.Sum256(data), sha256.Sum256(back), "stream %s: %d bytes came back of %d", name, len(back), len(data))
			stream.Close()
			w.streams.Add(1)
		})
	})
	meta := options.OpenStream()
	meta.SetMeta([]byte("http"))
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return from.OpenStream(meta) }}
	workers.Go(func() {
		defer transport.CloseIdleConnections()
		browser := &http.Client{Transport: transport}
		w.until(func(n int) {
			assert.NoError(w.t, post(browser, "http://server/", kit.BytesOf(rand.IntN(300<<10), uint64(n))), "download %s", name)
			w.pages.Add(1)
		})
	})
	all.Go(func() {
		workers.Wait()
		echoes.Wait()
		web.Close()
	})
}

// streamListener is a net.Listener whose connections are streams.
type streamListener struct {
	streams chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

func (l *streamListener) Accept() (net.Conn, error) {
	select {
	case s := <-l.streams:
		return s, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *streamListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *streamListener) Addr() net.Addr { return &net.TCPAddr{} }
