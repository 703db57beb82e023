package cluster

import (
	"sync"
	"time"

	"github.com/singchia/geminio/clusterinfo"
)

// view is what this node knows of the bucket: the nodes that are alive, and the clients. The
// goroutine of the session changes it by the updates of the bucket, and the registrar by the
// revisions of its own writes. All methods are safe for concurrent use.
type view struct {
	mu      sync.RWMutex
	nodes   map[string]*peer // those that are alive and do not leave
	leaving map[string]*peer // nodes that take no more work, and finish what they have begun
	clients map[uint64]record
	groups  groups
	joined  map[uint64][]string // the groups of each client
	watched uint64              // the revision of the last entry of a member that the watch has brought

	online      int // clients of nodes
	interrupted int // those of them that are interrupted
}

// peer is a node of the bucket.
type peer struct {
	id      string
	host    string
	addr    string // where it accepts direct connections
	key     string // the fingerprint of its TLS key
	leaving bool   // it takes no more work

	// Guarded by view.mu.
	clients     int  // the number of its clients in the view
	interrupted int  // those of them that are interrupted
	suspect     bool // its lease has ended while NATS was disturbed

	lease   time.Duration
	renewed time.Time        // when this node has learned of the last renewal of its lease
	load    clusterinfo.Load // at that time
}

// record is the entry of a client in the bucket.
type record struct {
	node    string    // the id of the node that has the client; "" if the entry was removed
	since   time.Time // when the connection was attached, by the clock of its node
	state   ClientState
	rev     uint64    // the revision of the entry
	written time.Time // when the entry was written or removed, by the clock of NATS
}

// newView returns an empty view.
func newView() *view {
	return &view{nodes: make(map[string]*peer), leaving: make(map[string]*peer), clients: make(map[uint64]record), groups: make(groups), joined: make(map[uint64][]string)}
}

// node returns a node that is alive, or nil.
func (v *view) node(id string) *peer {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.nodes[id]
}

// client returns the entry of a client, and whether its node is alive.
func (v *view) client(id uint64) (r record, alive bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	r = v.clients[id]
	return r, r.node != "" && v.nodes[r.node] != nil
}

// setNode adds a node, or replaces its entry.
func (v *view) setNode(p *peer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if old := v.nodes[p.id]; old != nil {
		p.clients, p.interrupted = old.clients, old.interrupted
		v.nodes[p.id] = p
		return
	}
	v.nodes[p.id] = p
	for _, r := range v.clients {
		if r.node == p.id {
			v.count(r, 1)
		}
	}
}

// removeNode removes a node, and reports whether there was one.
func (v *view) removeNode(id string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	was := v.remove(id) || v.leaving[id] != nil
	delete(v.leaving, id)
	return was
}

// leave has a node leave.
func (v *view) leave(p *peer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.remove(p.id)
	v.leaving[p.id] = p
}

// remove removes a node that does not leave, and reports whether there was one. v.mu is held.
func (v *view) remove(id string) bool {
	p := v.nodes[id]
	if p == nil {
		return false
	}
	delete(v.nodes, id)
	v.online, v.interrupted = v.online-p.clients, v.interrupted-p.interrupted
	return true
}

// setClient stores the entry of a client, unless the view has a newer one.
func (v *view) setClient(id uint64, r record) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.clients[id]
	if r.rev <= old.rev {
		return
	}
	v.count(old, -1)
	v.count(r, 1)
	v.clients[id] = r
}

// count adds n to the numbers of clients for an entry. v.mu is held.
func (v *view) count(r record, n int) {
	p := v.nodes[r.node]
	if p == nil {
		return
	}
	p.clients, v.online = p.clients+n, v.online+n
	if r.state == ClientInterrupted {
		p.interrupted, v.interrupted = p.interrupted+n, v.interrupted+n
	}
}

// forget drops the entries that were removed before a time. Their revisions are kept until then,
// because the next write for the client has to name the last revision of its key.
func (v *view) forget(before time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for id, r := range v.clients {
		if r.node == "" && r.written.Before(before) {
			delete(v.clients, id)
		}
	}
}

// knows reports whether there is an entry of a node.
func (v *view) knows(id string) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.nodes[id] != nil || v.leaving[id] != nil
}

// suspect keeps a node whose lease has ended until removeSuspects, and reports whether there is one.
func (v *view) suspect(id string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.nodes[id]
	if p != nil {
		p.suspect = true
	}
	return p != nil
}

// removeSuspects removes the nodes that have not renewed their lease since suspect, and returns their ids.
func (v *view) removeSuspects() (ids []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for id, p := range v.nodes {
		if p.suspect {
			v.remove(id)
			ids = append(ids, id)
		}
	}
	return ids
}

// replace takes over everything from another view, which nobody else uses. It returns the ids of
// the nodes that are no longer alive. With disturbed, it keeps those as suspects that have not left.
func (v *view) replace(other *view, disturbed bool) (lost []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for id, p := range v.nodes {
		switch {
		case other.nodes[id] != nil || other.leaving[id] != nil:
		case disturbed:
			p.suspect = true
			p.clients, p.interrupted = 0, 0
			other.setNode(p)
		default:
			lost = append(lost, id)
		}
	}
	for id := range v.leaving {
		if other.leaving[id] == nil {
			lost = append(lost, id)
		}
	}
	v.nodes, v.leaving, v.clients = other.nodes, other.leaving, other.clients
	v.online, v.interrupted = other.online, other.interrupted
	v.groups, v.joined, v.watched = other.groups, other.joined, other.watched
	return lost
}

// orphans returns the entries of clients whose node is not alive.
func (v *view) orphans() map[uint64]record {
	v.mu.RLock()
	defer v.mu.RUnlock()
	orphans := make(map[uint64]record)
	for id, r := range v.clients {
		if r.node != "" && v.nodes[r.node] == nil {
			orphans[id] = r
		}
	}
	return orphans
}

// first reports whether a node has the smallest id of all nodes that are alive.
func (v *view) first(id string) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for other := range v.nodes {
		if other < id {
			return false
		}
	}
	return true
}

// correctClient stores the entry of a client that was read from the bucket because a write had named
// another revision than the last one. An entry without a revision says that there is none.
func (v *view) correctClient(id uint64, r record) {
	if r.rev > 0 {
		v.setClient(id, r)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.count(v.clients[id], -1)
	delete(v.clients, id)
}

// clientsOf returns the ids of the clients of a node.
func (v *view) clientsOf(node string) (ids []uint64) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for id, r := range v.clients {
		if r.node == node {
			ids = append(ids, id)
		}
	}
	return ids
}
