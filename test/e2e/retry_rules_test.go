package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
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

// newEchoServer returns a server that registers echo and acknowledges all messages.
func newEchoServer(t testing.TB, opts ...*server.EndOptions) *testServer {
	return newTestServer(t, func(end geminio.End) {
		end.Register(context.Background(), "echo", rig.Echo)
		rig.AnswerAll(end)
	}, opts...)
}

// waitingFor returns when n operations wait for a connection.
func waitingFor(t testing.TB, end *client.RetryEnd, n int) {
	t.Helper()
	for begin := time.Now(); end.Stats().Waiting != n; time.Sleep(time.Millisecond) {
		if time.Since(begin) > kit.Forever {
			t.Fatalf("Stats().Waiting = %d, want %d", end.Stats().Waiting, n)
		}
	}
}

// offlineNow returns when end has noticed the loss of its connection.
func offlineNow(t testing.TB, end *client.RetryEnd) {
	t.Helper()
	for begin := time.Now(); end.Stats().Connected; time.Sleep(time.Millisecond) {
		if time.Since(begin) > kit.Forever {
			t.Fatal("Stats().Connected = true after the connection was cut")
		}
	}
}

// operations are the operations that can wait for a connection.
var operations = []struct {
	name string
	do   func(context.Context, *client.RetryEnd) error
}{
	{"Call", func(ctx context.Context, end *client.RetryEnd) error {
		_, err := end.Call(ctx, "echo", end.NewRequest([]byte("1234567890")))
		return err
	}},
	{"CallAsync", func(ctx context.Context, end *client.RetryEnd) error {
		c, err := end.CallAsync(ctx, "echo", end.NewRequest([]byte("1234567890")), nil)
		if err != nil {
			return err
		}
		return (<-c.Done).Error
	}},
	{"Publish", func(ctx context.Context, end *client.RetryEnd) error {
		return end.Publish(ctx, end.NewMessage([]byte("1234567890")))
	}},
	{"Publish at most once", func(ctx context.Context, end *client.RetryEnd) error {
		return end.Publish(ctx, onceMessage(end, 10))
	}},
	{"PublishAsync", func(ctx context.Context, end *client.RetryEnd) error {
		p, err := end.PublishAsync(ctx, end.NewMessage([]byte("1234567890")), nil)
		if err != nil {
			return err
		}
		return (<-p.Done).Error
	}},
	{"Register", func(ctx context.Context, end *client.RetryEnd) error { return end.Register(ctx, "m", rig.Echo) }},
	{"OpenStream", func(ctx context.Context, end *client.RetryEnd) error {
		opt := options.OpenStream()
		if at, ok := ctx.Deadline(); ok {
			opt.SetTimeout(time.Until(at))
		}
		_, err := end.OpenStream(opt)
		return err
	}},
}

func TestRetryOperationsWait(t *testing.T) {
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			h := newEchoServer(t)
			opt := client.NewEndOptions()
			opt.SetWaitRemoteRPCs("echo")
			end := newRetry(t, h, opt)
			h.dialer.cut(true)
			offlineNow(t, end)

			// The operations return at the end of their context,
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			assert.ErrorIs(t, op.do(ctx, end), context.DeadlineExceeded)
			waitingFor(t, end, 0)

			// when there is a connection,
			done := kit.Start(func() error { return op.do(context.Background(), end) })
			waitingFor(t, end, 1)
			h.dialer.open()
			assert.NoError(t, kit.Await(t, kit.Forever, op.name, done))
			waitingFor(t, end, 0)

			// and when the RetryEnd is closed.
			h.dialer.cut(true)
			offlineNow(t, end)
			done = kit.Start(func() error { return op.do(context.Background(), end) })
			waitingFor(t, end, 1)
			require.NoError(t, end.Close())
			err := kit.Await(t, kit.Forever, op.name, done)
			assert.ErrorIs(t, err, geminio.ErrNotExecuted)
			assert.ErrorIs(t, err, io.EOF)
			assert.Equal(t, io.EOF, op.do(context.Background(), end))
			stats := end.Stats()
			assert.Zero(t, stats.Waiting)
			assert.Zero(t, stats.WaitingBytes)
		})
	}
}

