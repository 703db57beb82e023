package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// servers is the number of NATS servers, of nodes, and of the replicas of the bucket.
const servers = 3

// deployment is a cluster: three NATS servers, three nodes, and the process of the clients. One goroutine uses it.
type deployment struct {
	ctx context.Context
	load
	nats    []*process
	nodes   []*process // those that are alive
	clients *process
	nc      *nats.Conn
	dir     string
}

// deploy starts everything. The caller calls end.
func deploy(ctx context.Context, l load) (d *deployment, err error) {
	d = &deployment{ctx: ctx, load: l}
	if d.dir, err = os.MkdirTemp("", "cluster-scale-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.end()
		}
	}()
	routes, err := freeAddresses(servers)
	if err != nil {
		return d, err
	}
	d.nats = make([]*process, servers)
	err = inParallel(servers, func(i int) (err error) {
		d.nats[i], err = start(ctx, "nats", settings{Index: i, Dir: filepath.Join(d.dir, strconv.Itoa(i)), Routes: routes})
		return err
	})
	if err != nil {
		return d, err
	}
	if d.nc, err = nats.Connect(d.nats[0].Addr, nats.MaxReconnects(-1)); err != nil {
		return d, err
	}
	for i := range servers {
		n, err := d.startNode(i)
		if err != nil {
			return d, err
		}
		d.nodes = append(d.nodes, n)
	}
	if d.clients, err = start(ctx, "clients", settings{}); err != nil {
		return d, err
	}
	return d, d.tell()
}

// freeAddresses returns loopback addresses that are free.
func freeAddresses(n int) (all []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // when all have a port
		all = append(all, l.Addr().String())
	}
	return all, nil
}

// inParallel calls f for the numbers below n, and returns its errors.
func inParallel(n int, f func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = f(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// startNode starts a node that uses one of the NATS servers.
func (d *deployment) startNode(i int) (*process, error) {
	return start(d.ctx, "node", settings{URL: d.nats[i].Addr, Lease: d.load.lease, Replicas: servers, Direct: d.load.direct})
}

// end ends all processes.
func (d *deployment) end() {
	for _, p := range append(append([]*process{d.clients}, d.nodes...), d.nats...) {
		if p != nil {
			p.end()
		}
	}
	if d.nc != nil {
		d.nc.Close()
	}
	os.RemoveAll(d.dir)
}

// tell tells the clients the addresses of the nodes.
func (d *deployment) tell() error {
	var all []string
	for _, n := range d.nodes {
		all = append(all, n.Addr)
	}
	_, err := d.clients.do(order{Do: "addresses", Addresses: all})
	return err
}

// atNodes gives the same order to all nodes at once.
func (d *deployment) atNodes(o order) ([]answer, error) {
	answers := make([]answer, len(d.nodes))
	err := inParallel(len(d.nodes), func(i int) (err error) {
		mine := o
		mine.Seed += uint64(i)
		answers[i], err = d.nodes[i].do(mine)
		return err
	})
	return answers, err
}

// truth returns which clients are connected to which node, by their own account, and their number.
func (d *deployment) truth() (t tallies, connected int, err error) {
	a, err := d.clients.do(order{Do: "where"})
	if err != nil {
		return nil, 0, err
	}
	t = make(tallies)
	for _, n := range d.nodes {
		if at, ok := a.Where[n.Addr]; ok {
			t[n.ID] = at
			connected += at.Clients
		}
	}
	return t, connected, nil
}

// patience bounds the wait for presence. No result depends on it.
const patience = 5 * time.Minute

// settle waits until all clients are connected and all nodes know exactly where they are.
func (d *deployment) settle(clients uint64) error {
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		t, connected, err := d.truth()
		if err != nil {
			return err
		}
		known, err := d.atNodes(order{Do: "where"})
		if err != nil {
			return err
		}
		right := uint64(connected) == clients
		var views []tallies
		for _, k := range known {
			views = append(views, k.Where)
			right = right && maps.Equal(k.Where, t)
		}
		if right {
			return nil
		}
		if time.Since(begin) > patience || d.ctx.Err() != nil {
			return fmt.Errorf("presence is wrong: %d clients are connected, %v; the nodes know %v", connected, t, views)
		}
	}
}

// inBucket waits until the entries of clients in the bucket are exactly those that are connected.
func (d *deployment) inBucket() error {
	js, err := jetstream.New(d.nc)
	if err != nil {
		return err
	}
	kv, err := js.KeyValue(d.ctx, "geminio")
	if err != nil {
		return err
	}
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		t, _, err := d.truth()
		if err != nil {
			return err
		}
		got, err := entries(d.ctx, kv)
		if err != nil {
			return err
		}
		if maps.Equal(got, t) {
			return nil
		}
		if time.Since(begin) > patience || d.ctx.Err() != nil {
			return fmt.Errorf("the bucket has stale entries: %v, and not %v", got, t)
		}
	}
}

// entries returns the entries of clients in the bucket.
func entries(ctx context.Context, kv jetstream.KeyValue) (tallies, error) {
	w, err := kv.Watch(ctx, "c.>", jetstream.IgnoreDeletes())
	if err != nil {
		return nil, err
	}
	defer w.Stop()
	t := make(tallies)
	for e := range w.Updates() {
		if e == nil { // all entries have come
			break
		}
		id, err := strconv.ParseUint(strings.TrimPrefix(e.Key(), "c."), 10, 64)
		if err != nil {
			return nil, err
		}
		where, _, _ := strings.Cut(string(e.Value()), " ")
		t.add(where, id)
	}
	return t, nil
}

// traffic returns what the nodes have exchanged with NATS, and what the NATS servers have received and sent, with
// their use of processors.
func (d *deployment) traffic() (nodes, nats traffic, err error) {
	at, err := d.atNodes(order{Do: "traffic"})
	if err != nil {
		return nodes, nats, err
	}
	for _, a := range at {
		nodes = nodes.plus(a.Traffic)
	}
	for _, p := range d.nats {
		a, err := p.do(order{Do: "traffic"})
		if err != nil {
			return nodes, nats, err
		}
		nats = nats.plus(a.Traffic)
	}
	return nodes, nats, nil
}
