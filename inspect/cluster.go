package inspect

import (
	"context"
	"iter"
	"net/http"
	"runtime"

	"github.com/singchia/geminio/clusterinfo"
)

// Cluster supplies the nodes and clients of a cluster of servers. A *cluster.Node, of module cluster, is a
// Cluster. Its methods are called for each page, from several goroutines.
type Cluster interface {
	// ID returns the id of the node of this process.
	ID() string
	// Stats returns the numbers of that node.
	Stats() clusterinfo.Stats
	// Nodes returns the nodes of the cluster.
	Nodes() []clusterinfo.Node
	// Clients returns the clients of the cluster. The range may end early.
	Clients(context.Context) iter.Seq[clusterinfo.Client]
}

// ClusterPage is the JSON of the page of the cluster.
type ClusterPage struct {
	Node     string            `json:"node"`      // the id of the node of this process
	Lease    float64           `json:"lease"`     // clusterinfo.Stats.Lease in seconds
	LeaseAge float64           `json:"lease_age"` // clusterinfo.Stats.LeaseAge in seconds
	Stats    clusterinfo.Stats `json:"stats"`
	Nodes    Page[Node]        `json:"nodes"`
}

// hasCluster reports whether the Handler has a cluster. If it has none, it makes the page that says so.
func (b *builder) hasCluster() bool {
	if b.h.Cluster == nil {
		b.fail(http.StatusNotFound, "No cluster", "This program is no node of a cluster.")
	}
	return b.h.Cluster != nil
}

// clusterPage makes the page of this node, with the table of all nodes.
func (b *builder) clusterPage() {
	if !b.hasCluster() {
		return
	}
	g, ok := gather(b, &nodeTable)
	if !ok {
		return
	}
	for _, n := range b.h.Cluster.Nodes() {
		g.add(nodeItem{b, n, b.h.Cluster.ID()})
	}
	s := b.h.Cluster.Stats()
	if b.status = http.StatusOK; b.asJSON {
		b.result = map[string]any{
			"node": printable(b.h.Cluster.ID()), "lease": s.Lease.Seconds(), "lease_age": s.LeaseAge.Seconds(),
			"stats": s, "nodes": g.json(b.query),
		}
		return
	}
	b.view.Heading = clusterTitle
	b.view.State = cell{Text: "connected", Tone: "good"}
	if !s.Connected {
		b.view.State = cell{Text: "without NATS", Tone: "bad"}
	}
	b.view.Facts = clusterFacts(printable(b.h.Cluster.ID()), &s)
	b.view.Tables = []tableView{g.view(b.query)}
	b.view.Tables[0].Titled = true
}

// clusterTitle is the heading of the page of the cluster.
const clusterTitle = "Cluster"

// clusterFacts returns the facts about this node.
func clusterFacts(id string, s *clusterinfo.Stats) []factsView {
	count := func(n int) string { return formatCount(uint64(max(n, 0))) }
	traffic := func(sent, received uint64) string {
		return formatBytes(sent) + " sent, " + formatBytes(received) + " received"
	}
	return []factsView{
		{"This node", []factView{
			{"Id", "", id},
			{"Lease renewed", "The other nodes regard this one as lost when its lease is not renewed in time",
				duration(s.LeaseAge).Text + " ago, of " + duration(s.Lease).Text},
			{"NATS reconnects", "How often the NATS connection was made again", formatCount(s.Reconnects)},
			{"NATS traffic", "Bytes of the NATS connection", traffic(s.NATSSent, s.NATSReceived)},
			{"Nodes", "Nodes that are alive, with this one", count(s.Nodes)},
			{"Nodes lost so far", "Nodes whose lease has ended", formatCount(s.NodesLost)},
		}},
		{"Presence", []factView{
			{"Clients of the cluster", "", count(s.Clients)},
			{"Interrupted", "Clients that have lost their connection, and whose node keeps their session", count(s.Interrupted)},
			{"Clients of this node", "", count(s.LocalClients)},
			{"Entries in memory", "Also of lost nodes, and of clients that have left in the last minute", count(s.Entries)},
			{"Entries to write", "Clients whose entry is to be checked or written", count(s.Queue)},
			{"Entries written", "", formatCount(s.Writes) + ", " + formatCount(s.FailedWrites) + " failures"},
			{"Clients looked up", "Reads of the bucket, for clients that this node did not know", formatCount(s.Lookups)},
			{"Moved to other nodes", "Connections that ended because their client was at another node", formatCount(s.Replaced)},
		}},
		{"Operations", []factView{
			{"With own clients", "", formatCount(s.Local)},
			{"To other nodes", "Requests that wait for their answer, of all so far", count(s.Waiting) + " of " + formatCount(s.Remote)},
			{"Unanswered", "Requests to other nodes that have ended without an answer", formatCount(s.Failed)},
			{"Of other nodes", "Requests of other nodes that are executed, of all so far", count(s.Running) + " of " + formatCount(s.Executed)},
			{"Refused", "Requests of other nodes beyond MaxRunning", formatCount(s.Refused)},
			{"Messages stored", "Messages of BroadcastStored", formatCount(s.Stored)},
			{"Stored messages delivered", "Those that clients of this node have acknowledged, once for each client", formatCount(s.Delivered)},
			{"Declined, missed", "Stored messages that clients have answered with an error, and that were removed before a client has got them",
				formatCount(s.Declined) + ", " + formatCount(s.Missed)},
		}},
		{"Direct connections", []factView{
			{"To other nodes", "", count(s.Links)},
			{"Of other nodes", "", count(s.AcceptedLinks)},
			{"Streams", "Streams of other nodes to clients of this node", count(s.Streams)},
			{"Traffic", "", traffic(s.LinkSent, s.LinkReceived)},
		}},
	}
}

// clientsPage makes the table of the clients of one node or all.
func (b *builder) clientsPage() {
	if !b.hasCluster() {
		return
	}
	g, ok := gather(b, &clientTable)
	if !ok {
		return
	}
	names := make(map[string]string)
	for _, n := range b.h.Cluster.Nodes() {
		names[n.ID] = nameOf(&n)
	}
	wanted := b.query.Get("node")
	if _, found := names[wanted]; wanted != "" && !found {
		b.fail(http.StatusNotFound, "No such node", "This node has left the cluster.")
		b.view.Parent = navView{Title: clusterTitle, Href: "cluster"}
		return
	}
	seen := 0
	for c := range b.h.Cluster.Clients(b.ctx) {
		if seen++; seen%turn == 0 {
			runtime.Gosched()
		}
		if wanted == "" || c.Node == wanted {
			g.add(clientItem{b, c, names[c.Node], c.Node == b.h.Cluster.ID()})
		}
	}
	if b.status = http.StatusOK; b.asJSON {
		b.result = g.json(b.query)
		return
	}
	b.view.Heading = clientTable.title
	if wanted != "" {
		b.view.Parent = navView{Title: clusterTitle, Href: "cluster"}
		b.view.Heading += " of " + names[wanted]
	}
	b.view.Tables = []tableView{g.view(b.query)}
}