func TestRetryTimeoutCountsFromTheCall(t *testing.T) {
	h := newEchoServer(t)
	end := newRetry(t, h)
	h.dialer.cut(true)
	offlineNow(t, end)
	call, publish := options.Call(), options.Publish()
	call.SetTimeout(10 * time.Millisecond)
	publish.SetTimeout(10 * time.Millisecond)
	_, err := end.Call(context.Background(), "echo", end.NewRequest(nil), call)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorIs(t, end.Publish(context.Background(), end.NewMessage(nil), publish), context.DeadlineExceeded)
	c, err := end.CallAsync(context.Background(), "echo", end.NewRequest(nil), nil, call)
	require.NoError(t, err)
	assert.ErrorIs(t, kit.Await(t, kit.Forever, "call", c.Done).Error, context.DeadlineExceeded)
}

func TestRetryWaitingIsBounded(t *testing.T) {
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			h := newEchoServer(t)
			opt := client.NewEndOptions()
			opt.SetMaxWaiting(3, 1000)
			opt.SetWaitRemoteRPCs("echo")
			end := newRetry(t, h, opt)
			h.dialer.cut(true)
			offlineNow(t, end)
			var all []<-chan error
			for range 3 {
				all = append(all, kit.Start(func() error { return op.do(context.Background(), end) }))
			}
			waitingFor(t, end, 3)
			err := op.do(context.Background(), end)
			assert.ErrorIs(t, err, geminio.ErrTooMany)
			var limit *geminio.LimitError
			require.ErrorAs(t, err, &limit)
			assert.EqualValues(t, 4, limit.Value)
			assert.EqualValues(t, 3, limit.Limit)
			h.dialer.open()
			for _, done := range all {
				assert.NoError(t, kit.Await(t, kit.Forever, op.name, done))
			}
		})
	}
	t.Run("bytes", func(t *testing.T) {
		h := newEchoServer(t)
		opt := client.NewEndOptions()
		opt.SetMaxWaiting(0, 1000)
		end := newRetry(t, h, opt)
		h.dialer.cut(true)
		offlineNow(t, end)
		done := kit.Start(func() error { return end.Publish(context.Background(), end.NewMessage(make([]byte, 600))) })
		waitingFor(t, end, 1)
		assert.Equal(t, 600, end.Stats().WaitingBytes)
		err := end.Publish(context.Background(), end.NewMessage(make([]byte, 401)))
		assert.ErrorIs(t, err, geminio.ErrTooLarge)
		assert.ErrorContains(t, err, "1001 exceeds 1000")
		h.dialer.open()
		assert.NoError(t, kit.Await(t, kit.Forever, "publish", done))
	})
}

// The messages of one goroutine arrive in its order, even over a reconnect.
func TestRetryOrderOfMessages(t *testing.T) {
	const messages = 3000
	got := make(chan string, messages)
	h := newTestServer(t, func(end geminio.End) {
		for {
			m, err := end.Receive(context.Background())
			if err != nil {
				return
			}
			got <- string(m.Data())
			m.Done()
		}
	})
	end := newRetry(t, h)
	done := make(chan *geminio.Publish, messages)
	for i := range messages {
		switch {
		case i%500 == 100:
			h.dialer.cut(true)
		case i%500 == 250:
			h.dialer.open()
		}
		_, err := end.PublishAsync(context.Background(), end.NewMessage(fmt.Appendf(nil, "%04d", i)), done)
		require.NoError(t, err)
	}
	for range messages {
		require.NoError(t, kit.Await(t, kit.Forever, "publish", done).Error)
	}
	require.Len(t, got, messages)
	// The Receive loops of the lost connection and of the next one may run at the same time,
	// so that their messages reach got in any order. Those of one loop keep their order.
	last := ""
	swaps := 0
	for range messages {
		s := <-got
		if s < last {
			swaps++
		}
		last = s
	}
	assert.LessOrEqual(t, swaps, 2*messages/500)
}

