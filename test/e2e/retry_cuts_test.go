package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

// TestThousandCuts breaks the connection a thousand times while calls, messages of both kinds,
// registrations and streams are in flight. Every acknowledged message was handed out exactly
// once, and every message that is sent at most once at most once. A call that is not marked as
// idempotent was executed at most once, and exactly once if it succeeded. No operation hangs.
// The server could call every method before EndReOnline. A stream delivers all bytes, or a
// prefix of them and an error. TestMain checks that no goroutine is left.
//
// With resumption, the same operations notice no cut: all succeed over one connection.
func TestThousandCuts(t *testing.T) {
	t.Run("resumption off", func(t *testing.T) { cutsDuringWork(t, 0, 1000) })
	t.Run("resumption on", func(t *testing.T) { cutsDuringWork(t, time.Minute, 100) })
}

// cutsDuringWork makes n cuts. Sessions are kept for the time keep.
func cutsDuringWork(t *testing.T, keep time.Duration, n int) {
	seed := rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("SEED=%d", seed)
	cuts := kit.Amount("tcp", n)
	r := rand.New(rand.NewPCG(seed, 0))

	s := &cutServer{
		t: t, handedOut: make(map[uint64]int), called: make(map[uint64]int), idempotent: make(map[uint64]int),
	}
	sopt := server.NewEndOptions()
	sopt.SetWaitRemoteRPCs("local")
	h := newTestServer(t, s.serve, sopt)
	p := kit.NewProxy(t, h.dialer.address)
	online := make(chan struct{}, 1)
	c := &cutClient{t: t, online: online, stop: make(chan struct{})}
	opt := client.NewEndOptions()
	opt.SetDelegate(c)
	opt.SetResumeKeep(keep)
	opt.SetWaitRemoteRPCs("once", "again", "methods")
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "local", RPC: rig.Echo}, &geminio.MethodRPC{Method: "hijacked", RPC: rig.Echo})
	end, err := client.NewRetryEndWithDialer(p.Dial, fastRetry(), opt)
	require.NoError(t, err)
	defer end.Close()
	c.end = end.(*client.RetryEnd)
	online <- struct{}{} // for the first connection

	var wg sync.WaitGroup
	for i, work := range []func(uint64){
		c.callOnce, c.callOnce, c.callIdempotent, c.callAsync,
		c.publish, c.publish, c.publishAsync, c.publishAtMostOnce,
		c.register, c.stream, c.stream,
	} {
		wg.Go(func() { work(uint64(i)) })
	}
	cutProxy(t, p, r, cuts, 8*time.Millisecond, online)
	kit.Await(t, kit.Forever, "the last connection", online)
	close(c.stop)
	kit.Within(t, kit.Forever, "the return of all workers", wg.Wait)

	// The messages that are sent at most once arrive before this one.
	require.NoError(t, end.Publish(kit.Deadline(t), end.NewMessage(number(1<<40))))
	stats := c.end.Stats()
	assert.Zero(t, stats.Waiting)
	assert.Zero(t, stats.WaitingBytes)
	if keep > 0 {
		assert.EqualValues(t, 1, stats.Connections)
		assert.GreaterOrEqual(t, stats.Resumes, uint64(cuts))
		assert.Zero(t, c.maybe.Load()+c.lost.Load(), "operations that have noticed a cut")
		assert.Zero(t, c.unseen.len(), "calls that have noticed a cut")
	} else {
		assert.GreaterOrEqual(t, stats.Connections, uint64(cuts+1))
		assert.NotZero(t, c.lost.Load())
	}
	assert.Equal(t, int64(stats.Connections-1), c.again.Load(), "calls of EndReOnline, want one for each connection after the first")
	require.NoError(t, end.Close())
	h.close()

	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range c.acked.all() {
		assert.Equal(t, 1, s.handedOut[id], "deliveries of message %x, which was acknowledged", id)
	}
	for id, n := range s.handedOut {
		assert.Equal(t, 1, n, "deliveries of message %x", id)
	}
	for _, id := range c.answered.all() {
		assert.Equal(t, 1, s.called[id], "executions of call %x, which succeeded", id)
	}
	for _, id := range c.unseen.all() {
		assert.Zero(t, s.called[id], "executions of call %x, which failed with ErrNotExecuted", id)
	}
	for id, n := range s.called {
		assert.Equal(t, 1, n, "executions of call %x", id)
	}
	for _, id := range c.repeated.all() {
		assert.GreaterOrEqual(t, s.idempotent[id], 1, "executions of the idempotent call %x, which succeeded", id)
	}
	t.Logf("%d connections; %d messages acked; calls: %d succeeded, %d perhaps executed, %d not; %d idempotent; %d registrations; %d streams whole, %d lost",
		stats.Connections, c.acked.len(), c.answered.len(), c.maybe.Load(), c.unseen.len(), c.repeated.len(),
		c.registered.Load(), c.whole.Load(), c.lost.Load())
	for what, n := range map[string]int{"acked": c.acked.len(), "answered": c.answered.len(), "idempotent": c.repeated.len(),
		"registered": int(c.registered.Load()), "streams": int(c.whole.Load())} {
		assert.NotZero(t, n, what)
	}
}

