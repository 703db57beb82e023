package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/singchia/geminio"
)

const (
	// maxAhead and maxAheadBytes bound the stored messages that a client has not answered.
	maxAhead      = 16
	maxAheadBytes = 64 << 10
	// deliveryPause is how long a delivery waits after an error before it continues.
	deliveryPause = time.Second
)

// deliveries pass the messages of the store on to the clients of this node. A client has a delivery from the
// first message on until its connection ends, and a goroutine while there are messages for it. So a slow
// client delays no other one. All methods are safe for concurrent use.
type deliveries struct {
	n     *Node
	leave chan struct{} // a signal that there is something in left

	mu   sync.Mutex
	all  map[uint64]*delivery
	left map[uint64]*delivery // whose client has left, and whose cursor is not written yet
}

// delivery passes messages on to one client.
type delivery struct {
	client uint64
	woken  chan struct{} // a signal that groups has changed

	// Guarded by deliveries.mu.
	running bool            // a goroutine runs run
	groups  map[string]bool // groups that may have a message

	mu        sync.Mutex
	loaded    bool   // start was read
	start     cursor // of the bucket
	positions map[string]*position
	dirty     bool // a message was answered since the cursor was written
}

// position is where a client is in the messages of a group: the sequences of the last message that was sent
// to it, and of the last one for which it and all before were answered.
type position struct {
	origin      uint64 // the membership
	sent, acked uint64
}

// newDeliveries returns deliveries. Their Node has to run them.
func newDeliveries(n *Node) *deliveries {
	return &deliveries{n: n, leave: make(chan struct{}, 1), all: make(map[uint64]*delivery), left: make(map[uint64]*delivery)}
}

// wake has the groups of a client looked at, or all of its groups if there are none. It does nothing if the
// client is not connected to this node.
func (t *deliveries) wake(client uint64, groups ...string) {
	if len(groups) == 0 {
		groups = t.n.view.groupsOf(client)
	}
	here := t.n.locals.end(client) != nil
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.all[client]
	if d == nil {
		if !here || len(groups) == 0 {
			return
		}
		if d = t.left[client]; d == nil {
			d = &delivery{client: client, woken: make(chan struct{}, 1), positions: make(map[string]*position)}
		}
		delete(t.left, client)
		t.all[client] = d
	}
	if d.groups == nil {
		d.groups = make(map[string]bool)
	}
	for _, group := range groups {
		d.groups[group] = true
	}
	signal(d.woken)
	if !d.running {
		d.running = t.n.start(func() { t.run(d) })
	}
}

// wakeGroup wakes the members of a group that are connected to this node.
func (t *deliveries) wakeGroup(group string) {
	for _, id := range t.n.locals.among(t.n.view.members(group)) {
		t.wake(id, group)
	}
}

// wakeAll wakes all clients of this node.
func (t *deliveries) wakeAll() {
	for _, id := range t.n.locals.ids() {
		t.wake(id)
	}
}

// isDone reports whether a channel is closed.
func isDone(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// take returns the groups that may have a message.
func (t *deliveries) take(d *delivery) map[string]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	groups := d.groups
	d.groups = nil
	select {
	case <-d.woken:
	default:
	}
	return groups
}

// rest ends the goroutine of a delivery, unless it was woken meanwhile. It removes the delivery if the client
// has left, or has got no message.
func (t *deliveries) rest(d *delivery, left bool) bool {
	d.mu.Lock()
	idle := len(d.positions) == 0
	d.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if d.groups != nil {
		return false
	}
	d.running = false
	if left || idle {
		delete(t.all, d.client)
	}
	if left && !idle {
		t.left[d.client] = d
		signal(t.leave)
	}
	return true
}

// run passes messages on until there is none.
func (t *deliveries) run(d *delivery) {
	for {
		groups := t.take(d)
		end := t.n.locals.end(d.client)
		if end != nil {
			if err := t.deliver(d, end, groups); err != nil && t.n.ctx.Err() == nil && !isDone(geminio.Done(end)) {
				t.n.opt.Logger.Debug("cluster: stored messages wait", "node", t.n.id, "client", d.client, "err", err)
				time.AfterFunc(deliveryPause, func() { t.wake(d.client) })
			}
		}
		if t.n.locals.end(d.client) != end {
			t.wake(d.client) // deliver may have taken the groups of the wake for the other End, or for none
			continue
		}
		if t.rest(d, end == nil) {
			return
		}
	}
}

// follow follows the store until ctx ends, and wakes the clients that have new messages.
func (n *Node) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := n.store.follow(ctx, n.deliveries.wakeGroup)
		if ctx.Err() != nil {
			return
		}
		n.opt.Logger.Warn("cluster: stored messages cannot be followed", "node", n.id, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(deliveryPause):
		}
	}
}

// flight is a message that was sent to a client and is not answered.
type flight struct {
	group   string
	m       *stored
	publish *geminio.Publish
}