// A call that was in flight when the connection broke is executed at most once, and its error
// says that the peer may have executed it. A call that is marked as idempotent is repeated.
func TestCallsUnderWayAreNotRepeatedUnlessIdempotent(t *testing.T) {
	var calls atomic.Int64
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	opt := server.NewEndOptions()
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "count", RPC: func(_ context.Context, _ geminio.Request, resp geminio.Response) {
		resp.SetData(fmt.Append(nil, calls.Add(1)))
		entered <- struct{}{}
		<-leave
	}})
	h := newTestServer(t, nil, opt)
	defer close(leave)
	end := newRetry(t, h)

	do := func(opts ...*options.CallOptions) func() error {
		return func() error {
			_, err := end.Call(context.Background(), "count", end.NewRequest(nil), opts...)
			return err
		}
	}
	doAsync := func(opts ...*options.CallOptions) func() error {
		return func() error {
			c, err := end.CallAsync(context.Background(), "count", end.NewRequest(nil), nil, opts...)
			if err != nil {
				return err
			}
			return (<-c.Done).Error
		}
	}
	for _, call := range []func(...*options.CallOptions) func() error{do, doAsync} {
		before := calls.Load()
		done := kit.Start(call())
		kit.Await(t, kit.Forever, "handler", entered)
		h.dialer.cut(false)
		err := kit.Await(t, kit.Forever, "call", done)
		assert.ErrorIs(t, err, geminio.ErrMaybeExecuted)
		assert.NotErrorIs(t, err, geminio.ErrNotExecuted)
		assert.Equal(t, before+1, calls.Load())

		opt := options.Call()
		opt.SetIdempotent(true)
		done = kit.Start(call(opt))
		kit.Await(t, kit.Forever, "handler", entered)
		h.dialer.cut(false)
		kit.Await(t, kit.Forever, "the start of the handler of the repeated call", entered)
		assert.Equal(t, before+3, calls.Load())
		leave <- struct{}{} // releases one handler of a lost connection
		leave <- struct{}{}
		leave <- struct{}{} // releases the handler of the repeated call
		assert.NoError(t, kit.Await(t, kit.Forever, "call", done))
	}
}

// A message whose ack was lost is sent again and is not handed out again. The answer to
// the copy is the first answer of this message.
func TestLostAckMeansNoSecondDelivery(t *testing.T) {
	messages := make(chan geminio.Message, 10)
	h := newTestServer(t, func(end geminio.End) {
		for {
			m, err := end.Receive(context.Background())
			if err != nil {
				return
			}
			messages <- m
		}
	})
	end := newRetry(t, h)
	publish := func(text string) <-chan error {
		return kit.Start(func() error { return end.Publish(context.Background(), end.NewMessage([]byte(text))) })
	}
	for _, answer := range []error{nil, errors.New("no good")} {
		// The receiver answers after the connection was lost.
		done := publish("first")
		m := kit.Await(t, kit.Forever, "message", messages)
		h.dialer.cut(true)
		offlineNow(t, end)
		require.Equal(t, "first", string(m.Data()))
		require.NoError(t, m.Error(answer))
		assert.Equal(t, geminio.ErrAnswered, m.Done())
		h.dialer.open()
		err := kit.Await(t, kit.Forever, "publish", done)
		if answer == nil {
			assert.NoError(t, err)
		} else {
			assert.EqualError(t, err, answer.Error())
		}

		// The receiver answers after the message was sent again.
		done = publish("second")
		m = kit.Await(t, kit.Forever, "message", messages)
		h.dialer.cut(true)
		offlineNow(t, end)
		h.dialer.open()
		require.NoError(t, end.Publish(context.Background(), onceMessage(end, 1))) // sent after the copy
		behind := kit.Await(t, kit.Forever, "message", messages)
		assert.Equal(t, options.CnssAtMostOnce, behind.Cnss(), "the message after the copy is %q: the copy was handed out", behind.Data())
		other := publish("third")
		m3 := kit.Await(t, kit.Forever, "message", messages)
		require.Equal(t, "third", string(m3.Data()))
		require.NoError(t, m.Error(answer))
		if err := kit.Await(t, kit.Forever, "publish", done); answer != nil {
			assert.EqualError(t, err, answer.Error())
		}
		select {
		case err := <-other:
			t.Fatalf("Publish returned %v, the answer to another message", err)
		default:
		}
		require.NoError(t, m3.Done())
		assert.NoError(t, kit.Await(t, kit.Forever, "publish", other))
	}
	assert.Empty(t, messages)
}

