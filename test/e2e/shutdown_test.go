package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// TestShutdownWaits shuts down while a call, a message and a stream are in flight. Shutdown
// waits for them.
func TestShutdownWaits(t *testing.T) {
	p := rig.NewPair(t, "tcp", nil, nil)
	entered, release := make(chan struct{}), make(chan struct{})
	mustRegister(t, p.Server, "slow", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
		close(entered)
		<-release
		resp.SetData([]byte("done"))
	})
	called := kit.Start(func() error {
		resp, err := p.Client.Call(kit.Deadline(t), "slow", p.Client.NewRequest(nil))
		if err == nil && string(resp.Data()) != "done" {
			t.Error("the call returned another response")
		}
		return err
	})
	published := publish(p.Client, p.Client.NewMessage(nil))
	m := receive(t, p.Server)
	a, b := rig.OpenStream(t, p.Client, p.Server)
	kit.Await(t, kit.Forever, "the start of the handler", entered)

	down := kit.Start(func() error { return geminio.Shutdown(kit.Deadline(t), p.Server) })
	// The client notices the shutdown when a call is refused.
	kit.Within(t, kit.Forever, "the refusal of a new call", func() {
		for {
			s, err := p.Client.OpenStream()
			if err != nil {
				require.ErrorIs(t, err, geminio.ErrGoingAway)
				return
			}
			s.Close()
		}
	})
	_, err := p.Server.OpenStream()
	require.Equal(t, geminio.ErrGoingAway, err)
	_, err = call(t, p.Server, "x", "")
	require.Equal(t, geminio.ErrGoingAway, err)
	require.ErrorIs(t, p.Server.Publish(t.Context(), p.Server.NewMessage(nil)), geminio.ErrGoingAway)

	// The operations in flight continue.
	require.NoError(t, all(
		func() error { return push(a, large()[:1<<20], 0) },
		func() error { return expect(b, large()[:1<<20], 50<<10) },
	))
	require.NoError(t, m.Done())
	require.NoError(t, kit.Await(t, kit.Forever, "the publish", published))
	require.Empty(t, down)
	close(release)
	require.NoError(t, kit.Await(t, kit.Forever, "the call", called))
	require.NoError(t, kit.Await(t, promptly, "Shutdown", down))
	_, err = p.Client.AcceptStream()
	require.Equal(t, io.EOF, err)
	require.NoError(t, geminio.Shutdown(t.Context(), p.Server), "the second Shutdown")
	require.NoError(t, p.Server.Close())
}

func TestShutdownIsCutShort(t *testing.T) {
	p := rig.NewPair(t, "tcp", nil, nil)
	mustRegister(t, p.Server, "hang", rig.Hang)
	c, err := p.Client.CallAsync(t.Context(), "hang", p.Client.NewRequest(nil), nil)
	require.NoError(t, err)
	rig.OpenStream(t, p.Server, p.Client)
	ctx, cancel := context.WithCancel(t.Context())
	down := kit.Start(func() error { return geminio.Shutdown(ctx, p.Server) })
	cancel()
	require.Equal(t, context.Canceled, kit.Await(t, promptly, "Shutdown", down))
	require.ErrorIs(t, kit.Await(t, promptly, "the call", c.Done).Error, geminio.ErrMaybeExecuted)
}

func TestShutdownOfIdle(t *testing.T) {
	p := rig.NewPair(t, "tcp", nil, nil)
	var work []func() error
	for range 5 {
		work = append(work, func() error { return geminio.Shutdown(context.Background(), p.Client) })
		work = append(work, func() error { return geminio.Shutdown(context.Background(), p.Server) })
	}
	kit.Within(t, promptly, "Shutdown", func() { require.NoError(t, all(work...)) })
}

func TestCloseIsIdempotent(t *testing.T) {
	for _, network := range kit.Networks() {
		p := rig.NewPair(t, network, nil, nil)
		a, b := rig.OpenStream(t, p.Client, p.Server)
		var wg sync.WaitGroup
		for range 10 {
			for _, c := range []io.Closer{p.Client, p.Server, a, b} {
				wg.Go(func() {
					if err := c.Close(); err != nil {
						t.Error(err)
					}
				})
			}
		}
		kit.Within(t, promptly, "the return of all operations", wg.Wait)
		require.NoError(t, p.Client.Close())
	}
}

