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
		return c.targets, nil
	case roleRelayOut:
		l, err := c.listenHop(c.listenNext)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(c.Stdout, "relay_out listens for the next hop on %s\n", l.Addr())
		c.pool.Failed = func(end geminio.End, err error) {
			c.Log.Warn("a next hop is skipped for a while", "addr", end.RemoteAddr(), "err", err)
		}
		c.pool.Works = func(end geminio.End) { c.Log.Warn("a next hop works again", "addr", end.RemoteAddr()) }
		n := nextHops{c, l}
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

// targets are TCP services by name. The one of -target has the name "".
type targets map[string]tunnel.Service

func (t targets) open(ctx context.Context, name string, o tunnel.Origin) (tunnel.Leg, error) {
	target, ok := t[name]
	switch {
	case !ok && name == "":
		return nil, errors.New("out has no -target")
	case !ok:
		return nil, fmt.Errorf("out has no target %q", name)
	}
	return target.Dial(ctx, o)
}

func (t targets) close() {}

// nextHop is the next hop that this one dials.
type nextHop struct{ end geminio.End }

func (n nextHop) open(ctx context.Context, name string, o tunnel.Origin) (tunnel.Leg, error) {
	leg, err := tunnel.Open(ctx, n.end, name, o)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, errors.New("there is no connection with the next hop")
	}
	return leg, err
}

func (n nextHop) close() { n.end.Close() }

// nextHops accepts the next hops of a relay_out. Several next hops take turns. One that cannot
// connect with its target is skipped for a while.
type nextHops struct {
	c *command
	l server.Listener
}

// accept accepts next hops until the listener is closed.
func (n nextHops) accept() {
	for {
		end, err := n.l.AcceptEnd()
		if err != nil {
			if err := tunnel.UnlessClosed(err); err != nil {
				n.c.Log.Error("no next hop can join any more", "err", err)
			}
			return
		}
		n.c.pool.Add("", end)
		n.c.Log.Info("a next hop has joined", "addr", end.RemoteAddr())
		go func() {
			tunnel.Streams(end, func(s geminio.Stream) {
				geminio.Reset(s, geminio.CodeApplication, "the next hop must not open streams")
			})
			n.c.pool.Remove("", end)
			n.c.Log.Info("a next hop has left", "addr", end.RemoteAddr())
		}()
	}
}

func (n nextHops) open(ctx context.Context, name string, o tunnel.Origin) (tunnel.Leg, error) {
	leg, err := n.c.pool.Open(ctx, "", name, o)
	if err == tunnel.ErrNotConnected {
		return nil, errors.New("no next hop has joined")
	}
	return leg, err
}

func (n nextHops) close() { tunnel.CloseEnds(n.l) }