// idLog is a delegate that records clients by their ids.
type idLog struct {
	*connLog
	mu     sync.Mutex
	online map[uint64]delegate.ConnDescriber
}

func (n *idLog) ConnOnline(c delegate.ConnDescriber) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.online[c.ClientID()] != nil {
		n.note("online twice")
		return errors.New("online twice")
	}
	n.online[c.ClientID()] = c
	n.note("online")
	return nil
}

func (n *idLog) ConnOffline(c delegate.ConnDescriber) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.online[c.ClientID()] == c {
		delete(n.online, c.ClientID())
	} else {
		n.note("offline of another")
	}
	n.note("offline")
	return nil
}

func (n *idLog) GetClientID(wanted uint64, _ []byte) (uint64, error) { return wanted, nil }

var _ delegate.ServerDelegate = (*idLog)(nil)

// A client id returns while the old connection of the client still exists. The new
// connection replaces the old one. The old End ends first and its cause is ErrReplaced;
// its end does not affect the new End.
func TestSameIdentityReplaces(t *testing.T) {
	n := &idLog{connLog: newConnLog(), online: make(map[uint64]delegate.ConnDescriber)}
	opt := server.NewEndOptions()
	opt.SetDelegate(n)
	h := newTestServer(t, nil, opt)
	copt := client.NewEndOptions()
	copt.SetClientID(77)
	one, err := dial(h.dialer.address, copt)
	require.NoError(t, err)
	defer one.Close()
	two, err := dial(h.dialer.address, copt)
	require.NoError(t, err)
	defer two.Close()
	assert.Equal(t, []string{"online", "offline", "online"}, n.wait(t, 3))
	_, err = one.Receive(kit.Deadline(t))
	assert.Equal(t, io.EOF, err)
	assert.ErrorIs(t, geminio.Cause(one), geminio.ErrReplaced)
	require.NoError(t, two.Register(kit.Deadline(t), "m", rig.Echo), "Register on the new connection")
	n.mu.Lock()
	assert.NotNil(t, n.online[77])
	n.mu.Unlock()
}

// The old connection hangs: nothing arrives over it, and it does not end.
func TestSameIdentityReplacesWhoHangs(t *testing.T) {
	n := &idLog{connLog: newConnLog(), online: make(map[uint64]delegate.ConnDescriber)}
	opt := server.NewEndOptions()
	opt.SetDelegate(n)
	h := newTestServer(t, nil, opt)
	copt := client.NewEndOptions()
	copt.SetClientID(77)
	cc, err := kit.Dial(h.dialer.address)
	require.NoError(t, err)
	stalled := &stallConn{Conn: cc}
	one, err := client.NewEndWithConn(stalled, copt)
	require.NoError(t, err)
	defer one.Close()
	stalled.stall.Store(true)
	kit.Within(t, kit.Forever, "replace", func() {
		two, err := dial(h.dialer.address, copt)
		if assert.NoError(t, err) {
			two.Close()
		}
	})
	assert.Equal(t, []string{"online", "offline", "online", "offline"}, n.wait(t, 4))
}

