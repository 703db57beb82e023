package inspect

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/clusterinfo"
)

// fakeCluster is a cluster with a given state. Its first node is that of the process.
type fakeCluster struct {
	made    time.Time
	stats   clusterinfo.Stats
	nodes   []clusterinfo.Node
	clients []clusterinfo.Client
}

func (c *fakeCluster) ID() string               { return c.nodes[0].ID }
func (c *fakeCluster) Stats() clusterinfo.Stats { return c.stats }

// Nodes returns nodes whose leases have the same ages at all times.
func (c *fakeCluster) Nodes() []clusterinfo.Node {
	nodes := slices.Clone(c.nodes)
	for i := range nodes {
		nodes[i].Renewed = nodes[i].Renewed.Add(time.Since(c.made))
	}
	return nodes
}

func (c *fakeCluster) Clients(context.Context) iter.Seq[clusterinfo.Client] {
	return slices.Values(c.clients)
}

// gateways returns a cluster of five nodes with n clients, the same one each time.
func gateways(n int) *fakeCluster {
	random := rand.New(rand.NewPCG(3, 5))
	now := time.Now()
	c := &fakeCluster{made: now, stats: clusterinfo.Stats{
		Nodes: 4, NodesLost: 1, Entries: n + 37, Connected: true, Reconnects: 2, Lease: 10 * time.Second,
		LeaseAge: 1700 * time.Millisecond, NATSSent: 83 << 20, NATSReceived: 127 << 20, Queue: 3, Writes: 24117, FailedWrites: 4,
		Lookups: 310, Replaced: 87, Local: 512_040, Remote: 1_730_551, Waiting: 23, Failed: 18, Executed: 1_698_204, Running: 31,
		Streams: 12, Stored: 1204, Delivered: 88_317, Declined: 2, Links: 3, AcceptedLinks: 3, LinkSent: 7 << 30, LinkReceived: 5 << 30,
	}}
	for i, id := range []string{"O0Peqn8X9zfoebcVaNFKdw", "O0PeqqkHcU2i6RSjd3KmD0", "O0Peqt5oPqM1JcVjv0pRx8", "O0PeqwR0aDn3U7wzZb4Lk2", "O0Peqyj7Wn0kCqv5dTgHs6"} {
		node := clusterinfo.Node{
			ID: id, Host: fmt.Sprintf("gateway-%d", i+1), Addr: fmt.Sprintf("10.0.4.%d:1240", i+2), Lease: 10 * time.Second,
			Renewed: now.Add(-time.Duration(random.Int64N(int64(3300 * time.Millisecond)))),
			Load: clusterinfo.Load{
				Waiting: random.IntN(40), Running: random.IntN(40), Streams: random.IntN(20), Queue: random.IntN(4) * i,
				Local: random.Uint64N(1 << 20), Remote: random.Uint64N(1 << 21), Executed: random.Uint64N(1 << 21), Failed: random.Uint64N(30),
			},
		}
		if i > 0 {
			node.Link = &geminio.EndSnapshot{
				State: geminio.EndConnected, Begin: now.Add(-40 * time.Hour), RoundTrip: time.Duration(300+random.IntN(900)) * time.Microsecond,
				Sent: geminio.Traffic{Bytes: random.Uint64N(1 << 32)}, Received: geminio.Traffic{Bytes: random.Uint64N(1 << 32)},
			}
		}
		switch i {
		case 2:
			node.Renewed = now.Add(-8200 * time.Millisecond)
			node.Link.State = geminio.EndReconnecting
		case 3:
			node.Link = nil
		case 4:
			node.Leaving = true
		}
		c.nodes = append(c.nodes, node)
	}
	for range n {
		i := random.IntN(4)
		c.nodes[i].Clients++
		client := clusterinfo.Client{
			ID: 100_000 + random.Uint64N(9_900_000), Node: c.nodes[i].ID, Since: now.Add(-time.Duration(random.Int64N(int64(90 * time.Hour)))),
			Generation: random.Uint64N(50000),
		}
		if random.IntN(40) == 0 {
			client.State = clusterinfo.ClientInterrupted
			c.stats.Interrupted++
		}
		c.clients = append(c.clients, client)
	}
	c.stats.Clients, c.stats.LocalClients = n, c.nodes[0].Clients
	s := &c.stats
	c.nodes[0].Load = clusterinfo.Load{
		Queue: s.Queue, Waiting: s.Waiting, Running: s.Running, Streams: s.Streams, Local: s.Local, Remote: s.Remote, Failed: s.Failed, Executed: s.Executed,
	}
	c.nodes[0].Renewed = now.Add(-s.LeaseAge)
	return c
}

