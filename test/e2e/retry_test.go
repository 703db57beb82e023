package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
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

// breakableDialer dials a server. A test can break its connections, and can make further
// dials fail.
type breakableDialer struct {
	address string

	mu     sync.Mutex
	conns  []net.Conn
	closed bool
	dials  int
}

var errDialerClosed = errors.New("the dialer is closed")

// dial is a client.Dialer.
func (l *breakableDialer) dial() (net.Conn, error) {
	l.mu.Lock()
	closed, address := l.closed, l.address
	l.dials++
	l.mu.Unlock()
	if closed {
		return nil, errDialerClosed
	}
	nc, err := kit.Dial(address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		nc.Close()
		return nil, errDialerClosed
	}
	l.conns = append(l.conns, nc)
	return nc, nil
}

// cut breaks all connections. If close is true, dials fail until open is called.
func (l *breakableDialer) cut(close bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = close
	for _, nc := range l.conns {
		if t, ok := nc.(*net.TCPConn); ok {
			t.SetLinger(0)
		}
		nc.Close()
	}
	l.conns = nil
}

// open makes dials succeed again after cut has closed the dialer.
func (l *breakableDialer) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = false
}

// testServer is a server that runs a function for each End that it accepts.
type testServer struct {
	l      server.Listener
	dialer *breakableDialer

	mu   sync.Mutex
	ends []geminio.End
	wg   sync.WaitGroup
}

func newTestServer(t testing.TB, serve func(geminio.End), opts ...*server.EndOptions) *testServer {
	l := listen(t, opts...)
	h := &testServer{l: l, dialer: &breakableDialer{address: l.Addr().String()}}
	h.wg.Go(func() {
		for {
			end, err := l.AcceptEnd()
			if err != nil {
				return
			}
			h.mu.Lock()
			h.ends = append(h.ends, end)
			h.mu.Unlock()
			if serve != nil {
				h.wg.Go(func() { serve(end) })
			}
		}
	})
	t.Cleanup(h.close)
	return h
}

func (h *testServer) close() {
	h.l.Close()
	h.mu.Lock()
	ends := h.ends
	h.mu.Unlock()
	for _, e := range ends {
		e.Close()
	}
	h.wg.Wait()
}

// last returns the End that was accepted last.
func (h *testServer) last() geminio.End {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ends[len(h.ends)-1]
}

// fastRetry returns options of a RetryEnd with a short back-off, which makes a fresh
// connection after each cut. The tests of resumed sessions set SetResumeKeep again.
func fastRetry() *client.EndOptions {
	opt := client.NewEndOptions()
	opt.SetResumeKeep(0)
	opt.SetRetryBackoff(time.Millisecond, 20*time.Millisecond)
	return opt
}

// newRetry returns a RetryEnd to h, which is closed when the test ends.
func newRetry(t testing.TB, h *testServer, opts ...*client.EndOptions) *client.RetryEnd {
	end, err := client.NewRetryEndWithDialer(h.dialer.dial, append([]*client.EndOptions{fastRetry()}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { end.Close() })
	return end.(*client.RetryEnd)
}

// connLog is a delegate of either side that records its calls.
type connLog struct {
	*delegate.UnimplementedDelegate

	mu      sync.Mutex
	notes   []string
	changed chan struct{}
}

func newConnLog() *connLog { return &connLog{changed: make(chan struct{})} }

func (d *connLog) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notes = append(d.notes, fmt.Sprintf(format, args...))
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *connLog) ConnOnline(delegate.ConnDescriber) error  { d.note("online"); return nil }
func (d *connLog) ConnOffline(delegate.ConnDescriber) error { d.note("offline"); return nil }
func (d *connLog) EndReOnline(delegate.ClientDescriber)     { d.note("again") }

// wait returns all notes once there are at least n.
func (d *connLog) wait(t testing.TB, n int) []string {
	t.Helper()
	timer := time.NewTimer(kit.Forever)
	defer timer.Stop()
	for {
		d.mu.Lock()
		notes, news := d.notes, d.changed
		d.mu.Unlock()
		if len(notes) >= n {
			return notes
		}
		select {
		case <-news:
		case <-timer.C:
			t.Fatalf("the delegate was called for %q, want %d calls", notes, n)
		}
	}
}