// cutProxy breaks all connections of p n times. It waits for a new connection each time, and
// then for a random time below pause.
func cutProxy(t testing.TB, p *kit.Proxy, r *rand.Rand, n int, pause time.Duration, online <-chan struct{}) {
	for range n {
		kit.Await(t, kit.Forever, "reconnect", online)
		if d := time.Duration(r.Int64N(int64(pause))); d > pause/8 { // else at once
			time.Sleep(d)
		}
		p.CutRandomly(r)
	}
}

// ids is a set of ids. Its methods are safe for concurrent use.
type ids struct {
	mu  sync.Mutex
	ids []uint64
}

func (s *ids) add(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = append(s.ids, id)
}

func (s *ids) all() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids
}

func (s *ids) len() int { return len(s.all()) }

func number(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// cutServer counts the messages and calls that it gets.
type cutServer struct {
	t *testing.T

	mu                            sync.Mutex
	handedOut, called, idempotent map[uint64]int
}

func (s *cutServer) count(m map[uint64]int) geminio.RPC {
	return func(_ context.Context, req geminio.Request, resp geminio.Response) {
		s.mu.Lock()
		m[binary.BigEndian.Uint64(req.Data())]++
		s.mu.Unlock()
		resp.SetData(req.Data())
	}
}

// noMethod fails the test if err says that a method does not exist.
func (s *cutServer) noMethod(err error) {
	var failed *geminio.RemoteError
	if errors.As(err, &failed) && failed.Code == geminio.CodeNoMethod {
		s.t.Error(err)
	}
}

func (s *cutServer) serve(end geminio.End) {
	ctx := context.Background()
	for _, method := range []string{"local", "hijacked"} { // at once
		_, err := end.Call(ctx, method, end.NewRequest(nil))
		s.noMethod(err)
	}
	end.Register(ctx, "once", s.count(s.called))
	end.Register(ctx, "again", s.count(s.idempotent))
	// The method calls all methods of the client. The client calls it in EndReOnline.
	end.Register(ctx, "methods", func(ctx context.Context, req geminio.Request, resp geminio.Response) {
		for method := range bytes.SplitSeq(req.Data(), []byte(" ")) {
			if _, err := end.Call(ctx, string(method), end.NewRequest(nil)); err != nil {
				resp.SetError(fmt.Errorf("%s: %w", method, err))
			}
		}
	})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for {
			stream, err := end.AcceptStream()
			if err != nil {
				return
			}
			wg.Go(func() {
				io.Copy(stream, stream)
				stream.Close()
			})
		}
	})
	for {
		m, err := end.Receive(ctx)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.handedOut[binary.BigEndian.Uint64(m.Data())]++
		s.mu.Unlock()
		if m.ID()%7 == 0 {
			wg.Go(func() { m.Done() }) // concurrently, so that the acks are in another order
		} else {
			m.Done()
		}
	}
}

// cutClient makes calls, publishes messages and opens streams until stop is closed.
type cutClient struct {
	*delegate.UnimplementedDelegate
	t      *testing.T
	end    *client.RetryEnd
	online chan struct{}
	stop   chan struct{}
	again  atomic.Int64

	acked, answered, unseen, repeated ids
	maybe                             atomic.Int64
	registered, whole, lost           atomic.Int64
}

// EndReOnline has the server call all methods.
func (c *cutClient) EndReOnline(client delegate.ClientDescriber) {
	c.again.Add(1)
	end := client.(geminio.End)
	go func() { c.online <- struct{}{} }()
	_, err := end.Call(context.Background(), "methods", end.NewRequest([]byte("local hijacked")))
	if err != nil {
		assert.NotContains(c.t, err.Error(), "no such rpc")
	}
}

// ConnResumed reports a connection that continues the session.
func (c *cutClient) ConnResumed(delegate.ConnDescriber) error {
	go func() { c.online <- struct{}{} }()
	return nil
}

func (c *cutClient) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// each runs do with ids that no other worker uses.
func (c *cutClient) each(worker uint64, do func(id uint64)) {
	for id := worker << 32; !c.stopped(); id++ {
		do(id)
	}
}

