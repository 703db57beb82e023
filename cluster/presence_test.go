package cluster_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/cluster/embed"
	"github.com/singchia/geminio/test/kit"
)

// TestAClientIsAtOneNode connects two clients with the same id to two nodes.
func TestAClientIsAtOneNode(t *testing.T) {
	a, b, c := three(t)
	old := a.dial(7, echo)
	settled(t, 7, a, a, b, c)
	first, err := c.Locate(7)
	require.NoError(t, err)

	entered := make(chan string, 1)
	next := b.dial(7, &geminio.MethodRPC{Method: "echo", RPC: func(context.Context, geminio.Request, geminio.Response) { entered <- "new" }})
	<-geminio.Done(old)
	assert.ErrorIs(t, geminio.Cause(old), geminio.ErrReplaced, "the old node has told its client why")
	settled(t, 7, b, a, b, c)
	second, err := c.Locate(7)
	require.NoError(t, err)
	assert.Greater(t, second.Generation, first.Generation)
	for _, h := range []*host{a, b, c} {
		_, err := h.Call(within(t), 7, "echo", nil)
		require.NoError(t, err)
		assert.Equal(t, "new", <-entered)
		assert.Equal(t, 1, h.Stats().Clients)
	}
	eventually(t, "the old node has dropped the End", func() bool { return a.Stats().LocalClients == 0 })
	assert.Equal(t, uint64(1), a.Stats().Replaced)
	select {
	case <-geminio.Done(next):
		assert.Fail(t, "the end of the old connection has ended the new one")
	default:
	}
}

// TestARetryEndRoams moves a client with a session to another node. Its server keeps the interrupted
// session until the other node has the client.
func TestARetryEndRoams(t *testing.T) {
	a, b, _ := three(t)
	proxy := kit.NewProxy(t, a.addr)
	opt := client.NewEndOptions()
	opt.SetRegisterLocalRPCs(echo)
	opt.SetRetryBackoff(time.Millisecond, 10*time.Millisecond)
	end, err := client.NewRetryEndWithDialer(proxy.Dial, opt)
	require.NoError(t, err)
	t.Cleanup(func() { end.Close() })
	id := end.ClientID()
	settled(t, id, a, a, b)
	old, _ := a.l.End(id)
	proxy.SetTarget(b.addr)
	proxy.CutNear() // for the old node the connection stays open and silent
	settled(t, id, b, a, b)
	<-geminio.Done(old)
	eventually(t, "the old node has released the session", func() bool {
		return a.l.ResumeStats().Interrupted == 0 && a.Stats().LocalClients == 0
	})
	assert.Equal(t, id, end.ClientID())
	resp, err := a.Call(within(t), id, "echo", []byte("x"))
	require.NoError(t, err)
	assert.Equal(t, "x", string(resp.Data))
}

// TestClientsComeAndGo checks that presence has settled after many joins and leaves, and that the
// iterator returns each client once.
func TestClientsComeAndGo(t *testing.T) {
	a, b, c := three(t)
	hosts := []*host{a, b, c}
	var ends []geminio.End
	for i := range 60 {
		ends = append(ends, hosts[i%3].dial(uint64(i+1)))
	}
	for _, h := range hosts {
		eventually(t, "all clients are known", func() bool { return h.Stats().Clients == 60 })
	}
	for i, end := range ends {
		if i%2 == 0 {
			end.Close()
		}
	}
	for _, h := range hosts {
		eventually(t, "half of the clients are known", func() bool { return h.Stats().Clients == 30 })
		seen := make(map[uint64]bool)
		for c := range h.Clients(t.Context()) {
			assert.False(t, seen[c.ID])
			seen[c.ID] = true
			assert.Zero(t, c.ID%2)
		}
		assert.Len(t, seen, 30)
		sum := 0
		for _, n := range h.Nodes() {
			sum += n.Clients
		}
		assert.Equal(t, 30, sum)
	}
}

