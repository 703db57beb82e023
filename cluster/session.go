package cluster

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// watchTimeout is how long JetStream may take to begin a watch. It needs a leader for that, and may choose a
// server that was lost.
const watchTimeout = 3 * time.Second

// session keeps the view of a Node up to date. It lasts from one interruption of NATS to the next: a new
// session reads the whole bucket again, so nothing that was missed meanwhile matters. One goroutine
// runs it.
type session struct {
	n       *Node
	watcher jetstream.KeyWatcher

	ctx     context.Context // ends with the session
	filling *view           // the view that the first updates fill; nil when it is complete

	began  time.Time
	latest time.Time            // when the watch has brought something last
	own    uint64               // the revision of the own entry in the watch
	ownAt  time.Time            // when the watch has brought it
	behind time.Time            // since when the watch lacks the last renewal; zero if it does not
	unseen map[string]time.Time // since when nodes that have clients are not alive
}

// These errors end a session.
var (
	errDisconnected = errors.New("disconnected from NATS")
	errLease        = errors.New("the lease could not be renewed")
	errStalled      = errors.New("the watch of the bucket has stalled")
	errReplaced     = errors.New("the bucket was made anew")
)

// keep runs one session after the other until the Node is closed.
func (n *Node) keep() {
	const pause = 250 * time.Millisecond
	level := slog.LevelInfo // of the first end, for which Join waits; it returns the reason of the last one
	for n.ctx.Err() == nil {
		if n.nc.IsClosed() {
			n.opt.Logger.Error("cluster: the NATS connection is closed: only local clients are served", "node", n.id)
			close(n.natsClosed)
			return
		}
		if n.nc.IsConnected() {
			complete, err := n.runSession()
			if n.ctx.Err() != nil {
				return
			}
			n.mu.Lock()
			n.reason = err
			n.mu.Unlock()
			text := "cluster: the bucket was not read"
			if complete {
				level, text = slog.LevelWarn, "cluster: the session with NATS has ended"
			}
			n.opt.Logger.Log(n.ctx, level, text, "node", n.id, "err", err)
			level = slog.LevelDebug // the ends before the next session that is complete are details
		}
		select {
		case <-n.ctx.Done():
		case <-n.connected: // a signal that NATS is connected again
		case <-time.After(pause):
		}
	}
}

// runSession runs a session. It returns whether the session has read the whole bucket, and why it has ended.
func (n *Node) runSession() (complete bool, err error) {
	select {
	case <-n.disconnected: // an old signal
	default:
	}
	s := &session{n: n, filling: newView(), unseen: make(map[string]time.Time)}
	if err := n.openBucket(); err != nil {
		return false, err
	}
	defer func() {
		if err != errDisconnected && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			n.kv = nil // it may be lost
		}
	}()
	signal(n.lease.now)
	watch, stop := context.WithCancel(n.ctx)
	s.ctx = watch
	late := time.AfterFunc(watchTimeout, stop)
	if s.watcher, err = n.kv.WatchAll(watch); err != nil {
		stop()
		return false, err
	}
	late.Stop()
	defer func() {
		n.setReady(false)
		// With the end of the context, nats.go ends the subscription and then removes the consumer,
		// for which nothing here has to wait. It blocks as long as updates are not taken.
		stop()
		for range s.watcher.Updates() {
		}
	}()
	s.began, s.latest = time.Now(), time.Now()
	err = s.run()
	return s.filling == nil, err
}

// run handles updates and checks leases until the session ends.
func (s *session) run() error {
	ticker := time.NewTicker(s.n.lease.interval())
	defer ticker.Stop()
	for {
		select {
		case <-s.n.ctx.Done():
			return s.n.ctx.Err()
		case <-s.n.disconnected:
			return errDisconnected
		case e, ok := <-s.watcher.Updates():
			if !ok {
				return errDisconnected
			}
			s.latest = time.Now()
			s.update(e)
		case <-ticker.C:
			if err := s.check(); err != nil {
				return err
			}
			s.sweep()
		}
	}
}

// check returns an error if the watch does not show the bucket as it is, which the own entry tells. A watch
// lives on one server, and NATS does not tell when it is lost with that server.
func (s *session) check() error {
	now, lease := time.Now(), s.n.opt.Lease
	renewed, acked, rev := s.n.lease.last()
	if rev <= s.own {
		s.behind = time.Time{}
	} else if s.behind.IsZero() {
		s.behind = now
	}
	switch {
	case now.Sub(renewed) > lease && now.Sub(s.began) > lease:
		return errLease
	case rev < s.own && acked.After(s.ownAt):
		return errReplaced
	case !s.behind.IsZero() && now.Sub(s.behind) > lease/2 && now.Sub(s.latest) > lease/2:
		return errStalled
	}
	return nil
}