// stallConn is a net.Conn that discards the bytes of Write while stall is set.
type stallConn struct {
	net.Conn
	stall atomic.Bool
}

func (c *stallConn) Write(p []byte) (int, error) {
	if c.stall.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func TestSameIdentityIsRefused(t *testing.T) {
	opt := server.NewEndOptions()
	opt.SetDuplicateID(server.DuplicateRefused)
	h := newTestServer(t, nil, opt)
	copt := client.NewEndOptions()
	copt.SetClientID(77)
	one, err := dial(h.dialer.address, copt)
	require.NoError(t, err)
	_, err = dial(h.dialer.address, copt)
	var refused *geminio.RefusedError
	require.ErrorAs(t, err, &refused)
	assert.ErrorContains(t, err, "in use by another connection")
	require.NoError(t, one.Register(kit.Deadline(t), "m", rig.Echo), "Register on the old connection")

	// A RetryEnd gets the id when the other client has disconnected.
	told := make(chan error, 100)
	copt.SetRetryFirst(kit.Deadline(t))
	copt.SetRetryFailedFunc(func(err error) { told <- err })
	done := kit.Start(func() error {
		end, err := client.NewRetryEndWithDialer(h.dialer.dial, fastRetry(), copt)
		if err == nil {
			assert.EqualValues(t, 77, end.ClientID())
			end.Close()
		}
		return err
	})
	assert.ErrorAs(t, kit.Await(t, kit.Forever, "refusal", told), &refused)
	require.NoError(t, one.Close())
	assert.NoError(t, kit.Await(t, kit.Forever, "connect", done))
}

func TestSameIdentityIsAllowed(t *testing.T) {
	for name, opt := range map[string]*server.EndOptions{
		"by policy":      {DuplicateID: server.DuplicateAllowed},
		"by SetClientID": {ClientID: new(uint64)},
	} {
		t.Run(name, func(t *testing.T) {
			if opt.ClientID != nil {
				*opt.ClientID = 77
			}
			h := newTestServer(t, nil, opt)
			copt := client.NewEndOptions()
			copt.SetClientID(77)
			for range 2 {
				end, err := dial(h.dialer.address, copt)
				require.NoError(t, err)
				defer end.Close()
				defer func() {
					assert.NoError(t, end.Register(context.Background(), "m", rig.Echo), "Register at the end of the test")
				}()
			}
		})
	}
}

// Two RetryEnds with one id do not replace each other in turns: a replaced one waits long.
func TestReplacedIsTold(t *testing.T) {
	h := newTestServer(t, nil)
	told := make(chan error, 10)
	opt := client.NewEndOptions()
	opt.SetClientID(5)
	opt.SetRetryFailedFunc(func(err error) { told <- err })
	opt.SetStopOnRefusal()
	one := newRetry(t, h, opt)
	other := client.NewEndOptions()
	other.SetClientID(5)
	two := newRetry(t, h, other)
	assert.ErrorIs(t, kit.Await(t, kit.Forever, "cause", told), geminio.ErrReplaced)
	kit.Await(t, kit.Forever, "end", one.Done())
	assert.ErrorIs(t, one.Cause(), geminio.ErrReplaced)
	_, err := one.Call(context.Background(), "m", one.NewRequest(nil))
	assert.Equal(t, io.EOF, err)
	require.NoError(t, two.Register(kit.Deadline(t), "m", rig.Echo))
}

// refusingDelegate is a delegate that refuses clients while refuse is set.
type refusingDelegate struct {
	*delegate.UnimplementedDelegate
	refuse atomic.Bool
}

func (b *refusingDelegate) GetClientID(wanted uint64, _ []byte) (uint64, error) {
	if b.refuse.Load() {
		return 0, &geminio.RefusedError{Code: geminio.CodeLimit, Text: "no room", RetryAfter: time.Millisecond}
	}
	return wanted, nil
}

func TestRetryAfterRefusal(t *testing.T) {
	b := &refusingDelegate{}
	sopt := server.NewEndOptions()
	sopt.SetDelegate(b)
	h := newTestServer(t, nil, sopt)
	told := make(chan error, 1000)
	opt := client.NewEndOptions()
	opt.SetRetryFailedFunc(func(err error) {
		select {
		case told <- err:
		default:
		}
	})
	end := newRetry(t, h, opt)
	b.refuse.Store(true)
	h.dialer.cut(false)
	for range 3 {
		var refused *geminio.RefusedError
		require.ErrorAs(t, kit.Await(t, kit.Forever, "refusal", told), &refused)
		assert.Equal(t, "no room", refused.Text)
		assert.Equal(t, time.Millisecond, refused.RetryAfter)
		assert.ErrorIs(t, refused, geminio.ErrTooMany)
	}
	b.refuse.Store(false)
	require.NoError(t, end.Register(kit.Deadline(t), "m", rig.Echo))

	stopping := client.NewEndOptions()
	stopping.SetStopOnRefusal()
	end = newRetry(t, h, stopping)
	done := kit.Start(func() error { h.dialer.cut(true); return nil })
	<-done
	waits := kit.Start(func() error { return end.Publish(context.Background(), end.NewMessage(nil)) })
	waitingFor(t, end, 1)
	b.refuse.Store(true)
	h.dialer.open()
	err := kit.Await(t, kit.Forever, "publish", waits)
	assert.ErrorIs(t, err, geminio.ErrTooMany, "the error wraps the refusal")
	kit.Await(t, kit.Forever, "end", end.Done())
	var refused *geminio.RefusedError
	assert.ErrorAs(t, end.Cause(), &refused)
	assert.Equal(t, io.EOF, end.Publish(context.Background(), end.NewMessage(nil)))
}

func TestRetryFirst(t *testing.T) {
	h := newTestServer(t, nil)
	h.dialer.cut(true)
	ctx, cancel := context.WithCancel(context.Background())
	opt := fastRetry()
	opt.SetRetryFirst(ctx)
	connect := func() error {
		end, err := client.NewRetryEndWithDialer(h.dialer.dial, opt)
		if err == nil {
			end.Close()
		}
		return err
	}
	done := kit.Start(connect)
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		h.dialer.mu.Lock()
		dials := h.dialer.dials
		h.dialer.mu.Unlock()
		if dials > 3 {
			break
		}
		require.Less(t, time.Since(begin), kit.Forever)
	}
	h.dialer.open()
	assert.NoError(t, kit.Await(t, kit.Forever, "connect", done))

	h.dialer.cut(true)
	done = kit.Start(connect)
	cancel()
	err := kit.Await(t, kit.Forever, "connect", done)
	assert.ErrorIs(t, err, context.Canceled)
}