func (c *cutClient) callOnce(worker uint64) {
	c.each(worker, func(id uint64) {
		resp, err := c.end.Call(context.Background(), "once", c.end.NewRequest(number(id)))
		c.called(id, resp, err)
	})
}

func (c *cutClient) called(id uint64, resp geminio.Response, err error) {
	switch {
	case err == nil:
		assert.Equal(c.t, number(id), resp.Data())
		c.answered.add(id)
	case errors.Is(err, geminio.ErrMaybeExecuted):
		c.maybe.Add(1)
	case errors.Is(err, geminio.ErrNotExecuted):
		c.unseen.add(id)
	default:
		assert.NoError(c.t, err)
	}
}

func (c *cutClient) callIdempotent(worker uint64) {
	opt := options.Call()
	opt.SetIdempotent(true)
	c.each(worker, func(id uint64) {
		_, err := c.end.Call(context.Background(), "again", c.end.NewRequest(number(id)), opt)
		if assert.NoError(c.t, err) {
			c.repeated.add(id)
		}
	})
}

// inFlight is the number of asynchronous operations of a worker.
const inFlight = 16

func (c *cutClient) callAsync(worker uint64) {
	done := make(chan *geminio.Call, inFlight)
	free := inFlight
	take := func() {
		call := kit.Await(c.t, kit.Forever, "call", done)
		free++
		c.called(binary.BigEndian.Uint64(call.Request.Data()), call.Response, call.Error)
	}
	c.each(worker, func(id uint64) {
		if free == 0 {
			take()
		}
		_, err := c.end.CallAsync(context.Background(), "once", c.end.NewRequest(number(id)), done)
		if assert.NoError(c.t, err) {
			free--
		}
	})
	for free < inFlight {
		take()
	}
}

func (c *cutClient) publish(worker uint64) {
	c.each(worker, func(id uint64) {
		if assert.NoError(c.t, c.end.Publish(context.Background(), c.end.NewMessage(number(id)))) {
			c.acked.add(id)
		}
	})
}

func (c *cutClient) publishAsync(worker uint64) {
	done := make(chan *geminio.Publish, inFlight)
	free := inFlight
	take := func() {
		p := kit.Await(c.t, kit.Forever, "publish", done)
		free++
		if assert.NoError(c.t, p.Error) {
			c.acked.add(binary.BigEndian.Uint64(p.Message.Data()))
		}
	}
	c.each(worker, func(id uint64) {
		if free == 0 {
			take()
		}
		_, err := c.end.PublishAsync(context.Background(), c.end.NewMessage(number(id)), done)
		if assert.NoError(c.t, err) {
			free--
		}
	})
	for free < inFlight {
		take()
	}
}

func (c *cutClient) publishAtMostOnce(worker uint64) {
	c.each(worker, func(id uint64) {
		opt := options.NewMessage()
		opt.SetCnss(options.CnssAtMostOnce)
		assert.NoError(c.t, c.end.Publish(context.Background(), c.end.NewMessage(number(id), opt)))
		time.Sleep(100 * time.Microsecond) // let the other workers run
	})
}

func (c *cutClient) register(worker uint64) {
	c.each(worker, func(id uint64) {
		if assert.NoError(c.t, c.end.Register(context.Background(), fmt.Sprintf("m%d", id%8), rig.Echo)) {
			c.registered.Add(1)
		}
		time.Sleep(time.Millisecond)
	})
}

// stream writes to a stream that echoes, and compares.
func (c *cutClient) stream(worker uint64) {
	c.each(worker, func(id uint64) {
		stream, err := c.end.OpenStream()
		if !assert.NoError(c.t, err) {
			return
		}
		defer stream.Close()
		data := kit.BytesOf(100<<10, id)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := stream.Write(data); err != nil {
				assert.ErrorIs(c.t, err, geminio.ErrConnectionLost)
			}
			geminio.CloseWrite(stream)
		})
		got, err := io.ReadAll(stream)
		wg.Wait()
		switch {
		case err == nil && bytes.Equal(got, data):
			c.whole.Add(1)
		case err == nil:
			c.t.Errorf("a stream ended without an error after %d bytes, want %d", len(got), len(data))
		default:
			assert.ErrorIs(c.t, err, geminio.ErrConnectionLost)
			assert.True(c.t, bytes.HasPrefix(data, got))
			c.lost.Add(1)
		}
	})
}

var (
	_ delegate.ClientDelegate      = (*cutClient)(nil)
	_ delegate.ConnResumedDelegate = (*cutClient)(nil)
)
