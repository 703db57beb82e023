package cluster

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// session keeps the view of a Node up to date, and its lease in the bucket. It lasts from one
// interruption of NATS to the next: a new session reads the whole bucket again, so nothing that
// was missed meanwhile matters. One goroutine runs it.
type session struct {
	n       *Node
	kv      jetstream.KeyValue
	watcher jetstream.KeyWatcher

	filling *view // the view that the first updates fill; nil when it is complete

	renewal jetstream.PubAckFuture // the renewal under way; nil if there is none
	renewed time.Time              // the beginning of the last renewal that has succeeded
	begun   time.Time              // the beginning of the renewal under way
	unseen  map[string]time.Time   // since when nodes that have clients are not alive
}

// errLease ends a session whose lease could not be renewed in time.
var errLease = errors.New("the lease could not be renewed")

// errDisconnected ends a session when NATS is disconnected.
var errDisconnected = errors.New("disconnected from NATS")

// keep runs one session after the other until the Node is closed.
func (n *Node) keep() {
	const pause = time.Second
	for n.ctx.Err() == nil {
		if n.nc.IsClosed() {
			n.opt.Logger.Error("cluster: the NATS connection is closed: only local clients are served", "node", n.id)
			return
		}
		if n.nc.IsConnected() {
			err := n.runSession()
			if n.ctx.Err() != nil {
				return
			}
			n.opt.Logger.Warn("cluster: the session with NATS has ended", "node", n.id, "err", err)
		}
		select {
		case <-n.ctx.Done():
		case <-n.connected: // a signal that NATS is connected again
		case <-time.After(pause):
		}
	}
}

// runSession runs a session and returns why it has ended.
func (n *Node) runSession() error {
	select {
	case <-n.disconnected: // an old signal
	default:
	}
	s := &session{n: n, unseen: make(map[string]time.Time)}
	// A lease comes first, since the rest can take longer than it lasts. Without a bucket it fails soon.
	if !n.hasLease || s.renewNow() != nil {
		if err := s.openBucket(); err != nil {
			return err
		}
		if err := s.renewNow(); err != nil {
			return err
		}
	}
	n.hasLease = true
	if err := s.openBucket(); err != nil {
		return err
	}
	var err error
	s.filling = newView()
	watch, stop := context.WithCancel(n.ctx)
	if s.watcher, err = s.kv.WatchAll(watch); err != nil {
		stop()
		return err
	}
	defer func() {
		n.setReady(false)
		// With the end of the context, nats.go ends the subscription and then removes the consumer,
		// for which nothing here has to wait. It blocks as long as updates are not taken.
		stop()
		for range s.watcher.Updates() {
		}
	}()
	return s.run()
}

// run handles updates and renews the lease until the session ends.
func (s *session) run() error {
	ticker := time.NewTicker(s.n.opt.Lease / 3)
	defer ticker.Stop()
	for {
		var renewed <-chan *jetstream.PubAck
		var failed <-chan error
		if s.renewal != nil {
			renewed, failed = s.renewal.Ok(), s.renewal.Err()
		}
		select {
		case <-s.n.ctx.Done():
			return s.n.ctx.Err()
		case <-s.n.disconnected:
			return errDisconnected
		case e, ok := <-s.watcher.Updates():
			if !ok {
				return errDisconnected
			}
			s.update(e)
		case <-renewed:
			s.noteRenewal()
		case err := <-failed:
			s.n.opt.Logger.Warn("cluster: the lease was not renewed", "node", s.n.id, "err", err)
			s.renewal = nil
		case <-ticker.C:
			if time.Since(s.renewed) > s.n.opt.Lease {
				return errLease
			}
			if err := s.renew(); err != nil {
				return err
			}
			s.sweep()
		}
	}
}

// renew begins to renew the lease, unless a renewal is under way.
func (s *session) renew() (err error) {
	if s.renewal != nil {
		return nil
	}
	s.begun = time.Now()
	s.renewal, err = s.n.writeLease()
	return err
}

// openBucket opens the bucket, which it creates if it does not exist.
func (s *session) openBucket() (err error) {
	if s.kv != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.n.ctx, s.n.bucket.patience)
	defer cancel()
	s.kv, err = s.n.bucket.open(ctx)
	return err
}

// renewNow renews the lease and waits for the end of the renewal.
func (s *session) renewNow() error {
	if err := s.renew(); err != nil {
		return err
	}
	f := s.renewal
	s.renewal = nil
	select {
	case <-f.Ok():
		s.noteRenewal()
		return nil
	case err := <-f.Err():
		return err
	case <-s.n.ctx.Done():
		return s.n.ctx.Err()
	}
}

// noteRenewal records that the renewal under way has succeeded.
func (s *session) noteRenewal() {
	s.renewed, s.renewal = s.begun, nil
	s.n.counters.renewed.Store(int64(s.renewed.Sub(s.n.began)))
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
		s.updateNode(v, id, e.Value(), put)
		return
	}
	if group, id, ok := parseMemberName(e.Key()); ok {
		v.watchMember(group, id, put, e.Revision())
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

// updateNode handles the update of a node. Without put the node has left or was lost.
func (s *session) updateNode(v *view, id string, value []byte, put bool) {
	if put {
		p, err := parseNode(id, value)
		if err != nil {
			s.n.opt.Logger.Warn("cluster: an entry is not valid", "err", err)
			return
		}
		if p.leaving {
			v.leave(p)
		} else {
			v.setNode(p)
		}
		return
	}
	if id == s.n.id { // NATS could not be reached for too long
		if err := s.renew(); err != nil {
			s.n.opt.Logger.Warn("cluster: the lease was not renewed", "node", s.n.id, "err", err)
		}
		return
	}
	if v.removeNode(id) && s.filling == nil {
		s.n.onNodeLost(id, string(value) != goodbye)
	}
}

// complete takes over the view that the first updates have filled.
func (s *session) complete() {
	if s.filling == nil {
		return
	}
	lost := s.n.view.replace(s.filling)
	s.filling = nil
	for _, id := range lost {
		if id != s.n.id {
			s.n.onNodeLost(id, true)
		}
	}
	s.n.settleAll()
	s.n.setReady(true)
}

// sweep drops outdated entries of the view. The node with the smallest id removes the entries of
// clients whose node has not been alive for two leases. In that time, a node that has lost
// its connection to NATS can come back.
func (s *session) sweep() {
	now := time.Now()
	s.n.view.forget(now.Add(-markerTTL))
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