// After the loss of a connection that has carried raw bytes of a RetryEnd, one Read and one
// Write return an error.
func TestRetryRawBytes(t *testing.T) {
	ends := make(chan geminio.End, 10)
	h := newTestServer(t, func(end geminio.End) { ends <- end })
	end := newRetry(t, h)
	peer := kit.Await(t, kit.Forever, "accept", ends)
	buf := make([]byte, 10)

	_, err := io.WriteString(end, "over one")
	require.NoError(t, err)
	rig.Expect(t, peer, "over one")

	h.dialer.cut(false)
	peer = kit.Await(t, kit.Forever, "accept", ends)
	for begin := time.Now(); end.Stats().Connections < 2; time.Sleep(time.Millisecond) {
		require.Less(t, time.Since(begin), kit.Forever)
	}
	_, err = io.WriteString(end, "lost")
	assert.ErrorIs(t, err, geminio.ErrConnectionLost)
	_, err = io.WriteString(end, "over two")
	require.NoError(t, err)
	rig.Expect(t, peer, "over two")
	_, err = io.WriteString(peer, "back")
	require.NoError(t, err)
	rig.Expect(t, end, "back") // no byte was read from the last connection, so none is lost

	h.dialer.cut(true)
	_, err = end.Read(buf)
	assert.ErrorIs(t, err, geminio.ErrConnectionLost)
	require.NoError(t, end.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	_, err = end.Read(buf)
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, end.SetReadDeadline(time.Time{}))
	read := kit.Start(func() error { _, err := end.Read(buf); return err })
	h.dialer.open()
	peer = kit.Await(t, kit.Forever, "accept", ends)
	_, err = io.WriteString(peer, "x")
	require.NoError(t, err)
	assert.NoError(t, kit.Await(t, kit.Forever, "read", read))

	// The deadline of a RetryEnd applies to all of its connections.
	require.NoError(t, end.SetReadDeadline(time.Now().Add(-time.Second)))
	h.dialer.cut(false)
	kit.Await(t, kit.Forever, "accept", ends)
	_, err = end.Read(buf)
	assert.ErrorIs(t, err, geminio.ErrConnectionLost, "Read after a loss and after the deadline")
	_, err = end.Read(buf)
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// Messages that arrived before the connection was lost are received after the loss.
func TestRetryReceivesWhatHadCome(t *testing.T) {
	h := newTestServer(t, nil)
	end := newRetry(t, h)
	require.NoError(t, end.Register(kit.Deadline(t), "ready", rig.Echo))
	peer := h.last()
	for i := range 3 {
		require.NoError(t, peer.Publish(context.Background(), onceMessage(peer, i)))
	}
	_, err := peer.Call(kit.Deadline(t), "ready", peer.NewRequest(nil)) // the answer arrives after the messages
	require.NoError(t, err)
	h.dialer.cut(false)
	for begin := time.Now(); end.Stats().Connections < 2; time.Sleep(time.Millisecond) {
		require.Less(t, time.Since(begin), kit.Forever)
	}
	for i := range 3 {
		m, err := end.Receive(kit.Deadline(t))
		require.NoError(t, err)
		assert.Len(t, m.Data(), i)
	}
}

// A server shuts down with a time to reconnect. Calls in flight succeed.
func TestRetryObeysTheHintOfShutdown(t *testing.T) {
	const after = 150 * time.Millisecond
	entered, leave := make(chan struct{}), make(chan struct{})
	sopt := server.NewEndOptions()
	sopt.SetRetryAfter(after)
	sopt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "slow", RPC: func(context.Context, geminio.Request, geminio.Response) {
		close(entered)
		<-leave
	}})
	h := newTestServer(t, nil, sopt)
	end := newRetry(t, h)
	slow := kit.Start(func() error {
		_, err := end.Call(context.Background(), "slow", end.NewRequest(nil))
		return err
	})
	kit.Await(t, kit.Forever, "handler", entered)
	down := kit.Start(func() error { return geminio.Shutdown(context.Background(), h.l) })
	offlineNow(t, end)

	// New calls wait for the next server.
	next := newEchoServer(t)
	h.dialer.mu.Lock()
	h.dialer.address = next.dialer.address
	h.dialer.mu.Unlock()
	published := kit.Start(func() error { return end.Publish(context.Background(), end.NewMessage(nil)) })
	waitingFor(t, end, 1)
	close(leave)
	assert.NoError(t, kit.Await(t, kit.Forever, "the call in flight", slow))
	assert.NoError(t, kit.Await(t, kit.Forever, "shutdown", down))
	begin := time.Now()
	assert.NoError(t, kit.Await(t, kit.Forever, "publish", published))
	assert.GreaterOrEqual(t, time.Since(begin), after*9/10)
}

