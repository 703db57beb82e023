package inspect

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/clusterinfo"
)

// fakeCluster is a Cluster with a given state, of which the node "a" is that of the process.
type fakeCluster struct {
	stats   clusterinfo.Stats
	nodes   []clusterinfo.Node
	clients []clusterinfo.Client
}

func (c *fakeCluster) ID() string                { return "a" }
func (c *fakeCluster) Stats() clusterinfo.Stats  { return c.stats }
func (c *fakeCluster) Nodes() []clusterinfo.Node { return c.nodes }
func (c *fakeCluster) Clients(context.Context) iter.Seq[clusterinfo.Client] {
	return slices.Values(c.clients)
}

// clusterOf returns a cluster of three nodes with n clients, of which every third is at one of them.
func clusterOf(n int) *fakeCluster {
	now := time.Now()
	c := &fakeCluster{
		stats: clusterinfo.Stats{Connected: true, Nodes: 3, Clients: n, Lease: 10 * time.Second, LeaseAge: 2 * time.Second, Remote: 9, Waiting: 2},
		nodes: []clusterinfo.Node{
			{ID: "a", Host: "node-1", Addr: "10.0.0.1:1", Clients: n, Lease: 10 * time.Second, Renewed: now.Add(-time.Second)},
			{ID: "b", Host: "node-2", Addr: "10.0.0.2:1", Clients: 5, Lease: 10 * time.Second, Renewed: now.Add(-8 * time.Second),
				Load: clusterinfo.Load{Running: 4, Executed: 70},
				Link: &geminio.EndSnapshot{State: geminio.EndConnected, Begin: now, RoundTrip: time.Millisecond, Sent: geminio.Traffic{Bytes: 2048}}},
			{ID: "c", Addr: "10.0.0.3:1", Leaving: true, Lease: 10 * time.Second, Renewed: now},
		},
	}
	for i := range n {
		c.clients = append(c.clients, clusterinfo.Client{
			ID: uint64(i + 1), Node: c.nodes[i%3].ID, State: clusterinfo.ClientState(i % 2), Since: now.Add(-time.Duration(i) * time.Second), Generation: uint64(3 * i),
		})
	}
	return c
}

func TestClusterPage(t *testing.T) {
	h := &Handler{Cluster: clusterOf(30)}
	p := getJSON[ClusterPage](t, h, "cluster")
	assert.Equal(t, "a", p.Node)
	assert.Equal(t, 10.0, p.Lease)
	assert.Equal(t, 2.0, p.LeaseAge)
	assert.Equal(t, uint64(9), p.Stats.Remote)
	require.Len(t, p.Nodes.Rows, 3)
	states := make(map[string]string)
	for _, n := range p.Nodes.Rows {
		states[n.ID] = n.State
		assert.Equal(t, n.ID == "a", n.This)
	}
	assert.Equal(t, map[string]string{"a": "alive", "b": "late", "c": "leaving"}, states)
	b := getJSON[ClusterPage](t, h, "cluster?nodes.sort=running&nodes.desc=1").Nodes.Rows[0]
	assert.Equal(t, 4, b.Load.Running)
	assert.Equal(t, "node-2", b.Host)
	assert.Equal(t, "10.0.0.2:1", b.Addr)
	if assert.NotNil(t, b.Link) {
		assert.Equal(t, Link{State: "connected", Age: b.Link.Age, RoundTrip: 0.001, BytesSent: 2048}, *b.Link)
	}
	body := get(t, h, "cluster").Body.String()
	for _, text := range []string{"node-1 (this)", "2 of 9", "2.0 s ago, of 10.0 s", ">connected<"} {
		assert.Contains(t, body, text)
	}
	h.Cluster.(*fakeCluster).stats.Connected = false
	assert.Contains(t, get(t, h, "cluster").Body.String(), ">without NATS<")
}

// Clients are found by their id, also among many, and listed by their node and state.
func TestClientsPage(t *testing.T) {
	h := &Handler{Cluster: clusterOf(5000)}
	p := getJSON[Page[Client]](t, h, "clients?clients.q=42")
	assert.Equal(t, 5000, p.All)
	assert.Equal(t, uint64(42), p.Rows[0].ID, "the client with just this id is the first one")
	assert.Equal(t, Client{ID: 42, Node: "c", NodeName: "c", State: "interrupted", Age: p.Rows[0].Age, Generation: 123}, p.Rows[0])
	assert.InDelta(t, 41, p.Rows[0].Age, 10)

	p = getJSON[Page[Client]](t, h, "clients?node=a&clients.only=interrupted&clients.limit=7")
	assert.Len(t, p.Rows, 7)
	assert.Equal(t, 1667, p.All)
	assert.Equal(t, 833, p.Matching)
	for _, c := range p.Rows {
		assert.True(t, c.Local && c.Node == "a" && c.NodeName == "node-1" && c.State == "interrupted", c)
	}
	body := get(t, h, "clients?clients.limit=3").Body.String()
	assert.Contains(t, body, `href="./?ends.q=1"`, "a link to the End of a client of this process")
	assert.NotContains(t, body, `href="./?ends.q=2"`)
	assert.Contains(t, get(t, h, "clients?node=c").Body.String(), "Clients of c")
}

