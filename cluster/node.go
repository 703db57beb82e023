package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/singchia/geminio/internal/pairs"
	"github.com/singchia/geminio/metadata"
)

// frameOverhead bounds what a frame adds to its header and its data.
const frameOverhead = 10

// errNilContext refuses a nil context.
var errNilContext = errors.New("cluster: the context is nil")

// errInterruptedByClose is the error of an operation that was under way when its Node was closed.
var errInterruptedByClose = fmt.Errorf("%w: %w", ErrClosed, noNATS(true))

// Node is one of the processes that serve clients together: see [Join]. All methods are safe for
// concurrent use.
type Node struct {
	// Read-only after creation.
	id         string
	opt        Options
	nc         *nats.Conn
	bucket     *bucket
	identity   *identity
	record     nodeRecord
	began      time.Time
	view       *view
	locals     locals
	registrar  *registrar
	lease      *lease
	exchanges  exchanges
	executions executions
	links      *links
	store      *store
	deliveries *deliveries
	counters   counters
	ctx        context.Context // ends with the Node
	cancel     context.CancelFunc
	sub        *nats.Subscription
	status     chan nats.Status

	kv jetstream.KeyValue // the open bucket; nil if it is not open; used by the goroutine of keep alone

	// Signals of watchStatus for the goroutine of keep, with the capacity 1.
	connected    chan struct{}
	disconnected chan struct{}

	natsClosed chan struct{} // closed when keep has ended because the NATS connection was closed

	joining chan struct{}  // has an element for each membership that is being written
	leaving atomic.Bool    // the entry says that the node leaves
	running sync.WaitGroup // the goroutines of the Node; see start

	mu        sync.Mutex
	closed    bool
	ready     bool          // a session has read the whole bucket, and NATS has not been lost since
	reason    error         // why the last session has ended
	readiness chan struct{} // closed when ready is set, and made anew when it is unset
	busy      int           // operations with other nodes that are under way
	idle      chan struct{} // closed when busy becomes 0; nil if Shutdown does not wait
}

// Join makes this process a node of a cluster, and returns when the node knows all clients of the
// cluster and the other nodes can find it. nc is connected to NATS with JetStream, whose credentials,
// TLS and reconnecting are settings of nc. The Node uses nc until it is closed, and does not close it.
// nc should reconnect without a limit (nats.MaxReconnects(-1)): if nc is closed, the Node serves only
// local clients from then on.
//
// The error is an [*OptionError] for a wrong option, an error that matches [ErrNoNATS], ctx's error and the reason
// if the node has no access to JetStream in time, one that matches ErrNoNATS if nc is closed, or that of listening
// on Options.Listen. ctx has no effect after Join.
func Join(ctx context.Context, nc *nats.Conn, options Options) (*Node, error) {
	switch {
	case ctx == nil:
		return nil, errNilContext
	case nc == nil:
		return nil, errors.New("cluster: the NATS connection is nil")
	}
	o, err := options.resolve()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, err
	}
	n, err := newNode(nc, o, l)
	if err != nil {
		l.Close()
		return nil, err
	}
	if err := n.begin(l); err != nil {
		n.Close()
		return nil, err
	}
	if err := n.awaitReady(ctx); err != nil {
		n.Close()
		return nil, fmt.Errorf("cluster: join: %w: %w: %w", ErrNoNATS, err, n.trouble())
	}
	return n, nil
}

// trouble returns the last errors of the session and of the NATS connection, or errUnanswered if there are
// none. Join reports it if the Node does not become ready.
func (n *Node) trouble() error {
	n.mu.Lock()
	err := n.reason
	n.mu.Unlock()
	if last := n.nc.LastError(); last != nil { // such as a missing permission
		err = errors.Join(err, last)
	}
	return cmp.Or(err, errUnanswered)
}

// newNode returns a Node that does nothing yet.
func newNode(nc *nats.Conn, o Options, l net.Listener) (*Node, error) {
	n := &Node{
		id: nuid.Next(), opt: o, nc: nc, view: newView(), began: time.Now(),
		connected: make(chan struct{}, 1), disconnected: make(chan struct{}, 1), natsClosed: make(chan struct{}),
		readiness: make(chan struct{}), joining: make(chan struct{}, maxJoining),
	}
	n.locals.clients = make(map[uint64]*local)
	n.exchanges.waiting = make(map[uint64]*exchange)
	n.executions = executions{max: o.MaxRunning, running: make(map[string]context.CancelFunc)}
	n.registrar = newRegistrar(n)
	n.lease = newLease(n)
	n.deliveries = newDeliveries(n)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	addr, err := advertised(l.Addr(), o.Advertise, nc.LocalAddr())
	if err != nil {
		return nil, err
	}
	if n.identity, err = newIdentity(n.id); err != nil {
		return nil, err
	}
	n.record = nodeRecord{Host: o.Host, Addr: addr, Key: n.identity.fingerprint}
	if n.bucket, err = newBucket(nc, &o); err != nil {
		return nil, err
	}
	n.store = newStore(n.bucket, &o)
	return n, nil
}