// Shutdown of a RetryEnd waits for the operations that wait for a connection.
func TestRetryShutdown(t *testing.T) {
	h := newEchoServer(t)
	end := newRetry(t, h)
	h.dialer.cut(true)
	offlineNow(t, end)
	published := kit.Start(func() error { return end.Publish(context.Background(), end.NewMessage(nil)) })
	waitingFor(t, end, 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	two := newRetry(t, newEchoServer(t))
	two.Shutdown(context.Background())
	kit.Await(t, kit.Forever, "end", two.Done())

	down := kit.Start(func() error { return end.Shutdown(context.Background()) })
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		err := end.Publish(ctx, end.NewMessage(nil))
		if errors.Is(err, geminio.ErrGoingAway) {
			break
		}
		require.Less(t, time.Since(begin), kit.Forever)
	}
	h.dialer.open()
	assert.NoError(t, kit.Await(t, kit.Forever, "publish", published))
	assert.NoError(t, kit.Await(t, kit.Forever, "shutdown", down))
	assert.Equal(t, io.EOF, end.Cause())
}

// A message that was made for another client or stream is refused. A message that was made
// before the server gave a new id is accepted.
func TestRetryMismatch(t *testing.T) {
	var ids atomic.Uint64
	n := &renumberingDelegate{ids: &ids}
	opt := server.NewEndOptions()
	opt.SetDelegate(n)
	h := newEchoServer(t, opt)
	end := newRetry(t, h)
	first := end.ClientID()
	old := end.NewMessage([]byte("old"))
	h.dialer.cut(false)
	for begin := time.Now(); end.Stats().Connections < 2; time.Sleep(time.Millisecond) {
		require.Less(t, time.Since(begin), kit.Forever)
	}
	assert.NotEqual(t, first, end.ClientID())
	assert.NoError(t, end.Publish(kit.Deadline(t), old))
	m := end.NewMessage(nil)
	m.SetClientID(12345)
	assert.Equal(t, geminio.ErrMismatchClientID, end.Publish(kit.Deadline(t), m))
	m = end.NewMessage(nil)
	m.SetStreamID(7)
	assert.Equal(t, geminio.ErrMismatchStreamID, end.Publish(kit.Deadline(t), m))
}

