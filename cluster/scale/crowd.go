package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/singchia/geminio/test/gauge"
)

// crowd is the part of very many clients. One goroutine uses it.
type crowd struct {
	*deployment
	out      io.Writer
	expected int // messages that the clients get
}

// runClients connects very many clients to a cluster, lets nodes call them and send to them, and moves the
// clients by the kill of a node and by a rolling restart.
func runClients(ctx context.Context, out io.Writer, l load) error {
	d, err := deploy(ctx, l)
	if err != nil {
		return err
	}
	defer d.end()
	c := &crowd{deployment: d, out: out}
	fmt.Fprintf(out, "%d clients of three nodes, with three NATS servers, and a lease of %v\n\n", l.size, l.lease)
	for _, part := range []func() error{c.run, c.move, c.verify} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// run connects the clients, and measures memory and traffic.
func (c *crowd) run() error {
	before, err := c.usage()
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "| event | number | nodes to NATS | bytes | NATS to nodes | bytes | NATS servers in and out | bytes | processor time, nodes | NATS servers | a second |\n")
	fmt.Fprintf(c.out, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	begin := time.Now()
	var connected, settled time.Duration
	err = c.measured("join", c.size, func() error {
		if err := c.did(c.clients.do(order{Do: "connect", First: 1, N: c.size})); err != nil {
			return err
		}
		connected = time.Since(begin)
		defer func() { settled = time.Since(begin) }()
		return c.settle(c.size)
	})
	if err != nil {
		return err
	}
	with, err := c.usage()
	if err != nil {
		return err
	}
	last := c.size - c.size/10 + 1 // the clients that leave
	var left time.Duration
	leave := func() error {
		if err := c.did(c.clients.do(order{Do: "close", First: last, N: c.size / 10})); err != nil {
			return err
		}
		defer func(begin time.Time) { left = time.Since(begin) }(time.Now())
		return c.settle(c.size - c.size/10)
	}
	if err := c.measured("leave", c.size/10, leave); err != nil {
		return err
	}
	if err := c.did(c.clients.do(order{Do: "connect", First: last, N: c.size / 10})); err != nil {
		return err
	}
	if err := c.settle(c.size); err != nil {
		return err
	}
	if err := c.measured("group join", c.size, func() error { return c.group("join group", 1, c.size) }); err != nil {
		return err
	}
	grouped, err := c.usage()
	if err != nil {
		return err
	}
	if err := c.measured("group leave", c.size/10, func() error { return c.group("leave group", last, c.size/10) }); err != nil {
		return err
	}
	if err := c.group("join group", last, c.size/10); err != nil {
		return err
	}
	if err := c.operate(); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "\nAll clients had connected after %v, and all nodes knew all of them after %v. The nodes knew of the leaves %v after the last.\n\n",
		round(connected), round(settled), round(left))
	c.memory(before, with, grouped)
	return nil
}