// TestANodeThatLeavesTakesItsClientsAlong closes a node whose clients stay connected.
func TestANodeThatLeavesTakesItsClientsAlong(t *testing.T) {
	a, b, c := three(t)
	entered := make(chan struct{}, 1)
	a.dial(7, &geminio.MethodRPC{Method: "hangs", RPC: func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
		entered <- struct{}{}
		<-ctx.Done()
	}})
	settled(t, 7, a, b, c)
	called := make(chan error, 1)
	go func() {
		_, err := b.Call(within(t), 7, "hangs", nil)
		called <- err
	}()
	<-entered
	require.NoError(t, a.Close())
	err := <-called
	assert.ErrorIs(t, err, cluster.ErrNodeLost)
	assert.ErrorIs(t, err, geminio.ErrMaybeExecuted)
	n, ok := errors.AsType[*cluster.NodeError](err)
	require.True(t, ok)
	assert.Equal(t, a.ID(), n.Node)
	offline(t, 7, b, c)
	_, err = b.Call(within(t), 7, "hangs", nil)
	assert.Equal(t, cluster.ErrClientOffline, err)
	_, err = a.Call(within(t), 7, "hangs", nil)
	assert.Equal(t, cluster.ErrClosed, err)
	assert.Equal(t, cluster.ErrClosed, a.Attach(b.dial(8)))
	eventually(t, "two nodes are left", func() bool { return b.Stats().Nodes == 2 })
}

// TestShutdownWaitsForWork shuts down a node that executes two calls of another node, over NATS and over a
// direct connection. Their answers arrive.
func TestShutdownWaitsForWork(t *testing.T) {
	s := natsServer(t, embed.Options{})
	b := join(t, connect(t, s), cluster.Options{})
	sizes := []int{1, 200 << 10}
	for id := uint64(1); id <= 5; id++ {
		a := join(t, connect(t, s), cluster.Options{})
		entered, release := make(chan struct{}, len(sizes)), make(chan struct{})
		a.dial(id, &geminio.MethodRPC{Method: "works", RPC: func(_ context.Context, req geminio.Request, resp geminio.Response) {
			entered <- struct{}{}
			<-release
			resp.SetData(req.Data())
		}})
		settled(t, id, a, b)
		called := make(chan error, len(sizes))
		for _, size := range sizes {
			go func() {
				resp, err := b.Call(within(t), id, "works", make([]byte, size))
				if err == nil && len(resp.Data) != size {
					err = errors.New("another answer")
				}
				called <- err
			}()
			<-entered
		}
		down := make(chan error, 1)
		go func() { down <- a.Shutdown(within(t)) }()
		offline(t, id, b)
		assert.Empty(t, down)
		close(release)
		for range sizes {
			require.NoError(t, <-called)
		}
		require.NoError(t, <-down)
	}
}

// TestShutdownOfTheListener shuts down the listener of a node that executes a call. The client of that call
// takes nothing new from any node, and says that it is offline. Meanwhile the other client can move, and the
// node still calls clients of others.
func TestShutdownOfTheListener(t *testing.T) {
	s := natsServer(t, embed.Options{})
	a, b := join(t, connect(t, s), cluster.Options{}), join(t, connect(t, s), cluster.Options{})
	entered, release := make(chan struct{}), make(chan struct{})
	a.dial(7, echo, &geminio.MethodRPC{Method: "works", RPC: func(context.Context, geminio.Request, geminio.Response) {
		close(entered)
		<-release
	}})
	a.dial(8, echo)
	b.dial(9, echo)
	for id := uint64(7); id <= 8; id++ {
		settled(t, id, a, a, b)
	}
	settled(t, 9, b, a)
	called := make(chan error, 1)
	go func() {
		_, err := b.Call(within(t), 7, "works", nil)
		called <- err
	}()
	<-entered
	down := make(chan error, 1)
	go func() { down <- geminio.Shutdown(within(t), a.Listener(a.l)) }()
	offline(t, 8, a, b)
	b.dial(8, echo)
	settled(t, 8, b, a, b)

	for _, at := range []*host{a, b} {
		_, err := at.Call(within(t), 7, "echo", nil)
		assert.Equal(t, cluster.ErrClientOffline, err)
		assert.Equal(t, cluster.ErrClientOffline, at.Publish(within(t), 7, "", nil))
		_, err = at.OpenStream(within(t), 7)
		assert.Equal(t, cluster.ErrClientOffline, err)
		for id := uint64(8); id <= 9; id++ {
			_, err = at.Call(within(t), id, "echo", nil)
			assert.NoError(t, err)
		}
	}
	assert.Empty(t, down)
	close(release)
	assert.NoError(t, <-called)
	assert.NoError(t, <-down)
	assert.NoError(t, a.Shutdown(within(t)))
}