// renumberingDelegate is a delegate that gives every connection a new id.
type renumberingDelegate struct {
	*delegate.UnimplementedDelegate
	ids *atomic.Uint64
}

func (n *renumberingDelegate) GetClientID(uint64, []byte) (uint64, error) { return n.ids.Add(1), nil }

// The callbacks of a lost connection may use the RetryEnd, and wait for the next connection.
func TestRetryCallbacksMayWaitForTheNextConnection(t *testing.T) {
	h := newEchoServer(t)
	r := &reopener{reopened: make(chan error, 10)}
	opt := client.NewEndOptions()
	opt.SetDelegate(r)
	end := newRetry(t, h, opt)
	r.end.Store(&end)
	_, err := end.OpenStream()
	require.NoError(t, err)
	for range 3 {
		h.dialer.cut(false)
		assert.NoError(t, kit.Await(t, kit.Forever, "OpenStream in DialogueOffline", r.reopened))
	}
}

// reopener is a delegate that opens a stream when one is lost.
type reopener struct {
	*delegate.UnimplementedDelegate
	end      atomic.Pointer[*client.RetryEnd]
	reopened chan error
}

func (r *reopener) DialogueOffline(delegate.DialogueDescriber) error {
	if (*r.end.Load()).Cause() != nil {
		return nil
	}
	_, err := (*r.end.Load()).OpenStream()
	r.reopened <- err
	return nil
}

func TestRetryOptionsAreChecked(t *testing.T) {
	for _, opt := range []*client.EndOptions{
		{RetryOptions: client.RetryOptions{RetryMin: -1}}, {RetryOptions: client.RetryOptions{RetryMax: -1}},
		{RetryOptions: client.RetryOptions{MaxWaiting: -1}}, {RetryOptions: client.RetryOptions{MaxWaitingBytes: -1}},
	} {
		_, err := client.NewRetryEndWithDialer(nil, opt)
		require.Error(t, err)
		assert.True(t, strings.HasPrefix(err.Error(), "options: "))
	}
}
