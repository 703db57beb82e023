package cluster

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio/clusterinfo"
)

// Stats are the numbers of a Node: see [Node.Stats].
type Stats = clusterinfo.Stats

// NodeInfo describes a node: see [Node.Nodes].
type NodeInfo = clusterinfo.Node

// Client says where a client is: see [Node.Locate].
type Client = clusterinfo.Client

// ClientState is the state of a client that is not offline: see [Client].
type ClientState = clusterinfo.ClientState

// The states of clients: see [clusterinfo.ClientState].
const (
	ClientOnline      = clusterinfo.ClientOnline
	ClientInterrupted = clusterinfo.ClientInterrupted
)

// counters count the events of a Node. Those of type Int64 are the numbers of a moment.
type counters struct {
	nodesLost, failedWrites, writes, lookups, replaced atomic.Uint64
	local, remote, failed, executed, refused           atomic.Uint64
	stored, delivered, declined, missed                atomic.Uint64
	waiting, running, streams                          atomic.Int64

	renewed atomic.Int64 // when the renewal has begun that was the last one to succeed, since Node.began
}

// Stats returns the numbers of this moment. It waits for nothing.
func (n *Node) Stats() Stats {
	c, nats := &n.counters, n.nc.Stats()
	s := Stats{
		NodesLost: c.nodesLost.Load(), Reconnects: nats.Reconnects, NATSSent: nats.OutBytes, NATSReceived: nats.InBytes,
		Lease: n.opt.Lease, LeaseAge: time.Since(n.began) - time.Duration(c.renewed.Load()),
		LocalClients: n.locals.count(), Queue: n.registrar.length(), Writes: c.writes.Load(),
		FailedWrites: c.failedWrites.Load(), Lookups: c.lookups.Load(), Replaced: c.replaced.Load(),
		Local: c.local.Load(), Failed: c.failed.Load(), Waiting: int(c.waiting.Load()), Refused: c.refused.Load(),
		Running: int(c.running.Load()), Streams: int(c.streams.Load()),
	}
	s.Stored, s.Delivered, s.Declined, s.Missed = c.stored.Load(), c.delivered.Load(), c.declined.Load(), c.missed.Load()
	// A request is counted as begun before it counts as one that waits or runs.
	s.Remote, s.Executed = c.remote.Load(), c.executed.Load()
	n.links.stats(&s)
	n.mu.Lock()
	s.Connected = n.ready
	n.mu.Unlock()
	n.view.mu.RLock()
	s.Nodes, s.Clients, s.Interrupted, s.Entries = len(n.view.nodes), n.view.online, n.view.interrupted, len(n.view.clients)
	n.view.mu.RUnlock()
	return s
}

// load returns the numbers that the lease of this node tells the others.
func (n *Node) load() clusterinfo.Load {
	c := &n.counters
	l := clusterinfo.Load{
		Queue: n.registrar.length(), Waiting: int(c.waiting.Load()), Running: int(c.running.Load()),
		Streams: int(c.streams.Load()), Local: c.local.Load(), Failed: c.failed.Load(),
	}
	l.Remote, l.Executed = c.remote.Load(), c.executed.Load()
	return l
}

// request counts a request to another node, which f makes.
func (c *counters) request(f func() (*answer, error)) (*answer, error) {
	c.remote.Add(1)
	c.waiting.Add(1)
	defer c.waiting.Add(-1)
	a, err := f()
	if err != nil {
		c.failed.Add(1)
	}
	return a, err
}

// execute counts a request of another node. The caller calls done at its end.
func (c *counters) execute() (done func()) {
	c.executed.Add(1)
	c.running.Add(1)
	return func() { c.running.Add(-1) }
}

// Nodes returns the nodes that are alive, with this one and those that are leaving, in no particular order, as
// this node knows them.
func (n *Node) Nodes() []NodeInfo {
	n.view.mu.RLock()
	nodes := make([]NodeInfo, 0, len(n.view.nodes)+len(n.view.leaving))
	for _, p := range n.view.nodes {
		nodes = append(nodes, p.info(p.clients))
	}
	for _, p := range n.view.leaving {
		nodes = append(nodes, p.info(0))
	}
	n.view.mu.RUnlock()
	for i := range nodes {
		if nodes[i].ID == n.id {
			nodes[i].Load = n.load()
		}
		nodes[i].Link = n.links.snapshot(nodes[i].ID)
	}
	return nodes
}

// info describes a node.
func (p *peer) info(clients int) NodeInfo {
	return NodeInfo{
		ID: p.id, Host: p.host, Addr: p.addr, Leaving: p.leaving, Clients: clients,
		Lease: p.lease, Renewed: p.renewed, Load: p.load,
	}
}

// newClient returns the Client of an entry.
func newClient(id uint64, r record) Client {
	return Client{ID: id, Node: r.node, State: r.state, Since: r.since, Generation: r.rev}
}

// Locate returns where a client is, as this node knows it: without NATS, and for a moment after a
// change, that may be out of date. It returns [ErrClientOffline] if no client has the id.
func (n *Node) Locate(clientID uint64) (Client, error) {
	r, alive := n.view.client(clientID)
	if !alive {
		return Client{}, ErrClientOffline
	}
	return newClient(clientID, r), nil
}

// clientsPerLock is the number of clients that Clients reads at a time.
const clientsPerLock = 256

// Clients returns all clients of the cluster, in no particular order, as this node knows them: those that
// were online when the range began, and are online when it reaches them. The range ends early when ctx ends.
// It needs 8 bytes of memory for each client. The loop may use the Node.
func (n *Node) Clients(ctx context.Context) iter.Seq[Client] {
	return func(yield func(Client) bool) {
		n.view.mu.RLock()
		ids := slices.AppendSeq(make([]uint64, 0, len(n.view.clients)), maps.Keys(n.view.clients))
		n.view.mu.RUnlock()
		var some []Client
		for chunk := range slices.Chunk(ids, clientsPerLock) {
			some = some[:0]
			n.view.mu.RLock()
			for _, id := range chunk {
				if r := n.view.clients[id]; n.view.nodes[r.node] != nil {
					some = append(some, newClient(id, r))
				}
			}
			n.view.mu.RUnlock()
			for _, c := range some {
				if ctx.Err() != nil || !yield(c) {
					return
				}
			}
		}
	}
}