// TestPresenceOutlivesNATS stops the only NATS server, which loses its files, and starts another one.
func TestPresenceOutlivesNATS(t *testing.T) {
	s := natsServer(t, embed.Options{Listen: "127.0.0.1:-1", Dir: t.TempDir()})
	a, b := join(t, connectURL(t, s), cluster.Options{}), join(t, connectURL(t, s), cluster.Options{})
	a.dial(7, echo)
	moving := a.dial(8, echo)
	leaving := a.dial(9, echo)
	settled(t, 9, a, a, b)
	listen := s.Addr()
	s.Close()
	eventually(t, "the nodes notice", func() bool { return !a.Stats().Connected && !b.Stats().Connected })

	_, err := a.Call(within(t), 7, "echo", nil)
	require.NoError(t, err, "local clients continue")
	began := time.Now()
	_, err = b.Call(within(t), 7, "echo", nil)
	assert.ErrorIs(t, err, cluster.ErrNoNATS)
	assert.ErrorIs(t, err, geminio.ErrNotExecuted)
	assert.Less(t, time.Since(began), patience/2)
	_, err = b.Call(within(t), 99, "echo", nil)
	assert.ErrorIs(t, err, cluster.ErrNoNATS)

	// Meanwhile a client moves, one leaves, and one comes.
	b.dial(8, echo)
	leaving.Close()
	b.dial(10, echo)

	natsServer(t, embed.Options{Listen: listen, Dir: t.TempDir()})
	eventually(t, "both nodes have read the bucket anew", func() bool { return a.Stats().Connected && b.Stats().Connected })
	settled(t, 7, a, a, b)
	settled(t, 8, b, a, b)
	settled(t, 10, b, a, b)
	offline(t, 9, a, b)
	<-geminio.Done(moving)
	_, err = b.Call(within(t), 7, "echo", nil)
	require.NoError(t, err)
	eventually(t, "the three clients are known", func() bool { return b.Stats().Clients == 3 && a.Stats().Clients == 3 })
}

// TestEntriesOfALostNodeAreRemoved lets the lease of a node end that does not say so.
func TestEntriesOfALostNodeAreRemoved(t *testing.T) {
	t.Parallel()
	s := natsServer(t, embed.Options{})
	cut := connect(t, s)
	opt := cluster.Options{Lease: time.Second}
	a, b := join(t, cut, opt), join(t, connect(t, s), opt)
	a.dial(7)
	settled(t, 7, a, a, b)
	cut.Close() // from here on the node is alone
	offline(t, 7, b)
	_, err := b.Call(within(t), 7, "echo", nil)
	assert.Equal(t, cluster.ErrClientOffline, err)
	js, err := jetstream.New(b.nc)
	require.NoError(t, err)
	kv, err := js.KeyValue(within(t), "geminio")
	require.NoError(t, err)
	eventually(t, "the entry was removed", func() bool {
		_, err := kv.Get(within(t), "c.7")
		return errors.Is(err, jetstream.ErrKeyNotFound)
	})
}

// TestJoinOfAClosedConnection closes the NATS connection while Join waits for NATS, without a deadline.
func TestJoinOfAClosedConnection(t *testing.T) {
	s := natsServer(t, embed.Options{})
	nc := connect(t, s)
	s.Close()
	joined := kit.Start(func() error {
		_, err := cluster.Join(context.Background(), nc, cluster.Options{Listen: "127.0.0.1:0"})
		return err
	})
	eventually(t, "Join waits", func() bool { return nc.NumSubscriptions() > 0 })
	nc.Close()
	assert.ErrorIs(t, <-joined, cluster.ErrNoNATS)
}

func TestWrongOptions(t *testing.T) {
	nc := connect(t, natsServer(t, embed.Options{}))
	for _, o := range []cluster.Options{
		{Name: "a.b"}, {Name: "a b"}, {Lease: time.Millisecond}, {Lease: -1}, {Replicas: 6}, {Replicas: -1}, {MaxRunning: -1},
		{DirectSize: -1}, {MaxMessageSize: 2 << 30}, {StoreMaxAge: time.Millisecond}, {StoreMaxBytes: 1},
		{Name: strings.Repeat("x", 65)}, {Advertise: "nonsense"},
	} {
		_, err := cluster.Join(t.Context(), nc, o)
		_, isOption := errors.AsType[*cluster.OptionError](err)
		assert.True(t, isOption, "%+v: %v", o, err)
	}
	_, err := cluster.Join(t.Context(), nil, cluster.Options{})
	assert.Error(t, err)
	_, err = cluster.Join(t.Context(), nc, cluster.Options{Listen: "nonsense"})
	assert.Error(t, err)
	n := join(t, nc, cluster.Options{})
	assert.Error(t, n.Attach(nil))
	var none context.Context
	_, err = n.Call(none, 1, "", nil)
	assert.Error(t, err)
	assert.Error(t, n.Shutdown(none))
}

