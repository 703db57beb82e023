package e2e

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/singchia/go-timer/v2"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
)

// shutdowner is what Ends and Listeners offer beside their interfaces.
type shutdowner interface{ Shutdown(context.Context) error }

// TestShutdownWaits has a call, a message and a stream under way.
func TestShutdownWaits(t *testing.T) {
	p := newPair(t, "tcp", nil, nil)
	entered, release := make(chan struct{}), make(chan struct{})
	mustRegister(t, p.server, "slow", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
		close(entered)
		<-release
		resp.SetData([]byte("done"))
	})
	called := start(func() error {
		resp, err := p.client.Call(deadline(t), "slow", p.client.NewRequest(nil))
		if err == nil && string(resp.Data()) != "done" {
			t.Error("another answer")
		}
		return err
	})
	published := publish(p.client, p.client.NewMessage(nil))
	m := receive(t, p.server)
	a, b := openStream(t, p.client, p.server)
	await(t, forever, "the handler runs", entered)

	down := start(func() error { return p.server.(shutdowner).Shutdown(deadline(t)) })
	// The client notices by a refusal.
	within(t, forever, "new work is refused", func() {
		for {
			s, err := p.client.OpenStream()
			if err != nil {
				require.ErrorIs(t, err, geminio.ErrGoingAway)
				return
			}
			s.Close()
		}
	})
	_, err := p.server.OpenStream()
	require.Equal(t, geminio.ErrGoingAway, err)
	_, err = call(t, p.server, "x", "")
	require.Equal(t, geminio.ErrGoingAway, err)
	require.ErrorIs(t, p.server.Publish(t.Context(), p.server.NewMessage(nil)), geminio.ErrGoingAway)

	// What was under way goes on.
	require.NoError(t, all(
		func() error { return push(a, large()[:1<<20], 0) },
		func() error { return expect(b, large()[:1<<20], 50<<10) },
	))
	require.NoError(t, m.Done())
	require.NoError(t, await(t, forever, "the publish", published))
	require.Empty(t, down)
	close(release)
	require.NoError(t, await(t, forever, "the call", called))
	require.NoError(t, await(t, time.Second, "Shutdown", down))
	_, err = p.client.AcceptStream()
	require.Equal(t, io.EOF, err)
	require.NoError(t, p.server.(shutdowner).Shutdown(t.Context()), "again")
	require.NoError(t, p.server.Close())
}

func TestShutdownIsCutShort(t *testing.T) {
	p := newPair(t, "tcp", nil, nil)
	mustRegister(t, p.server, "hang", hang)
	c, err := p.client.CallAsync(t.Context(), "hang", p.client.NewRequest(nil), nil)
	require.NoError(t, err)
	openStream(t, p.server, p.client)
	ctx, cancel := context.WithCancel(t.Context())
	down := start(func() error { return p.server.(shutdowner).Shutdown(ctx) })
	cancel()
	require.Equal(t, context.Canceled, await(t, time.Second, "Shutdown", down))
	require.ErrorIs(t, await(t, time.Second, "the call", c.Done).Error, geminio.ErrMaybeExecuted)
}

func TestShutdownOfIdle(t *testing.T) {
	p := newPair(t, "tcp", nil, nil)
	var work []func() error
	for range 5 {
		work = append(work, func() error { return p.client.(shutdowner).Shutdown(context.Background()) })
		work = append(work, func() error { return p.server.(shutdowner).Shutdown(context.Background()) })
	}
	within(t, time.Second, "Shutdown", func() { require.NoError(t, all(work...)) })
}

func TestCloseIsIdempotent(t *testing.T) {
	for _, network := range networks {
		p := newPair(t, network, nil, nil)
		a, b := openStream(t, p.client, p.server)
		var wg sync.WaitGroup
		for range 10 {
			for _, c := range []io.Closer{p.client, p.server, a, b} {
				wg.Go(func() {
					if err := c.Close(); err != nil {
						t.Error(err)
					}
				})
			}
		}
		within(t, time.Second, "all return", wg.Wait)
		require.NoError(t, p.client.Close())
	}
}

