package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/server"
)

// stateDelay is how long a change of the state of a client waits before its entry is written. A change
// that is reverted meanwhile is not written. So a client causes at most one write in that time, and a
// network that fails for a moment causes none.
const stateDelay = time.Second

// locals are the clients that are connected to this node. All methods are safe for concurrent use.
type locals struct {
	mu      sync.Mutex
	clients map[uint64]*local
}

// local is a connection of a client to this node.
type local struct {
	end   geminio.End
	since time.Time // when it was attached

	// Guarded by locals.mu.
	gen   uint64 // the revision of its entry in the bucket; 0 if it has none
	seen  uint64 // the revision of the entry that was known when it was attached; 0 if it may be outdated
	noted bool   // its state may have changed, and is checked after stateDelay
}

// yields reports whether a connection without an entry gives way to the entry of another node: that node has
// written it since, for a connection that was attached later. locals.mu is held.
func (c *local) yields(r record) bool {
	return c.gen == 0 && r.rev > c.seen && r.since.After(c.since)
}

// end returns the End of a client, or nil.
func (l *locals) end(id uint64) geminio.End {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.clients[id]; c != nil {
		return c.end
	}
	return nil
}

// drop removes a connection, and reports whether it was there.
func (l *locals) drop(id uint64, c *local) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.clients[id] != c {
		return false
	}
	delete(l.clients, id)
	return true
}

// ids returns the ids of all clients.
func (l *locals) ids() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := make([]uint64, 0, len(l.clients))
	for id := range l.clients {
		ids = append(ids, id)
	}
	return ids
}

// among returns those of some clients that are connected to this node.
func (l *locals) among(ids []uint64) []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(ids, func(id uint64) bool { return l.clients[id] == nil })
}

// count returns the number of clients.
func (l *locals) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.clients)
}

// Attach makes the client of an End known to the cluster, until the End ends. If a client with the
// same id is attached already, here or at another node, the new connection replaces it: the other
// End ends as if its own server had replaced it. Attach sets the function of SetSessionFunc of an End of
// package server.
//
// Attach returns at once. The other nodes know the client when its entry in the bucket is written,
// which takes a round trip to NATS, or has to wait until NATS can be reached. If another node has
// written an entry for the client meanwhile, the connection that was attached later remains, by the
// clocks of the nodes. Attach returns an error if end is nil, or [ErrClosed] after Close.
func (n *Node) Attach(end geminio.End) error {
	if end == nil {
		return errors.New("cluster: attach: the End is nil")
	}
	id, c := end.ClientID(), &local{end: end, since: time.Now()}
	n.mu.Lock()
	ready := n.ready
	n.mu.Unlock()
	n.locals.mu.Lock()
	if r, _ := n.view.client(id); ready {
		c.seen = r.rev
	}
	old := n.locals.clients[id]
	n.locals.clients[id] = c
	n.locals.mu.Unlock()
	if !n.start(func() { n.await(id, c) }) {
		n.locals.drop(id, c)
		return ErrClosed
	}
	if old != nil && old.end != end {
		replaceEnd(old.end)
	}
	if e, ok := end.(interface{ SetSessionFunc(func()) }); ok {
		e.SetSessionFunc(func() { n.noteState(id, c) })
	}
	n.registrar.add(id)
	n.deliveries.wake(id)
	return nil
}

// noteState has the state of a client checked after stateDelay.
func (n *Node) noteState(id uint64, c *local) {
	n.locals.mu.Lock()
	defer n.locals.mu.Unlock()
	if c.noted || n.ctx.Err() != nil {
		return
	}
	c.noted = true
	time.AfterFunc(stateDelay, func() {
		n.locals.mu.Lock()
		c.noted = false
		n.locals.mu.Unlock()
		n.registrar.add(id)
	})
}

// stateOf returns the state of the client of an End.
func stateOf(end geminio.End) ClientState {
	if s, ok := geminio.SnapshotOf(end); ok && s.State == geminio.EndInterrupted {
		return ClientInterrupted
	}
	return ClientOnline
}

// await waits for the end of a connection, and removes it.
func (n *Node) await(id uint64, c *local) {
	select {
	case <-geminio.Done(c.end):
		if n.locals.drop(id, c) {
			n.registrar.add(id)
		}
		n.deliveries.wake(id)
	case <-n.ctx.Done():
	}
}

// settle compares a connection with the entry in the view, which may be newer.
func (n *Node) settle(id uint64) { n.settleAfter(id, func() {}) }

// settleAfter changes the view, and settles a client in the same moment. So no operation goes to a connection
// after Locate has returned a newer one of another node.
func (n *Node) settleAfter(id uint64, change func()) {
	n.locals.mu.Lock()
	change()
	r, alive := n.view.client(id)
	c := n.locals.clients[id]
	var add, evict bool
	switch {
	case c == nil:
		add = r.node == n.id // a connection that has ended before its entry was confirmed
	case c.gen == 0 || r.rev <= c.gen: // the registrar will write the entry, or the view is older
	case r.node == n.id:
		c.gen = r.rev
	case alive:
		delete(n.locals.clients, id)
		evict = true
	default:
		c.gen, add = 0, true
	}
	n.locals.mu.Unlock()
	if evict {
		n.evict(id, c)
	}
	if add {
		n.registrar.add(id)
	}
}

// settleAll compares all connections, and all entries of this node, with a view that was read anew.
func (n *Node) settleAll() {
	for _, id := range n.view.clientsOf(n.id) {
		n.settle(id)
	}
	for _, id := range n.locals.ids() {
		r, _ := n.view.client(id)
		n.locals.mu.Lock()
		if c := n.locals.clients[id]; c != nil && r.rev < max(c.gen, c.seen) { // the entry was lost
			c.gen, c.seen = 0, 0
		}
		n.locals.mu.Unlock()
		n.settle(id)
		n.registrar.add(id)
	}
}

// evict ends a connection that another node has replaced.
func (n *Node) evict(id uint64, c *local) {
	n.counters.replaced.Add(1)
	n.opt.Logger.Debug("cluster: a client is connected to another node", "node", n.id, "client", id)
	replaceEnd(c.end)
}

// replaceEnd ends an End whose client has another connection. It does not wait.
func replaceEnd(end geminio.End) {
	if e, ok := end.(interface{ Replace() }); ok {
		e.Replace()
		return
	}
	go end.Close()
}

// Listener returns a listener whose AcceptEnd attaches each End before it returns it. geminio.Shutdown of it
// shuts down l, and its other methods are those of l. After Close of the Node, AcceptEnd returns Ends that are
// not attached.
func (n *Node) Listener(l server.Listener) server.Listener { return &listener{l, n} }

// listener is the result of Node.Listener.
type listener struct {
	server.Listener
	n *Node
}

// Shutdown implements geminio.Shutdowner.
func (l *listener) Shutdown(ctx context.Context) error { return geminio.Shutdown(ctx, l.Listener) }

// AcceptEnd implements server.Listener.
func (l *listener) AcceptEnd() (geminio.End, error) {
	end, err := l.Listener.AcceptEnd()
	if err == nil {
		l.n.Attach(end) // ErrClosed: the End serves its client without the cluster
	}
	return end, err
}