// begin starts the goroutines of the Node. The Node owns l.
func (n *Node) begin(l net.Listener) (err error) {
	n.status = n.nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	n.running.Go(func() { n.watchStatus(n.status) })
	n.links = newLinks(n, l)
	if n.sub, err = n.nc.Subscribe(n.subjectOf(n.id, ">"), n.receive); err != nil {
		return unanswered(n.ctx, err)
	}
	n.running.Go(n.keep)
	n.running.Go(n.lease.run)
	n.running.Go(n.inquire)
	n.running.Go(func() { n.registrar.run(n.ctx) })
	n.running.Go(n.deliveries.keep)
	return nil
}

// ID returns the id of this node, which is unique: a process that joins again gets another id.
func (n *Node) ID() string { return n.id }

// start runs f in a goroutine that Close waits for. It reports false, and does not run f, after Close.
func (n *Node) start(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.running.Go(f)
	return true
}

// setReady sets whether the view is that of a running session.
func (n *Node) setReady(ready bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ready == ready {
		return
	}
	if n.ready = ready; ready {
		close(n.readiness)
	} else {
		n.readiness = make(chan struct{})
	}
}

// awaitReady waits until a session has read the whole bucket. It returns an error if none will.
func (n *Node) awaitReady(ctx context.Context) error {
	n.mu.Lock()
	ready := n.readiness
	n.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-n.ctx.Done():
		return ErrClosed
	case <-n.natsClosed:
		return nats.ErrConnectionClosed
	}
}

// enter counts an operation with another node. It reports false after Close.
func (n *Node) enter() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.busy++
	return true
}

// leave ends what enter has counted.
func (n *Node) leave() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy--; n.busy == 0 && n.idle != nil {
		close(n.idle)
		n.idle = nil
	}
}

// onNodeLost is called when another node has left. It was lost if it has not said so.
func (n *Node) onNodeLost(node string, lost bool) {
	if lost {
		n.counters.nodesLost.Add(1)
	}
	n.opt.Logger.Info("cluster: a node has left", "node", n.id, "left", node, "lost", lost)
	n.exchanges.failNode(node, nodeLost(node, true, nil))
	n.executions.cancelAll(n.subjectOf(node, answerToken, "")) // nobody waits for the answers
	n.start(func() { n.links.drop(node) })
}

// Shutdown leaves the cluster without interrupting work: the other nodes no longer find the clients of
// this node, and Shutdown waits until the operations with other nodes that are under way have ended.
// Then it closes the Node. If ctx ends earlier, Shutdown closes the Node at once and returns ctx's error.
//
// The Ends that were attached continue to serve their clients, which only this node reaches while Shutdown
// waits. So shut down their listener before (geminio.Shutdown): each client connects to another node as soon
// as the work with it has ended, and until then the handlers of this process can use the Node.
func (n *Node) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return errNilContext
	}
	n.leaving.Store(true)
	n.awaitWrite(ctx, n.lease.begin)
	n.mu.Lock()
	idle := make(chan struct{})
	if n.busy > 0 && !n.closed {
		if n.idle == nil {
			n.idle = idle
		}
		idle = n.idle
	} else {
		close(idle)
	}
	n.mu.Unlock()
	var err error
	select {
	case <-idle:
		n.links.flush(ctx)
	case <-ctx.Done():
		err = ctx.Err()
	}
	n.Close()
	return err
}

// awaitWrite makes a write and waits for it, at most a second. Without NATS it does nothing: then the
// lease ends.
func (n *Node) awaitWrite(ctx context.Context, write func() (jetstream.PubAckFuture, error)) {
	if !n.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	await(ctx, write)
}

// Close leaves the cluster at once. Operations with other nodes that are under way fail, and operations
// of other nodes with clients of this node are interrupted. The Ends that were attached continue to
// serve their clients. Close waits until the work of the Node has ended, but not for handlers of
// clients. A second Close returns at once. The error is nil.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	n.mu.Unlock()
	n.cancel() // no entry is written from here on
	n.awaitWrite(context.Background(), n.lease.end)
	if n.sub != nil {
		n.sub.Unsubscribe()
	}
	if n.status != nil {
		n.nc.RemoveStatusListener(n.status)
	}
	if n.links != nil {
		n.links.closeAll()
	}
	n.exchanges.failAll(errInterruptedByClose)
	n.running.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	n.deliveries.write(ctx, true)
	n.bucket.js.CleanupPublisher()
	return nil
}

// outgoing returns the metadata that operations with ctx send.
func outgoing(ctx context.Context) (metadata.MD, error) {
	l, err := pairs.FromContext(ctx)
	if err != nil || len(l) == 0 {
		return nil, err
	}
	return l.Decode(), nil
}

// withoutMetadata is a context whose operations send no metadata.
type withoutMetadata struct{ context.Context }

// Value implements context.Context.
func (c withoutMetadata) Value(key any) any {
	if _, ok := key.(pairs.OutgoingKey); ok {
		return nil
	}
	return c.Context.Value(key)
}