// openBucket opens the bucket unless it is open, and creates it if it does not exist. That needs a leader of
// the bucket, and what else a session needs does not.
func (n *Node) openBucket() (err error) {
	if n.kv != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(n.ctx, n.bucket.patience)
	defer cancel()
	n.kv, err = n.bucket.open(ctx)
	return err
}

// update handles an update of the bucket. A nil update says that all entries of the beginning were
// delivered.
func (s *session) update(e jetstream.KeyValueEntry) {
	if e == nil {
		s.complete()
		return
	}
	v := s.n.view
	if s.filling != nil {
		v = s.filling
	}
	put := e.Operation() == jetstream.KeyValuePut
	if id, ok := strings.CutPrefix(e.Key(), nodeKey); ok {
		if id == s.n.id {
			s.own, s.ownAt = e.Revision(), time.Now()
		}
		s.updateNode(v, id, e)
		return
	}
	if group, id, ok := parseMemberName(e.Key()); ok {
		v.watchMember(group, id, newMembership(e.Value(), put, e.Revision()))
		if put && s.filling == nil {
			s.n.deliveries.wake(id, group)
		}
		return
	}
	if e.Key() == storeKey && put {
		s.n.store.setExists()
		return
	}
	if id, ok := parseClientName(e.Key()); ok {
		set := func() { v.setClient(id, newRecord(e.Value(), put, e.Revision(), e.Created())) }
		if s.filling != nil {
			set()
		} else {
			s.n.settleAfter(id, set)
		}
	}
}

// updateNode handles the update of a node. A marker says that the node has left or that its lease has ended.
func (s *session) updateNode(v *view, id string, e jetstream.KeyValueEntry) {
	switch {
	case e.Operation() == jetstream.KeyValuePut:
		p, err := parseNode(id, e.Value())
		if err != nil {
			s.n.opt.Logger.Warn("cluster: an entry is not valid", "err", err)
			return
		}
		if p.leaving {
			v.leave(p)
		} else {
			v.setNode(p)
		}
		s.checkReady()
	case id == s.n.id: // NATS could not be reached for too long
		signal(s.n.lease.now)
	case !hasLeft(e) && s.n.lease.disturbed() && v.suspect(id):
	case v.removeNode(id) && s.filling == nil:
		s.n.onNodeLost(id, !hasLeft(e))
	}
}

// hasLeft reports whether the marker of a node says that the node was closed.
func hasLeft(e jetstream.KeyValueEntry) bool { return string(e.Value()) == goodbye }

// complete takes over the view that the first updates have filled.
func (s *session) complete() {
	if s.filling == nil {
		return
	}
	lost := s.n.view.replace(s.filling, s.n.lease.disturbed())
	s.filling = nil
	for _, id := range lost {
		if id != s.n.id {
			s.n.onNodeLost(id, true)
		}
	}
	s.n.settleAll()
	s.n.deliveries.wakeAll()
	s.n.start(func() { s.n.follow(s.ctx) })
	s.checkReady()
}

// checkReady sets the Node ready if its view is complete and has its own entry.
func (s *session) checkReady() {
	if s.filling == nil && s.n.view.knows(s.n.id) {
		s.n.setReady(true)
	}
}

// sweep drops outdated entries of the view, and the nodes whose lease has ended during a disturbance and that
// have not renewed it since. The node with the smallest id removes the entries of
// clients whose node has not been alive for two leases. In that time, a node that has lost
// its connection to NATS can come back.
func (s *session) sweep() {
	if !s.n.lease.disturbed() {
		for _, id := range s.n.view.removeSuspects() {
			if id != s.n.id {
				s.n.onNodeLost(id, true)
			}
		}
	}
	now := time.Now()
	s.n.view.forget(now.Add(-markerTTL))
	s.n.store.forget(s.n.view.hasMembers)
	orphans := s.n.view.orphans()
	seen := make(map[string]bool)
	for id, r := range orphans {
		since, known := s.unseen[r.node]
		if !known {
			since, s.unseen[r.node] = now, now
		}
		seen[r.node] = true
		if now.Sub(since) >= 2*s.n.opt.Lease && s.n.view.first(s.n.id) {
			s.n.registrar.collect(id)
		}
	}
	for node := range s.unseen {
		if !seen[node] {
			delete(s.unseen, node)
		}
	}
}

// watchStatus reports changes of the connection to NATS until the Node is closed.
func (n *Node) watchStatus(status chan nats.Status) {
	for st := range status {
		if st == nats.CONNECTED {
			signal(n.connected)
			continue
		}
		n.setReady(false)
		signal(n.disconnected)
		n.exchanges.failAll(noNATS(true))
	}
}

// signal sets a signal, which is a channel with capacity 1, unless it is set.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
