package cluster

import (
	"context"
	"iter"
	"sync/atomic"
)

// counters count the events of a Node.
type counters struct {
	local, remote, executed, lookups, writes, replaced atomic.Uint64
	streams                                            atomic.Int64
}

// Stats are the numbers of a Node: see [Node.Stats].
type Stats struct {
	Nodes        int    // nodes that are alive, with this one
	Clients      int    // clients of the cluster
	LocalClients int    // clients that are connected to this node
	Connected    bool   // this node has read the bucket, and NATS was not lost since
	Waiting      int    // operations of this node that wait for an answer over NATS
	Running      int    // operations of other nodes over NATS that this node executes
	Links        int    // direct connections that this node has made
	Streams      int    // streams of other nodes to clients of this node
	Queue        int    // clients whose entry in the bucket is to be checked or written
	Local        uint64 // operations of this node with its own clients
	Remote       uint64 // requests of this node to other nodes
	Executed     uint64 // requests of other nodes, over NATS and direct connections
	Lookups      uint64 // reads of the bucket, for clients that this node did not know
	Writes       uint64 // entries of clients that were written or removed
	Replaced     uint64 // connections that ended because their client was at another node
}

// Stats returns the numbers of this moment.
func (n *Node) Stats() Stats {
	s := Stats{
		LocalClients: n.locals.count(), Waiting: n.exchanges.count(), Running: n.executions.count(),
		Links: n.links.count(), Queue: n.registrar.length(), Streams: int(n.counters.streams.Load()),
		Local: n.counters.local.Load(), Remote: n.counters.remote.Load(), Executed: n.counters.executed.Load(),
		Lookups: n.counters.lookups.Load(), Writes: n.counters.writes.Load(), Replaced: n.counters.replaced.Load(),
	}
	n.mu.Lock()
	s.Connected = n.ready
	n.mu.Unlock()
	n.view.mu.RLock()
	s.Nodes, s.Clients = len(n.view.nodes), n.view.online
	n.view.mu.RUnlock()
	return s
}

// NodeInfo describes a node that is alive.
type NodeInfo struct {
	ID      string
	Host    string // Options.Host of the node
	Addr    string // where it accepts direct connections
	Clients int    // the number of its clients
}

// Nodes returns the nodes that are alive, with this one, in no particular order, as this node knows
// them.
func (n *Node) Nodes() []NodeInfo {
	n.view.mu.RLock()
	defer n.view.mu.RUnlock()
	nodes := make([]NodeInfo, 0, len(n.view.nodes))
	for _, p := range n.view.nodes {
		nodes = append(nodes, NodeInfo{p.id, p.host, p.addr, p.clients})
	}
	return nodes
}

// ClientState is the state of a client that is not offline.
type ClientState uint8

const (
	// ClientOnline: the client is connected to its node.
	ClientOnline ClientState = iota
	// ClientInterrupted: the client has lost its connection, and its node keeps its session. Operations
	// with the client wait until it resumes the session, or the session ends.
	ClientInterrupted
)

// String returns the name of the state, such as "online".
func (s ClientState) String() string {
	switch s {
	case ClientOnline:
		return "online"
	case ClientInterrupted:
		return "interrupted"
	}
	return "unknown"
}

// Client says where a client is.
type Client struct {
	ID         uint64
	Node       string      // the id of the node that has its connection or its session
	State      ClientState // changes a second later than the connection: see docs/cluster.md
	Generation uint64      // grows with each connection of the client and each change of its State
}

// newClient returns the Client of an entry.
func newClient(id uint64, r record) Client {
	return Client{ID: id, Node: r.node, State: r.state, Generation: r.rev}
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

// Clients returns all clients of the cluster, in no particular order, as this node knows them when the
// range begins. The range ends early when ctx ends. The loop may use the Node.
func (n *Node) Clients(ctx context.Context) iter.Seq[Client] {
	return func(yield func(Client) bool) {
		n.view.mu.RLock()
		clients := make([]Client, 0, n.view.online)
		for id, r := range n.view.clients {
			if n.view.nodes[r.node] != nil {
				clients = append(clients, newClient(id, r))
			}
		}
		n.view.mu.RUnlock()
		for _, c := range clients {
			if ctx.Err() != nil || !yield(c) {
				return
			}
		}
	}
}