// deliver passes the messages of groups on until there is none, or until a message cannot be sent or is not
// answered.
func (t *deliveries) deliver(d *delivery, end geminio.End, groups map[string]bool) (err error) {
	d.rewind()
	var (
		queue   []string // groups that may have a message, in the order of their turns
		flights []flight // in the order in which they were sent
		bytes   int
		broken  bool // a message was not answered, so those behind it do not count
	)
	for {
		for group := range groups {
			if !slices.Contains(queue, group) {
				queue = append(queue, group)
			}
		}
		groups = nil
		if err == nil && len(queue) > 0 && len(flights) < maxAhead && bytes < maxAheadBytes {
			group := queue[0]
			queue = queue[1:]
			var m *stored
			if m, err = t.next(d, group); m != nil {
				var f flight
				if f, err = t.send(d, end, group, m); f.publish != nil {
					flights, bytes = append(flights, f), bytes+m.size
				}
				queue = append(queue, group)
			}
			continue
		}
		if len(flights) == 0 {
			return err
		}
		select {
		case p := <-flights[0].publish.Done:
			f := flights[0]
			flights, bytes = flights[1:], bytes-f.m.size
			more := slices.ContainsFunc(flights, func(other flight) bool { return other.group == f.group })
			if failure := t.count(d, f.m, p.Error); failure != nil {
				err, broken = failure, true
			} else if !broken {
				d.answered(f.group, f.m.seq, !more)
			}
		case <-d.woken:
			groups = t.take(d)
		}
	}
}

// next returns the next message of a group for a client, or nil if there is none.
func (t *deliveries) next(d *delivery, group string) (*stored, error) {
	m := t.n.view.membership(group, d.client)
	known, _ := t.n.store.position(group)
	if !m.member || known.last <= m.joined {
		return nil, nil
	}
	if !t.n.nc.IsConnected() {
		return nil, ErrNoNATS
	}
	if err := t.load(d); err != nil {
		return nil, err
	}
	sent := d.position(group, m).sent
	if known.last <= sent {
		return nil, nil
	}
	v, err := t.n.store.next(t.n.ctx, group, sent)
	if err != nil {
		return nil, err
	}
	if v == nil || v.before > sent {
		t.n.counters.missed.Add(1)
		t.n.opt.Logger.Warn("cluster: stored messages were removed before a member got them",
			"node", t.n.id, "client", d.client, "group", group)
	}
	if v == nil {
		d.skip(group, known.last)
	}
	return v, nil
}

// send sends a message to a client. It returns no flight and no error if the message can never be sent, and
// is skipped.
func (t *deliveries) send(d *delivery, end geminio.End, group string, m *stored) (flight, error) {
	err := errEnvelope
	if m.r != nil {
		ctx, cancel := m.r.context(t.n.ctx)
		defer cancel() // has no effect: there is no timeout
		var p *geminio.Publish
		if p, err = end.PublishAsync(ctx, messageFor(end, m.r), nil); err == nil {
			d.sent(group, m.seq)
			return flight{group, m, p}, nil
		}
	}
	if err = t.count(d, m, err); err == nil {
		d.skip(group, m.seq)
	}
	return flight{}, err
}

// count counts the outcome of a message. It returns err unless the message is done with: the client has
// answered it, or can never get it.
func (t *deliveries) count(d *delivery, m *stored, err error) error {
	_, interrupted := errors.AsType[*geminio.InterruptedError](err)
	_, refused := errors.AsType[*geminio.RemoteError](err)
	switch {
	case err == nil:
		t.n.counters.delivered.Add(1)
	case !interrupted && (refused || err == errEnvelope || errors.Is(err, geminio.ErrTooLarge)):
		t.n.counters.declined.Add(1)
		t.n.opt.Logger.Info("cluster: a member has declined a stored message",
			"node", t.n.id, "client", d.client, "sequence", m.seq, "err", err)
	default:
		return err
	}
	return nil
}

// position returns a copy of the position of a client in a group, which it makes if there is none.
func (d *delivery) position(group string, m membership) position {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.positions[group]
	if p == nil || p.origin != m.origin {
		p = &position{origin: m.origin, sent: d.begin(m), acked: d.begin(m)}
		d.positions[group] = p
	}
	return *p
}

// begin returns the sequence up to which a client has the messages of a group without a position. d.mu is
// held.
func (d *delivery) begin(m membership) uint64 {
	if m.origin <= d.start.rev {
		return max(m.joined, d.start.seq)
	}
	return m.joined
}

// sent notes that a message was sent.
func (d *delivery) sent(group string, seq uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.positions[group]; p != nil { // otherwise the client has left the group meanwhile
		p.sent = seq
	}
}

// skip notes that messages up to seq are not sent.
func (d *delivery) skip(group string, seq uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.positions[group]; p != nil {
		if d.dirty = true; p.acked == p.sent {
			p.acked = seq
		}
		p.sent = seq
	}
}

// answered notes that a message was answered, and whether it was the last one that was sent.
func (d *delivery) answered(group string, seq uint64, last bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.positions[group]; p != nil {
		if d.dirty = true; last {
			seq = p.sent // some behind it may have been skipped
		}
		p.acked = max(p.acked, seq)
	}
}

// rewind has the messages that were not answered sent again.
func (d *delivery) rewind() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.positions {
		p.sent = p.acked
	}
}
