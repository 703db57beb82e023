package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/internal/tunnel"
	"github.com/singchia/geminio/server"
)

func (c *command) downstream(ctx context.Context) (downstream, error) {
	switch c.role {
	case roleOut:
		return target(c.target), nil
	case roleRelayOut:
		l, err := c.listenHop(c.listenNext)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(c.Stdout, "relay_out listens for the next hop on %s\n", l.Addr())
		n := &nextHops{c: c, l: l}
		go n.accept()
		return n, nil
	default:
		end, err := c.dialHop(ctx, "next hop", c.next)
		if err != nil {
			return nil, err
		}
		return nextHop{end}, nil
	}
}

// target is a TCP address.
type target string

func (t target) open(ctx context.Context, _ string) (tunnel.Leg, error) {
	return tunnel.DialTCP(ctx, string(t))
}

func (t target) close() {}

// nextHop is the next hop that this one dials.
type nextHop struct{ end geminio.End }

func (n nextHop) open(ctx context.Context, from string) (tunnel.Leg, error) {
	leg, err := tunnel.Open(ctx, n.end, withOrigin(from))
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, errors.New("no connection with the next hop")
	}
	return leg, err
}

func (n nextHop) close() { n.end.Close() }

// nextHops are the Ends of next hops that join. If there are several they take
// turns.
type nextHops struct {
	c    *command
	l    server.Listener
	pool tunnel.Pool
}

// accept accepts them until the listener is closed.
func (n *nextHops) accept() {
	for {
		end, err := n.l.AcceptEnd()
		if err != nil {
			if err := tunnel.UnlessClosed(err); err != nil {
				n.c.Log.Error("no next hop can join any more", "err", err)
			}
			return
		}
		n.pool.Add("", end)
		n.c.Log.Info("a next hop has joined", "addr", end.RemoteAddr())
		go func() {
			tunnel.Streams(end, func(s geminio.Stream) {
				tunnel.Stream(s).Abort(errors.New("streams do not come from the next hop"))
			})
			n.pool.Remove("", end)
			n.c.Log.Info("a next hop has left", "addr", end.RemoteAddr())
		}()
	}
}

func (n *nextHops) open(ctx context.Context, from string) (tunnel.Leg, error) {
	leg, err := n.pool.Open(ctx, "", withOrigin(from))
	if err == tunnel.ErrNobody {
		return nil, errors.New("no next hop has joined")
	}
	return leg, err
}

func (n *nextHops) close() { tunnel.CloseEnds(n.l) }
