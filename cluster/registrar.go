package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// maxBatch bounds the writes that are under way at a time.
const maxBatch = 256

// registrar writes the entries of clients to the bucket. It has a set of clients whose entry may
// differ from what this node knows. What to write is decided when the write begins, so that a client
// which comes and goes quickly needs no write. A failed write is tried again. All methods are safe for
// concurrent use; one goroutine runs run.
type registrar struct {
	n    *Node
	wake chan struct{} // a signal that there is something to write

	mu      sync.Mutex
	waiting map[uint64]bool // true: an entry of a node that was lost may be removed
	queue   []uint64        // the keys of waiting in the order in which they were added
}

// newRegistrar returns a registrar. Its Node has to run it.
func newRegistrar(n *Node) *registrar {
	return &registrar{n: n, wake: make(chan struct{}, 1), waiting: make(map[uint64]bool)}
}

// add has the entry of a client checked and, if needed, written.
func (g *registrar) add(id uint64) { g.enqueue(id, false) }

// collect has the entry of a client removed, if its node is not alive.
func (g *registrar) collect(id uint64) { g.enqueue(id, true) }

// enqueue adds a client to the queue.
func (g *registrar) enqueue(id uint64, orphan bool) {
	g.mu.Lock()
	was, queued := g.waiting[id]
	g.waiting[id] = was || orphan
	if !queued {
		g.queue = append(g.queue, id)
	}
	g.mu.Unlock()
	signal(g.wake)
}

// length returns the number of clients that wait.
func (g *registrar) length() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.queue)
}

// task is a client whose entry may be written.
type task struct {
	id     uint64
	orphan bool
	c      *local                 // the connection whose entry is written; nil if the entry is removed
	entry  record                 // what is written
	future jetstream.PubAckFuture // the write under way
}

// take takes at most maxBatch clients off the queue.
func (g *registrar) take() (tasks []*task) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.queue), maxBatch)
	for _, id := range g.queue[:n] {
		tasks = append(tasks, &task{id: id, orphan: g.waiting[id]})
		delete(g.waiting, id)
	}
	if g.queue = g.queue[n:]; len(g.queue) == 0 {
		g.queue = nil // release the memory of a large queue
	}
	return tasks
}

// run writes entries until ctx ends.
func (g *registrar) run(ctx context.Context) {
	const pause = 200 * time.Millisecond // after a failure
	for g.n.awaitReady(ctx) == nil {
		tasks := g.take()
		if len(tasks) == 0 {
			select {
			case <-ctx.Done():
			case <-g.wake:
			}
			continue
		}
		if g.writeBatch(ctx, tasks) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// writeBatch writes the entries of tasks, and waits for all writes. It reports false if NATS has
// failed to store one.
func (g *registrar) writeBatch(ctx context.Context, tasks []*task) (ok bool) {
	var failures int
	var last error
	fail := func(t *task, err error) {
		g.enqueue(t.id, t.orphan) // is tried again
		g.n.counters.failedWrites.Add(1)
		failures++
		last = err
	}
	for _, t := range tasks {
		if err := g.begin(t); err != nil {
			fail(t, err)
		}
	}
	for _, t := range tasks {
		if t.future == nil {
			continue
		}
		select {
		case ack := <-t.future.Ok():
			g.finish(t, ack.Sequence)
		case err := <-t.future.Err():
			if isConflict(err) {
				err = g.refresh(ctx, t)
			}
			if err != nil {
				fail(t, err)
			}
		case <-ctx.Done():
			return false
		}
	}
	if failures > 0 && ctx.Err() == nil {
		g.n.opt.Logger.Warn("cluster: entries were not written", "node", g.n.id, "entries", failures, "err", last)
	}
	return failures == 0
}

// begin decides what to write, and begins the write. It sets no future if there is nothing to write.
func (g *registrar) begin(t *task) (err error) {
	n := g.n
	r, alive := n.view.client(t.id)
	n.locals.mu.Lock()
	c := n.locals.clients[t.id]
	yields := c != nil && alive && r.node != n.id && c.yields(r)
	var gen uint64
	if c != nil {
		gen = c.gen
	}
	if yields {
		delete(n.locals.clients, t.id)
	}
	n.locals.mu.Unlock()
	switch {
	case yields:
		n.evict(t.id, c)
	case c != nil:
		state := stateOf(c.end)
		if gen == 0 || r.rev == gen && r.state != state {
			t.c, t.entry = c, record{node: n.id, since: c.since, state: state}
			t.future, err = n.bucket.put(t.id, t.entry, r.rev)
		}
	case r.node == n.id || t.orphan && r.node != "" && !alive:
		t.future, err = n.bucket.remove(clientName(t.id), r.rev)
	}
	return err
}

// finish records the revision of a write.
func (g *registrar) finish(t *task, rev uint64) {
	r := t.entry
	r.rev, r.written = rev, time.Now()
	if t.c != nil {
		g.n.locals.mu.Lock()
		t.c.gen = rev
		g.n.locals.mu.Unlock()
	}
	g.n.counters.writes.Add(1)
	g.n.view.setClient(t.id, r)
	g.n.settle(t.id)
}

// refresh reads the entry of a client after a conflict, and has it checked again.
func (g *registrar) refresh(ctx context.Context, t *task) error {
	ctx, cancel := context.WithTimeout(ctx, g.n.opt.Lease)
	defer cancel()
	r, err := g.n.bucket.readClient(ctx, t.id)
	if err != nil {
		return err
	}
	g.n.view.correctClient(t.id, r)
	g.enqueue(t.id, t.orphan)
	return nil
}