// TestSilentClients connects many that say nothing, and then a good one.
func TestSilentClients(t *testing.T) {
	l, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for i := range 1000 {
		nc, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		defer nc.Close()
		switch i % 4 {
		case 1:
			nc.Write([]byte{1, 1}) // and no more
		case 2:
			nc.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		case 3:
			nc.Close()
		}
	}
	accepted := make(chan geminio.End, 1)
	go func() {
		e, err := l.AcceptEnd()
		if err != nil {
			t.Error(err)
		}
		accepted <- e
	}()
	within(t, time.Second, "a good one gets in", func() {
		c, err := client.NewEnd("tcp", l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		s := <-accepted
		require.Equal(t, c.ClientID(), s.ClientID())
		s.Close()
	})
	within(t, time.Second, "Close", func() { require.NoError(t, l.Close()) })
}

func TestListenerClose(t *testing.T) {
	l, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c, err := client.NewEnd("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	nc, err := l.Accept()
	require.NoError(t, err)
	s := nc.(geminio.End)
	defer s.Close()
	blocked := start(func() error { _, err := l.AcceptEnd(); return err })

	within(t, time.Second, "Close", func() { require.NoError(t, l.Close()) })
	require.Equal(t, net.ErrClosed, await(t, time.Second, "AcceptEnd", blocked))
	require.NoError(t, l.Close(), "again")
	_, err = l.Accept()
	require.Equal(t, net.ErrClosed, err)
	_, err = client.NewEnd("tcp", l.Addr().String())
	require.Error(t, err)

	// The Ends that were handed out go on.
	mustRegister(t, s, "echo", echo)
	mustCall(t, c, "echo", "")
}

// TestListenerCloseOfWaiting closes the Ends that were not handed out.
func TestListenerCloseOfWaiting(t *testing.T) {
	l, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var waiting []geminio.End
	for range 5 {
		c, err := client.NewEnd("tcp", l.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		waiting = append(waiting, c)
	}
	within(t, time.Second, "Close", func() { require.NoError(t, l.Close()) })
	for _, c := range waiting {
		_, err := c.AcceptStream()
		require.Equal(t, io.EOF, err)
	}
}

func TestListenerShutdown(t *testing.T) {
	so := server.NewEndOptions()
	entered := make(chan struct{}, 10)
	release := make(chan struct{})
	so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "slow", RPC: func(context.Context, geminio.Request, geminio.Response) {
		entered <- struct{}{}
		<-release
	}})
	l, err := server.Listen("tcp", "127.0.0.1:0", so)
	require.NoError(t, err)
	var calls []<-chan *geminio.Call
	for range 4 {
		c, err := client.NewEnd("tcp", l.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		_, err = l.AcceptEnd()
		require.NoError(t, err)
		call, err := c.CallAsync(t.Context(), "slow", c.NewRequest(nil), nil)
		require.NoError(t, err)
		calls = append(calls, call.Done)
	}
	for range calls {
		await(t, forever, "a handler runs", entered)
	}
	idle, err := client.NewEnd("tcp", l.Addr().String()) // is not handed out
	require.NoError(t, err)
	defer idle.Close()
	down := start(func() error { return l.(shutdowner).Shutdown(deadline(t)) })
	_, err = l.AcceptEnd()
	for err == nil {
		_, err = l.AcceptEnd()
	}
	require.Equal(t, net.ErrClosed, err)
	require.Empty(t, down)
	close(release)
	for _, done := range calls {
		require.NoError(t, await(t, forever, "a call", done).Error)
	}
	require.NoError(t, await(t, time.Second, "Shutdown", down))
	_, err = idle.AcceptStream()
	require.Equal(t, io.EOF, err)
}

func TestNilAndZeroOptions(t *testing.T) {
	for _, co := range []*client.EndOptions{nil, {}, client.NewEndOptions()} {
		for _, so := range []*server.EndOptions{nil, {}, server.NewEndOptions()} {
			p := newPair(t, "tcp", co, so)
			mustRegister(t, p.server, "echo", echo)
			require.Equal(t, "x", mustCall(t, p.client, "echo", "x"))
		}
	}
	p := newPair(t, "tcp", nil, nil)
	_, err := p.client.OpenStream(nil, options.OpenStream(), nil)
	require.NoError(t, err)
	require.NotNil(t, p.client.NewRequest(nil, nil, options.NewRequest()))
	require.NotNil(t, p.client.NewMessage(nil, nil, options.NewMessage()))
	require.NoError(t, p.client.Hijack(func(_ context.Context, _ string, _ geminio.Request, _ geminio.Response) {}, nil))
}

func TestOptionsMerge(t *testing.T) {
	one, two := client.NewEndOptions(), client.NewEndOptions()
	one.SetMeta([]byte("one"))
	one.SetClientID(1)
	one.SetBufferSize(8, 16)
	one.SetMaxStreams(10)
	two.SetMeta([]byte("two"))
	two.SetBufferSize(32, 0)
	m := client.MergeEndOptions(one, nil, two)
	require.Equal(t, "two", string(m.Meta))
	require.EqualValues(t, 1, *m.ClientID)
	require.Equal(t, 32, m.ReadBufferSize)
	require.Equal(t, 16, m.WriteBufferSize)
	require.Equal(t, 10, m.MaxStreams)
	require.Equal(t, "one", string(one.Meta))
	p := newPair(t, "tcp", m, nil)
	require.Equal(t, "two", string(p.server.Meta()))
	require.EqualValues(t, 1, p.server.ClientID())

	bad := client.NewEndOptions()
	bad.SetMaxStreams(-1)
	_, err := client.NewEnd("tcp", "127.0.0.1:1", bad)
	require.ErrorContains(t, err, "MaxStreams")
}

// TestTimer has the timeouts kept by a timer of the user, which serves several
// Ends and outlives them.
func TestTimer(t *testing.T) {
	tm := timer.NewTimer()
	t.Cleanup(tm.Close)
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetTimer(tm)
	so.SetTimer(tm)
	for range 3 {
		p := newPair(t, "tcp", co, so)
		mustRegister(t, p.server, "hang", hang)
		mustRegister(t, p.server, "echo", echo)
		opt := options.Call()
		opt.SetTimeout(50 * time.Millisecond)
		done := start(func() error { _, err := call(t, p.client, "hang", "", opt); return err })
		require.ErrorIs(t, await(t, time.Second, "the call", done), context.DeadlineExceeded)
		mustCall(t, p.client, "echo", "")
		p.close()
	}
}