// operate has the nodes call the clients and send to them.
func (c *crowd) operate() error {
	var times [2][]answer
	for i, do := range []string{"call", "publish"} {
		err := c.measured(do+" of a random client, 100 B", servers*c.calls, func() error {
			answers, err := c.atNodes(order{Do: do, N: c.calls, Clients: c.size, Size: 100, Seed: 1})
			times[i] = answers
			for _, a := range answers {
				err = errors.Join(err, c.did(a, nil))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	c.expected += int(servers * c.calls)
	members := int(c.size / c.groups)
	err := c.measured(fmt.Sprintf("broadcast to %d members, 100 B", members), c.broadcasts, func() error {
		a, err := c.nodes[0].do(order{Do: "broadcast", N: c.broadcasts, Group: "room-1", Size: 100})
		c.expected += a.Done
		if err == nil && (a.Failed > 0 || a.Done != members*int(c.broadcasts)) {
			err = fmt.Errorf("the broadcasts have reached %d clients and not %d, %d failed", a.Done, members*int(c.broadcasts), a.Failed)
		}
		return err
	})
	if err != nil {
		return err
	}
	if c.idle > 0 {
		err := c.measured("second without events", uint64(c.idle/time.Second), func() error {
			time.Sleep(c.idle)
			return nil
		})
		if err != nil {
			return err
		}
	}
	for i, do := range []string{"calls", "publications"} {
		a := times[i][0]
		fmt.Fprintf(c.out, "\n%d %s under way at each node: half took less than %v, 99%% less than %v.\n", atOnce, do, round(a.Half), round(a.Most))
	}
	return c.receive()
}

// receive waits until the clients have got all messages.
func (c *crowd) receive() error {
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		a, err := c.clients.do(order{Do: "received"})
		if err != nil || a.Done == c.expected {
			return err
		}
		if time.Since(begin) > patience {
			return fmt.Errorf("the clients have got %d messages of %d", a.Done, c.expected)
		}
	}
}

// group changes the memberships of clients, and waits until all nodes know that.
func (c *crowd) group(do string, first, n uint64) error {
	if err := c.did(c.nodes[0].do(order{Do: do, First: first, N: n, Groups: c.groups})); err != nil {
		return err
	}
	want := int(c.size)
	if do == "leave group" {
		want -= int(n)
	}
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		answers, err := c.atNodes(order{Do: "members", Groups: c.groups})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(answers, func(a answer) bool { return a.Done != want }) {
			return nil
		}
		if time.Since(begin) > patience {
			return fmt.Errorf("after %q a node does not know %d members", do, want)
		}
	}
}

// did returns an error unless everything of an answer was done.
func (c *crowd) did(a answer, err error) error {
	if err == nil && a.Failed+a.Wrong > 0 {
		err = fmt.Errorf("%d operations have failed, such as %s; %d were answered by another client", a.Failed, a.First, a.Wrong)
	}
	return err
}

// measured does something, and prints the traffic of NATS and the processor time for each of a number of events.
func (c *crowd) measured(what string, n uint64, f func() error) error {
	nodes, servers, err := c.traffic()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	took := time.Since(begin)
	nodesNow, serversNow, err := c.traffic()
	if err != nil {
		return err
	}
	nodes, servers = nodesNow.minus(nodes), serversNow.minus(servers)
	each := func(x uint64) float64 { return float64(x) / float64(n) }
	share := func(d time.Duration) time.Duration { return (d / time.Duration(n)).Round(time.Microsecond) }
	fmt.Fprintf(c.out, "| %s | %d | %.2f | %.0f | %.2f | %.0f | %.2f | %.0f | %v | %v | %.0f |\n", what, n,
		each(nodes.OutMessages), each(nodes.OutBytes), each(nodes.InMessages), each(nodes.InBytes),
		each(servers.InMessages+servers.OutMessages), each(servers.InBytes+servers.OutBytes),
		share(nodes.Processor), share(servers.Processor), float64(n)/took.Seconds())
	return nil
}

// usage returns what each node and each NATS server uses.
func (c *crowd) usage() ([]gauge.Usage, error) {
	var all []gauge.Usage
	for _, p := range append(slices.Clone(c.nodes), c.nats...) {
		a, err := p.do(order{Do: "usage"})
		if err != nil {
			return nil, err
		}
		all = append(all, a.Usage)
	}
	return all, nil
}

// memory prints what the processes use, and what the clients add to it. A node has the Ends of a third of the
// clients, and the entries of all.
func (c *crowd) memory(before, with, grouped []gauge.Usage) {
	fmt.Fprintf(c.out, "| process | heap and stacks, resident, without clients | with %d clients | more, for each client | with a membership of each | more, for each |\n", c.size)
	fmt.Fprintf(c.out, "| --- | --- | --- | --- | --- | --- |\n")
	for i := range before {
		name := fmt.Sprint("node ", i+1)
		if i >= servers {
			name = fmt.Sprint("NATS server ", i-servers+1)
		}
		show := func(u gauge.Usage) string {
			return fmt.Sprintf("%.1f, %.1f MB", gauge.Mega(u.Memory()), gauge.Mega(u.Resident))
		}
		each := func(u gauge.Usage) string {
			return fmt.Sprintf("%d, %d B", u.Memory()/int64(c.size), u.Resident/int64(c.size))
		}
		fmt.Fprintf(c.out, "| %s | %s | %s | %s | %s | %s |\n", name, show(before[i]), show(with[i]), each(with[i].Since(before[i])),
			show(grouped[i]), each(grouped[i].Since(with[i])))
	}
	fmt.Fprintln(c.out)
}

// round returns a duration in milliseconds.
func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// move kills a node, and then replaces all nodes one after the other.
func (c *crowd) move() error {
	victim := c.nodes[0]
	t, _, err := c.truth()
	if err != nil {
		return err
	}
	c.nodes = c.nodes[1:]
	if err := c.tell(); err != nil {
		return err
	}
	begin := time.Now()
	victim.kill()
	if err := c.connected(); err != nil {
		return err
	}
	connected := time.Since(begin)
	if err := c.settle(c.size); err != nil {
		return fmt.Errorf("after the kill of a node: %w", err)
	}
	fmt.Fprintf(c.out, "%v after kill -9 of a node with %d clients, all of them were connected to other nodes, and all nodes knew that after %v.\n",
		round(connected), t[victim.ID].Clients, round(time.Since(begin)))
	n, err := c.startNode(0)
	if err != nil {
		return err
	}
	c.nodes = append(c.nodes, n)
	if err := c.tell(); err != nil {
		return err
	}
	begin = time.Now()
	var down []time.Duration
	for i := range servers {
		n, err := c.startNode(i)
		if err != nil {
			return err
		}
		old := c.nodes[0]
		c.nodes = append(c.nodes[1:], n)
		if err := c.tell(); err != nil {
			return err
		}
		a, err := old.do(order{Do: "shut down"})
		if err != nil {
			return err
		}
		down = append(down, round(a.Took))
		old.end()
	}
	ended := time.Now()
	if err := c.settle(c.size); err != nil {
		return fmt.Errorf("after the rolling restart: %w", err)
	}
	fmt.Fprintf(c.out, "A rolling restart of all nodes took %v, of which their Shutdown took %v. Presence was right %v later.\n", round(ended.Sub(begin)), down, round(time.Since(ended)))
	return nil
}

// connected waits until all clients are connected.
func (c *crowd) connected() error {
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		_, n, err := c.truth()
		if err != nil || uint64(n) == c.size {
			return err
		}
		if time.Since(begin) > patience {
			return fmt.Errorf("only %d clients are connected", n)
		}
	}
}

// verify checks presence at all nodes and in the bucket, and has each node call each client.
func (c *crowd) verify() error {
	if err := c.inBucket(); err != nil {
		return err
	}
	if err := c.settle(c.size); err != nil {
		return err
	}
	answers, err := c.atNodes(order{Do: "call each", First: 1, N: c.size})
	for _, a := range answers {
		err = errors.Join(err, c.did(a, nil))
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "The bucket has exactly the %d clients, and each node has called each of them.\n\n", c.size)
	return nil
}
