package cluster_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/cluster/embed"
	"github.com/singchia/geminio/inspect"
)

// paired waits until the numbers of some nodes, which are the whole cluster, pair off: nothing waits or
// runs, each request was executed, and each byte of a direct connection has arrived.
func paired(t *testing.T, nodes ...*host) {
	t.Helper()
	eventually(t, "the numbers pair off", func() bool {
		var remote, executed, sent, received uint64
		made, accepted, busy := 0, 0, 0
		for _, h := range nodes {
			s := h.Stats()
			remote, executed = remote+s.Remote, executed+s.Executed
			sent, received = sent+s.LinkSent, received+s.LinkReceived
			made, accepted, busy = made+s.Links, accepted+s.AcceptedLinks, busy+s.Waiting+s.Running+s.Streams+s.Queue
		}
		return busy == 0 && remote == executed && sent == received && made == accepted
	})
}

// TestNumbersPairOff makes operations of all kinds, and looks at the numbers meanwhile and after that.
func TestNumbersPairOff(t *testing.T) {
	a, b, c := three(t)
	release := make(chan struct{})
	a.dial(7, echo,
		&geminio.MethodRPC{Method: "hang", RPC: func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
			select {
			case <-release:
			case <-ctx.Done():
			}
		}},
		&geminio.MethodRPC{Method: "fail", RPC: func(_ context.Context, _ geminio.Request, resp geminio.Response) {
			resp.SetError(&geminio.RemoteError{Code: 1234, Text: "no"})
		}})
	settled(t, 7, a, a, b, c)
	assert.Equal(t, 3, b.Stats().Nodes)
	assert.Equal(t, 1, b.Stats().Clients)
	assert.Equal(t, 1, b.Stats().Entries)

	small, large := []byte("x"), make([]byte, 200<<10)
	for _, data := range [][]byte{small, large} {
		_, err := b.Call(within(t), 7, "echo", data)
		require.NoError(t, err)
	}
	_, err := a.Call(within(t), 7, "echo", small)
	require.NoError(t, err)
	_, err = b.Call(within(t), 7, "fail", small)
	require.Error(t, err)
	_, err = b.Call(within(t), 8, "echo", small)
	require.ErrorIs(t, err, cluster.ErrClientOffline)
	require.NoError(t, b.JoinGroup(within(t), 7, "room"))
	eventually(t, "the node of the member knows it", func() bool { return len(a.Members("room")) == 1 })
	got, err := b.Broadcast(within(t), "room", "said", small)
	require.NoError(t, err)
	assert.Equal(t, 1, got.Reached)
	assert.Equal(t, uint64(4), b.Stats().Remote)
	assert.Equal(t, uint64(1), b.Stats().Lookups)
	assert.Equal(t, uint64(4), a.Stats().Executed)
	assert.Equal(t, uint64(1), a.Stats().Local)
	assert.Zero(t, b.Stats().Failed, "an error of the handler is an answer")
	paired(t, a, b, c)
	assert.Equal(t, 1, b.Stats().Links)
	assert.Greater(t, b.Stats().LinkSent, uint64(len(large)))
	assert.NotZero(t, b.Stats().NATSSent)
	assert.NotZero(t, b.Stats().NATSReceived)

	// A call over each way is under way, and a stream is open.
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for _, data := range [][]byte{small, large} {
		go func() {
			_, err := b.Call(ctx, 7, "hang", data)
			ended <- err
		}()
	}
	s, err := b.OpenStream(within(t), 7)
	require.NoError(t, err)
	eventually(t, "two calls and a stream are under way", func() bool {
		s := a.Stats()
		return s.Running == 2 && s.Streams == 1 && b.Stats().Waiting == 2
	})
	cancel()
	for range 2 {
		assert.ErrorIs(t, <-ended, context.Canceled)
	}
	assert.Equal(t, uint64(2), b.Stats().Failed)
	require.NoError(t, s.Close())
	close(release)
	paired(t, a, b, c)
	assert.Equal(t, uint64(7), b.Stats().Remote)
}

// TestRefusedRequestsAreCounted has a node refuse a request.
func TestRefusedRequestsAreCounted(t *testing.T) {
	s := natsServer(t, embed.Options{})
	a, b := join(t, connect(t, s), cluster.Options{MaxRunning: 1}), join(t, connect(t, s), cluster.Options{})
	release := make(chan struct{})
	a.dial(7, &geminio.MethodRPC{Method: "hang", RPC: func(context.Context, geminio.Request, geminio.Response) { <-release }})
	settled(t, 7, a, b)
	ended := make(chan error, 1)
	go func() {
		_, err := b.Call(within(t), 7, "hang", nil)
		ended <- err
	}()
	eventually(t, "the call runs", func() bool { return a.Stats().Running == 1 })
	_, err := b.Call(within(t), 7, "hang", nil)
	assert.Equal(t, geminio.CodeLimit, geminio.CodeOf(err))
	assert.Equal(t, uint64(1), a.Stats().Refused)
	assert.Equal(t, uint64(1), a.Stats().Executed)
	close(release)
	require.NoError(t, <-ended)
}

