package main

import (
	"context"
	"fmt"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/gauge"
)

// crowd is a server and its clients, which are in a process of their own.
type crowd struct {
	l       server.Listener
	clients *population
	before  gauge.Usage // the usage of the server's process without clients
	ends    []geminio.End
	verdict verdict
}

// runClients connects very many clients, measures them when they are idle, lets them call
// and be called, measures again, and measures the remaining memory after they have
// closed.
func runClients(ctx context.Context, l load, b bounds) error {
	fmt.Printf("%d clients of one server, in two processes\n", l.clients)
	c, err := newCrowd(ctx)
	if err != nil {
		return err
	}
	if err = c.run(ctx, l, b); err != nil {
		c.verdict.fail("clients: %w", err)
	}
	c.l.Close()
	if err := c.clients.leave(); err != nil {
		c.verdict.fail("the process of the clients: %w", err)
	}
	return c.verdict.err()
}

func newCrowd(ctx context.Context) (*crowd, error) {
	opt := server.NewEndOptions()
	opt.SetRegisterLocalRPCs(methods())
	l, err := server.Listen("tcp", "127.0.0.1:0", opt)
	if err != nil {
		return nil, err
	}
	clients, err := newPopulation(ctx)
	if err != nil {
		l.Close()
		return nil, err
	}
	return &crowd{l: l, clients: clients, before: gauge.Take()}, nil
}

func (c *crowd) run(ctx context.Context, l load, b bounds) error {
	defer c.close()
	if err := c.connect(l.clients, b); err != nil {
		return err
	}
	if err := c.call(ctx, l, b); err != nil {
		return err
	}
	return c.part(l.clients, b)
}

// connect connects n clients.
func (c *crowd) connect(n int, b bounds) error {
	accepted := make(chan error, 1)
	start := time.Now()
	go func() { accepted <- c.accept(n) }()
	a, err := c.clients.do(order{Connect: n, Address: c.l.Addr().String()})
	if err != nil {
		c.l.Close() // ends the wait for clients that do not connect
		<-accepted
		return err
	}
	if err := <-accepted; err != nil {
		return err
	}
	fmt.Printf("  all had come after %v\n", time.Since(start).Round(time.Millisecond))
	c.verdict.share("server, all are quiet", n, c.quiet(n), b.perEnd, 1)
	c.verdict.share("clients, all are quiet", n, a.Usage, b.perEnd, 1)
	return nil
}

func (c *crowd) accept(n int) error {
	c.ends = make([]geminio.End, 0, n)
	for range n {
		end, err := c.l.AcceptEnd()
		if err != nil {
			return err
		}
		c.ends = append(c.ends, end)
	}
	return nil
}

// quiet returns the memory that the server uses for n Ends when no operation is under
// way.
func (c *crowd) quiet(n int) gauge.Usage {
	return gauge.Settle(gauge.Patience, quiet(c.before, n)).Since(c.before)
}

// call lets the clients call, and the server call each of them.
func (c *crowd) call(ctx context.Context, l load, b bounds) error {
	back := make(chan calls, 1)
	go func() { back <- callNowAndThen(ctx, c.ends, l.length, l.length) }()
	a, err := c.clients.do(order{Call: l.length, Every: l.every})
	own := <-back
	if err != nil {
		return err
	}
	c.verdict.calls("calls of the clients", l.clients, a.Calls)
	c.verdict.calls("calls of the server", l.clients, own)
	c.verdict.share("server, quiet again", l.clients, c.quiet(l.clients), b.perEnd, 1)
	c.verdict.share("clients, quiet again", l.clients, a.Usage, b.perEnd, 1)
	return nil
}

// part closes the clients. This ends the server's Ends, and the listener continues.
func (c *crowd) part(n int, b bounds) error {
	a, err := c.clients.do(order{Close: true})
	if err != nil {
		return err
	}
	c.verdict.share("server, ended and held", n, c.quiet(0), b.perEnd, 0)
	c.close()
	c.verdict.rest("left of the server", n, c.quiet(0), b.leftOfEnd)
	c.verdict.rest("left of the clients", n, a.Usage, b.leftOfEnd)
	return nil
}

// close closes the server's Ends, which may have ended before.
func (c *crowd) close() {
	inTurns(len(c.ends), func(i int) error { return c.ends[i].Close() })
	c.ends = nil
}