// The pages of a cluster are sorted, and lead from a node to its clients, and to the End of a client of
// this process.
func TestCluster(t *testing.T) {
	c := gateways(2000)
	c.clients[700].ID, c.clients[700].Node = 42, c.nodes[1].ID
	c.clients[701].ID, c.clients[701].Node = 77, c.nodes[0].ID
	h := named(fleet(20))
	h.Cluster = c
	url := serve(t, h)
	b := newTab(t)
	b.open(url)
	b.follow("nav a[href=cluster]")
	assert.Equal(t, "connected", b.texts("#state")[0])
	first := "document.querySelector('#nodes-rows tr td').textContent"
	b.do(chromedp.Click(chromedp.CSS("th a[href*='sort=lease']"))) // the first click: the oldest one first
	b.until(first + " === 'gateway-3'")
	assert.Equal(t, []string{"late"}, b.texts("#nodes-rows tr:first-child td:nth-child(2)"))
	b.do(chromedp.Click(chromedp.CSS("th a[href*='sort=name']")))
	b.until(first + " === 'gateway-1 (this)'")
	b.follow("#nodes-rows tr:nth-child(2) a")
	assert.Equal(t, "Clients of gateway-2", b.texts("h1 bdi")[0])
	assert.Equal(t, "42", b.texts("#clients-rows td:first-child")[0])
	for _, name := range b.texts("#clients-rows td:nth-child(2)") {
		require.Equal(t, "gateway-2", name)
	}
	b.follow(".path a")
	assert.Equal(t, "Cluster", b.texts("h1 bdi")[0])

	b.follow("nav a[href=clients]")
	b.do(chromedp.KeyEvent("/"))
	b.until("document.activeElement.id === 'clients-q'")
	b.do(chromedp.KeyEvent("42"))
	b.until("document.querySelector('#clients-rows td').textContent === '42' && document.querySelector('#clients-range').textContent.includes('(of')")
	assert.Equal(t, "gateway-2", b.texts("#clients-rows tr:first-child td:nth-child(2)")[0], "where the client is")
	b.do(chromedp.Evaluate[chromedp.Void](`{
		const select = document.getElementById("clients-only");
		select.value = "interrupted";
		select.dispatchEvent(new Event("input", { bubbles: true }));
	}`))
	b.until("[...document.querySelectorAll('#clients-rows .tone')].length > 0 && [...document.querySelectorAll('#clients-rows td.state')].every((e) => e.textContent === 'interrupted')")
	b.open(url + "clients?clients.q=77&clients.limit=1")
	b.follow("#clients-rows td:first-child a")
	assert.Equal(t, "77", evaluate[string](b, "document.getElementById('ends-q').value"), "the Ends with that id")

	// The node leaves while its clients are shown.
	b.open(url + "clients?node=" + c.nodes[1].ID)
	c.nodes = slices.Delete(c.nodes, 1, 2)
	b.do(chromedp.KeyEvent("r"))
	b.until("document.getElementById('notice').textContent.includes('left the cluster')")
}

// No text of a node becomes markup or script, at the first load and when the page refreshes. The id of a
// client is a number.
func TestInjectionByNodes(t *testing.T) {
	c := gateways(3)
	h := named(fleet(1))
	h.Cluster = c
	url := serve(t, h)
	b := newTab(t)
	for i, text := range []string{
		`<script>window.broken = 1</script>`, `"><img src=x onerror="window.broken = 1">`, `' autofocus onfocus='window.broken = 1`,
		`</bdi></td></tr></table><iframe srcdoc="<script>parent.broken = 1</script>">`, `javascript:window.broken = 1`,
		`<form id=main><input id=time>`, "\u202e\u2066reversed\x1b[2J",
	} {
		for j := range c.nodes {
			c.nodes[j].ID, c.nodes[j].Host, c.nodes[j].Addr = fmt.Sprint(text, j), text, text
		}
		for j := range c.clients {
			c.clients[j].Node = c.nodes[j].ID
		}
		for round := range 2 {
			for _, page := range []string{"cluster", "clients"} {
				what := fmt.Sprintf("text %d, round %d, %s", i, round, page)
				b.open(url + page)
				if round == 1 {
					b.refreshed()
				}
				assert.False(t, evaluate[bool](b, "'broken' in window"), what)
				assert.Equal(t, 1, evaluate[int](b, "document.querySelectorAll('script').length"), what)
				assert.Zero(t, evaluate[int](b, "document.querySelectorAll('main :is(img, svg, iframe, style, base, [onload], [onfocus], [onerror])').length"), what)
				assert.Equal(t, "MAIN", evaluate[string](b, "document.getElementById('main').nodeName"), what)
				assert.True(t, evaluate[bool](b, "[...document.querySelectorAll('tbody a')].every((a) => a.protocol === 'http:' && a.host === location.host)"), what)
				assert.NotRegexp(t, "[\u202a-\u202e\u2066-\u2069\x00-\x08\x1b]", evaluate[string](b, "document.body.textContent"), what)
				if text[0] == '<' {
					assert.Contains(t, strings.Join(b.texts("main"), ""), text, what)
				}
			}
		}
	}
}