// A walk over the pages of clients and nodes, in each order, sees each one once.
func TestWalkOverClients(t *testing.T) {
	h := &Handler{Cluster: clusterOf(137)}
	for _, c := range clientTable.columns {
		for _, desc := range []string{"0", "1"} {
			seen := make(map[uint64]bool)
			for query := "clients?clients.limit=20&clients.sort=" + c.name + "&clients.desc=" + desc; query != ""; {
				p := getJSON[Page[Client]](t, h, query)
				require.Equal(t, len(seen)+1, p.First)
				for _, client := range p.Rows {
					require.False(t, seen[client.ID])
					seen[client.ID] = true
				}
				if query = p.Next; query != "" {
					query = "clients" + query
				}
			}
			require.Len(t, seen, 137)
		}
	}
	for _, c := range nodeTable.columns {
		seen := make(map[string]bool)
		for query := "cluster?nodes.limit=1&nodes.sort=" + c.name; query != ""; {
			p := getJSON[ClusterPage](t, h, query).Nodes
			require.Len(t, p.Rows, 1)
			seen[p.Rows[0].ID] = true
			if query = p.Next; query != "" {
				query = "cluster" + query
			}
		}
		require.Len(t, seen, 3, c.name)
	}
}

// A Handler without a Cluster has none of its pages, and no links to them.
func TestNoCluster(t *testing.T) {
	h := &Handler{}
	for _, path := range []string{"cluster", "clients"} {
		assert.Equal(t, http.StatusNotFound, get(t, h, path).Code)
	}
	assert.NotContains(t, get(t, h, "").Body.String(), `href="clients"`)
	h.Cluster = clusterOf(3)
	assert.Contains(t, get(t, h, "").Body.String(), `href="clients"`)
	for path, want := range map[string]int{
		"clients?node=d": 404, "clients?node=": 200, "clients?clients.sort=x": 400, "cluster?nodes.sort=x": 400, "clients?clients.only=x": 400,
		"cluster?nodes.after=0.0.0.0.0.": 200, "clients?node=" + url.QueryEscape("\x00"): 404,
	} {
		assert.Equal(t, want, get(t, h, path).Code, path)
	}
}

// Texts of nodes are texts on all pages, and in JSON nothing but texts.
func TestTextsOfNodes(t *testing.T) {
	tags := regexp.MustCompile(`<[^>]*>`)
	page := func(text string) (all []string) {
		c := clusterOf(1)
		c.nodes = []clusterinfo.Node{{ID: text, Host: text, Addr: text}, {ID: text + "2", Addr: text}}
		c.clients = []clusterinfo.Client{{ID: 1, Node: text}, {ID: 2, Node: text + "2"}}
		h := &Handler{Cluster: c}
		for _, path := range []string{"cluster", "clients"} {
			body := get(t, h, path).Body.String()
			for _, r := range body {
				require.True(t, r == '\n' || isPlain(string(r)) || r == '\u202f', "%q of %q", r, text)
			}
			for _, tag := range tags.FindAllString(body, -1) {
				all = append(all, regexp.MustCompile(` (title|value|href|id|datetime)="[^"]*"`).ReplaceAllString(tag, ""))
			}
			assert.Regexp(t, `href="clients\?node=[^"<> ]*"`, body, "the link has no markup")
		}
		return all
	}
	want := page("harmless")
	for _, text := range hostile {
		assert.Equal(t, want, page(text), text)
	}
}

// A page of very many clients has the size of its rows, and allocates little for each of the others.
func TestSizeOfClientPages(t *testing.T) {
	const few, many = 100, 20000
	for _, path := range []string{"clients", "clients?clients.q=77&clients.sort=age", "cluster"} {
		_, fewBytes := costOf(t, &Handler{Cluster: clusterOf(few)}, path)
		size, manyBytes := costOf(t, &Handler{Cluster: clusterOf(many)}, path)
		each := (manyBytes - fewBytes) / (many - few)
		t.Logf("%s: %d bytes; %.0f bytes are allocated for each further client", path, size, each)
		assert.Less(t, size, 100_000, path)
		assert.Less(t, each, 600.0, path)
	}
}