// retry connects a client that reconnects through a proxy, with the method echo.
func retry(t *testing.T, through *kit.Proxy) *client.RetryEnd {
	t.Helper()
	opt := client.NewEndOptions()
	opt.SetRegisterLocalRPCs(echo)
	opt.SetRetryBackoff(time.Millisecond, 10*time.Millisecond)
	end, err := client.NewRetryEndWithDialer(through.Dial, opt)
	require.NoError(t, err)
	t.Cleanup(func() { end.Close() })
	return end.(*client.RetryEnd)
}

// inState waits until all nodes regard a client as one of a node, with a state.
func inState(t *testing.T, id uint64, where *host, state cluster.ClientState, at ...*host) {
	t.Helper()
	for _, h := range at {
		eventually(t, "the node knows the state of the client: "+state.String(), func() bool {
			c, err := h.Locate(id)
			return err == nil && c.Node == where.ID() && c.State == state
		})
	}
}

// TestAnInterruptedClient cuts the connection of a client, whose session its server keeps. A call of
// another node waits until the client is back.
func TestAnInterruptedClient(t *testing.T) {
	a, b, c := three(t)
	proxy := kit.NewProxy(t, a.addr)
	end := retry(t, proxy)
	id := end.ClientID()
	inState(t, id, a, cluster.ClientOnline, a, b, c)
	proxy.SetTarget("")
	proxy.Cut()
	inState(t, id, a, cluster.ClientInterrupted, a, b, c)
	for where := range b.Clients(t.Context()) {
		assert.Equal(t, id, where.ID)
		assert.Equal(t, cluster.ClientInterrupted, where.State)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := b.Call(ctx, id, "echo", nil)
	assert.ErrorIs(t, err, context.DeadlineExceeded)

	called := make(chan error, 2)
	for _, h := range []*host{a, b} {
		go func() {
			resp, err := h.Call(within(t), id, "echo", []byte("x"))
			if err == nil && string(resp.Data) != "x" {
				err = errors.New("another answer")
			}
			called <- err
		}()
	}
	eventually(t, "the node executes the call", func() bool { return a.Stats().Running == 1 })
	assert.Empty(t, called)
	proxy.SetTarget(a.addr)
	for range 2 {
		assert.NoError(t, <-called)
	}
	inState(t, id, a, cluster.ClientOnline, a, b, c)
	assert.Equal(t, uint64(1), end.Stats().Resumes)

	// The session ends without its client.
	proxy.SetTarget("")
	proxy.Cut()
	inState(t, id, a, cluster.ClientInterrupted, a, b, c)
	kept, _ := a.l.End(id)
	kept.Close()
	offline(t, id, a, b, c)
}

// TestAnInterruptionWithoutNATS interrupts a client, and another one resumes its session, while their node
// is not connected to NATS.
func TestAnInterruptionWithoutNATS(t *testing.T) {
	s := natsServer(t, embed.Options{Listen: "127.0.0.1:-1"})
	nc, toNATS := connectProxied(t, s)
	a, b := join(t, nc, cluster.Options{}), join(t, connect(t, s), cluster.Options{})
	first, second := kit.NewProxy(t, a.addr), kit.NewProxy(t, a.addr)
	goes, comes := retry(t, first).ClientID(), retry(t, second).ClientID()
	second.SetTarget("")
	second.Cut()
	inState(t, goes, a, cluster.ClientOnline, b)
	inState(t, comes, a, cluster.ClientInterrupted, b)

	toNATS.SetTarget("")
	toNATS.Cut()
	eventually(t, "the node notices", func() bool { return !a.Stats().Connected })
	first.SetTarget("")
	first.Cut()
	second.SetTarget(a.addr)
	eventually(t, "one session was resumed", func() bool {
		s := a.l.ResumeStats()
		return s.Interruptions == 2 && s.Resumes == 1 && s.Interrupted == 1
	})
	toNATS.SetTarget(s.Addr())
	inState(t, goes, a, cluster.ClientInterrupted, a, b)
	inState(t, comes, a, cluster.ClientOnline, a, b)
}