// TestLeaseAndReconnects checks the numbers of the lease, of lost nodes and of the NATS connection.
func TestLeaseAndReconnects(t *testing.T) {
	s := natsServer(t, embed.Options{})
	const lease = 2 * time.Second
	a, b := join(t, connect(t, s), cluster.Options{}), join(t, connect(t, s), cluster.Options{})
	require.NoError(t, b.Close())
	eventually(t, "the node has left", func() bool { return a.Stats().Nodes == 1 })
	assert.Zero(t, a.Stats().NodesLost, "it was not lost")

	require.NoError(t, a.conn().ForceReconnect())
	eventually(t, "the node is connected again", func() bool { return a.Stats().Reconnects == 1 && a.Stats().Connected })

	c := join(t, connect(t, s), cluster.Options{Lease: lease})
	assert.Equal(t, lease, c.Stats().Lease)
	var last time.Duration
	eventually(t, "the lease is renewed", func() bool {
		age := c.Stats().LeaseAge
		renewed := age < last
		last = age
		return renewed
	})
	eventually(t, "both nodes know each other", func() bool { return a.Stats().Nodes == 2 })
	c.conn().Close() // as if its process had been killed
	eventually(t, "the node is lost", func() bool { return a.Stats().Nodes == 1 && a.Stats().NodesLost > 0 })
	eventually(t, "the lease is over", func() bool { return c.Stats().LeaseAge > lease })
	assert.False(t, c.Stats().Connected)
}

// node returns what a node knows of another one.
func (h *host) node(id string) (found cluster.NodeInfo) {
	for _, n := range h.Nodes() {
		if n.ID == id {
			found = n
		}
	}
	return found
}

// TestNodesKnowEachOther checks what a node knows of the others.
func TestNodesKnowEachOther(t *testing.T) {
	s := natsServer(t, embed.Options{})
	a, b := join(t, connect(t, s), cluster.Options{Host: "a", Lease: 9 * time.Second}), join(t, connect(t, s), cluster.Options{Host: "b"})
	release := make(chan struct{})
	end := a.dial(7, &geminio.MethodRPC{Method: "hang", RPC: func(context.Context, geminio.Request, geminio.Response) { <-release }})
	settled(t, 7, a, a, b)
	ended := make(chan error, 1)
	go func() {
		_, err := b.Call(within(t), 7, "hang", make([]byte, 200<<10))
		ended <- err
	}()
	eventually(t, "the lease tells that a call runs", func() bool { return b.node(a.ID()).Load.Running == 1 })
	n := b.node(a.ID())
	assert.Equal(t, "a", n.Host)
	assert.Equal(t, a.linkAddr(), n.Addr)
	assert.Equal(t, 1, n.Clients)
	assert.Equal(t, uint64(1), n.Load.Executed)
	assert.Equal(t, 9*time.Second, n.Lease)
	if assert.NotNil(t, n.Link) {
		assert.Greater(t, n.Link.Sent.Bytes, uint64(200<<10))
	}
	assert.Equal(t, 1, b.node(b.ID()).Load.Waiting, "of the node itself at once")
	assert.Nil(t, b.node(b.ID()).Link)
	before := n.Renewed
	eventually(t, "the renewal of the lease", func() bool { return b.node(a.ID()).Renewed.After(before) })

	stopped := make(chan error, 1)
	go func() { stopped <- a.Shutdown(within(t)) }()
	eventually(t, "the node is leaving", func() bool { return b.node(a.ID()).Leaving })
	assert.Equal(t, 1, b.Stats().Nodes)
	close(release)
	require.NoError(t, <-ended)
	require.NoError(t, <-stopped)
	eventually(t, "the node has left", func() bool { return len(b.Nodes()) == 1 })
	end.Close()
}

// TestInspectorOfANode has the inspector show a node, and find a client of another one.
func TestInspectorOfANode(t *testing.T) {
	a, b, _ := three(t)
	a.dial(7)
	b.dial(17)
	settled(t, 7, a, a, b)
	settled(t, 17, b, a, b)
	h := &inspect.Handler{Cluster: b}
	page := func(path string, v any) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/geminio/"+path, nil))
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), v))
	}
	var nodes inspect.ClusterPage
	page("cluster?format=json", &nodes)
	assert.Equal(t, b.ID(), nodes.Node)
	assert.Equal(t, 2, nodes.Stats.Clients)
	assert.Len(t, nodes.Nodes.Rows, 3)
	var clients inspect.Page[inspect.Client]
	page("clients?format=json&clients.q=7", &clients)
	require.Len(t, clients.Rows, 2)
	assert.Equal(t, uint64(7), clients.Rows[0].ID)
	assert.Equal(t, a.ID(), clients.Rows[0].Node)
	assert.False(t, clients.Rows[0].Local)
	assert.True(t, clients.Rows[1].Local)
	page("clients?format=json&node="+a.ID(), &clients)
	assert.Len(t, clients.Rows, 1)
}