// TestSilentClients connects clients that send nothing, and then one that completes the
// handshake.
func TestSilentClients(t *testing.T) {
	l := listen(t)
	defer l.Close()
	for i := range 1000 {
		nc, err := kit.DialRaw(l.Addr().String())
		require.NoError(t, err)
		defer nc.Close()
		switch i % 4 {
		case 1:
			nc.Write([]byte{1, 1}) // and nothing more
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
	kit.Within(t, promptly, "the handshake of the other client", func() {
		c, err := dial(l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		s := <-accepted
		require.Equal(t, c.ClientID(), s.ClientID())
		s.Close()
	})
	kit.Within(t, promptly, "Close", func() { require.NoError(t, l.Close()) })
}

func TestListenerClose(t *testing.T) {
	l := listen(t)
	c, err := dial(l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	nc, err := l.Accept()
	require.NoError(t, err)
	s := nc.(geminio.End)
	defer s.Close()
	blocked := kit.Start(func() error { _, err := l.AcceptEnd(); return err })

	kit.Within(t, promptly, "Close", func() { require.NoError(t, l.Close()) })
	require.Equal(t, net.ErrClosed, kit.Await(t, promptly, "AcceptEnd", blocked))
	require.NoError(t, l.Close(), "the second Close")
	_, err = l.Accept()
	require.Equal(t, net.ErrClosed, err)
	_, err = dial(l.Addr().String())
	require.Error(t, err)

	// The Ends that AcceptEnd has returned continue.
	mustRegister(t, s, "echo", rig.Echo)
	mustCall(t, c, "echo", "")
}

// TestListenerCloseOfWaiting requires that Close of a listener closes the Ends that AcceptEnd
// has not returned.
func TestListenerCloseOfWaiting(t *testing.T) {
	l := listen(t)
	var waiting []geminio.End
	for range 5 {
		c, err := dial(l.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		waiting = append(waiting, c)
	}
	kit.Within(t, promptly, "Close", func() { require.NoError(t, l.Close()) })
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
	l := listen(t, so)
	var calls []<-chan *geminio.Call
	for range 4 {
		c, err := dial(l.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		_, err = l.AcceptEnd()
		require.NoError(t, err)
		call, err := c.CallAsync(t.Context(), "slow", c.NewRequest(nil), nil)
		require.NoError(t, err)
		calls = append(calls, call.Done)
	}
	for range calls {
		kit.Await(t, kit.Forever, "the start of a handler", entered)
	}
	idle, err := dial(l.Addr().String()) // AcceptEnd does not return its End
	require.NoError(t, err)
	defer idle.Close()
	down := kit.Start(func() error { return geminio.Shutdown(kit.Deadline(t), l) })
	_, err = l.AcceptEnd()
	for err == nil {
		_, err = l.AcceptEnd()
	}
	require.Equal(t, net.ErrClosed, err)
	require.Empty(t, down)
	close(release)
	for _, done := range calls {
		require.NoError(t, kit.Await(t, kit.Forever, "a call", done).Error)
	}
	require.NoError(t, kit.Await(t, promptly, "Shutdown", down))
	_, err = idle.AcceptStream()
	require.Equal(t, io.EOF, err)
}

func TestNilAndZeroOptions(t *testing.T) {
	for _, co := range []*client.EndOptions{nil, {}, client.NewEndOptions()} {
		for _, so := range []*server.EndOptions{nil, {}, server.NewEndOptions()} {
			p := rig.NewPair(t, "tcp", co, so)
			mustRegister(t, p.Server, "echo", rig.Echo)
			require.Equal(t, "x", mustCall(t, p.Client, "echo", "x"))
		}
	}
	p := rig.NewPair(t, "tcp", nil, nil)
	_, err := p.Client.OpenStream(nil, options.OpenStream(), nil)
	require.NoError(t, err)
	require.NotNil(t, p.Client.NewRequest(nil, nil, options.NewRequest()))
	require.NotNil(t, p.Client.NewMessage(nil, nil, options.NewMessage()))
	require.NoError(t, p.Client.Hijack(func(_ context.Context, _ string, _ geminio.Request, _ geminio.Response) {}, nil))
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
	p := rig.NewPair(t, "tcp", m, nil)
	require.Equal(t, "two", string(p.Server.Meta()))
	require.EqualValues(t, 1, p.Server.ClientID())

	bad := client.NewEndOptions()
	bad.SetMaxStreams(-1)
	_, err := client.NewEnd("tcp", "127.0.0.1:1", bad)
	require.ErrorContains(t, err, "MaxStreams")
}

// TestShutdownAfterStreams shuts down while the last frames of streams that were closed or
// refused are in flight.
func TestShutdownAfterStreams(t *testing.T) {
	for _, side := range []string{"client", "server"} {
		for _, closer := range []string{"opener", "acceptor", "both", "nobody: refused"} {
			t.Run(side+" opens, closed by "+closer, func(t *testing.T) {
				so, co := server.NewEndOptions(), client.NewEndOptions()
				if closer == "nobody: refused" {
					so.SetDelegate(streamRefuser{})
					co.SetDelegate(streamRefuser{})
				}
				for range 20 {
					p := rig.NewPair(t, "tcp", co, so)
					end, peer := p.Client, p.Server
					if side == "server" {
						end, peer = peer, end
					}
					s, err := end.OpenStream()
					if closer == "nobody: refused" {
						require.Error(t, err)
					} else {
						require.NoError(t, err)
						other, err := peer.AcceptStream()
						require.NoError(t, err)
						if closer != "acceptor" {
							require.NoError(t, s.Close())
						}
						if closer != "opener" {
							require.NoError(t, other.Close())
						}
					}
					require.NoError(t, geminio.Shutdown(kit.Deadline(t), end))
					p.Close()
				}
			})
		}
	}
}

// streamRefuser is a delegate that refuses all streams.
type streamRefuser struct {
	*delegate.UnimplementedDelegate
}

func (streamRefuser) DialogueOnline(delegate.DialogueDescriber) error {
	return errors.New("no streams")
}