func TestRetryFirstErrorIsReturned(t *testing.T) {
	_, err := client.NewRetryEndWithDialer(func() (net.Conn, error) { return nil, errDialerClosed })
	assert.Equal(t, errDialerClosed, err)
}

// All kinds of operations of a RetryEnd continue over a cut.
func TestRetryGoesOn(t *testing.T) {
	received := make(chan string, 10)
	h := newTestServer(t, func(end geminio.End) {
		end.Register(context.Background(), "echo", rig.Echo)
		for {
			m, err := end.Receive(context.Background())
			if err != nil {
				return
			}
			received <- string(m.Data())
			m.Done()
		}
	})
	d := newConnLog()
	opt := client.NewEndOptions()
	opt.SetDelegate(d)
	opt.SetWaitRemoteRPCs("echo")
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "first", RPC: rig.Echo})
	end := newRetry(t, h, opt)
	ctx := kit.Deadline(t)
	require.NoError(t, end.Register(ctx, "later", rig.Echo))
	require.NoError(t, end.Hijack(echoHijack, hijackMatching("^any")))
	id := end.ClientID()
	req, msg := end.NewRequest([]byte("before")), end.NewMessage([]byte("before"))

	for round := range 5 {
		h.dialer.cut(false)
		d.wait(t, 1+3*(round+1))
		assert.Equal(t, id, end.ClientID())

		resp, err := end.Call(ctx, "echo", end.NewRequest([]byte("hello")))
		require.NoError(t, err)
		assert.Equal(t, "hello", string(resp.Data()))

		peer := h.last()
		assert.Equal(t, id, peer.ClientID())
		for _, method := range []string{"first", "later", "anything"} {
			resp, err := peer.Call(ctx, method, peer.NewRequest([]byte(method)))
			require.NoError(t, err, method)
			assert.Equal(t, method, string(resp.Data()))
		}

		require.NoError(t, end.Publish(ctx, end.NewMessage([]byte("message"))))
		assert.Equal(t, "message", kit.Await(t, kit.Forever, "receive", received))

		s, err := end.OpenStream()
		require.NoError(t, err)
		other, err := peer.AcceptStream()
		require.NoError(t, err)
		_, err = io.WriteString(s, "x")
		require.NoError(t, err)
		_, err = io.ReadFull(other, make([]byte, 1))
		require.NoError(t, err)

		_, err = peer.OpenStream()
		require.NoError(t, err)
		_, err = end.AcceptStream()
		require.NoError(t, err)
		assert.Len(t, end.ListStreams(), 3)
	}
	resp, err := end.Call(ctx, "echo", req)
	require.NoError(t, err)
	assert.Equal(t, "before", string(resp.Data()))
	require.NoError(t, end.Publish(ctx, msg))
	assert.Equal(t, "before", kit.Await(t, kit.Forever, "receive", received))

	require.NoError(t, end.Close())
	_, err = end.Call(ctx, "echo", end.NewRequest(nil))
	assert.Equal(t, io.EOF, err)
	assert.Equal(t, io.EOF, end.Publish(ctx, end.NewMessage(nil)))
	assert.Equal(t, io.EOF, end.Register(ctx, "m", rig.Echo))
	_, err = end.OpenStream()
	assert.Equal(t, io.EOF, err)
	_, err = end.Receive(ctx)
	assert.Equal(t, io.EOF, err)
	_, err = end.AcceptStream()
	assert.Equal(t, io.EOF, err)
	_, err = end.Read(make([]byte, 1))
	assert.Equal(t, io.EOF, err)
	_, err = end.Write(make([]byte, 1))
	assert.ErrorIs(t, err, net.ErrClosed)
	notes := d.wait(t, 1+3*5+1)
	want := []string{"online"}
	for range 5 {
		want = append(want, "offline", "online", "again")
	}
	assert.Equal(t, append(want, "offline"), notes)
}

func echoHijack(_ context.Context, _ string, req geminio.Request, resp geminio.Response) {
	resp.SetData(req.Data())
}

func hijackMatching(pattern string) *options.HijackOptions {
	opt := options.Hijack()
	opt.SetMatch(true, pattern)
	return opt
}
