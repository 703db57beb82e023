package main

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/internal/auth"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/tunnel"
	"github.com/singchia/geminio/server"
)

func (c *command) upstream(ctx context.Context) (upstream, error) {
	switch {
	case c.role == roleIn:
		return c.listenTCP()
	case c.join != "":
		end, err := c.dialHop(ctx, "previous hop", c.join)
		if err != nil {
			return nil, err
		}
		return joinedHop{end}, nil
	default:
		l, err := c.listenHop(c.listen)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(c.Stdout, "%s listens on %s\n", c.role, l.Addr())
		return previousHops{l}, nil
	}
}

// listenHop returns a listener for hops at addr.
func (c *command) listenHop(addr string) (server.Listener, error) {
	cli.WarnPlain(c.Log, addr, c.tokens.Wanted(), c.listenTLS.Used())
	l, err := c.listenTLS.Listen(addr, c.Stdout)
	if err != nil {
		return nil, err
	}
	opt := server.NewEndOptions()
	opt.Limits = tunnel.Limits(c.heartbeat, c.keep, c.Log)
	opt.SetDelegate(auth.NewDelegate(program, c.tokens, c.Log))
	return server.NewListener(l, opt)
}

// tcpClients accepts the TCP connections of an in, with a listener for each map.
type tcpClients []tcpListener

type tcpListener struct {
	net.Listener
	target string
}

// listenTCP listens at the addresses of -listen and -maps.
func (c *command) listenTCP() (tcpClients, error) {
	var t tcpClients
	for _, m := range c.maps {
		l, err := net.Listen("tcp", m.Addr)
		if err != nil {
			t.close()
			return nil, err
		}
		t = append(t, tcpListener{l, m.Goal})
		if m.Goal == "" {
			fmt.Fprintf(c.Stdout, "in listens on %s\n", l.Addr())
		} else {
			fmt.Fprintf(c.Stdout, "in listens on %s for %s\n", l.Addr(), m.Goal)
		}
	}
	return t, nil
}

// serve returns when a listener has failed or all of them are closed.
func (t tcpClients) serve(carry carry) error {
	failed := make(chan error, len(t))
	for _, l := range t {
		go func() {
			failed <- tunnel.Accept(l, func(conn *net.TCPConn) {
				carry(tunnel.TCP(conn), l.target, tunnel.OriginOf(conn))
			})
		}()
	}
	var first error
	for range t {
		if err := <-failed; err != nil && first == nil {
			first = err
			t.close()
		}
	}
	return first
}

func (t tcpClients) shutdown(context.Context, *tunnel.Carrier) { t.close() }

func (t tcpClients) close() {
	for _, l := range t {
		l.Close()
	}
}

// previousHops accepts any number of previous hops, which dial this one.
type previousHops struct{ l server.Listener }

func (p previousHops) serve(carry carry) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		end, err := p.l.AcceptEnd()
		if err != nil {
			return tunnel.UnlessClosed(err)
		}
		wg.Go(func() { streams(end, carry) })
	}
}

func (p previousHops) shutdown(ctx context.Context, carrier *tunnel.Carrier) {
	carrier.Shutdown(ctx, p.l)
}

// joinedHop is a previous hop that this one dials.
type joinedHop struct{ end geminio.End }

func (j joinedHop) serve(carry carry) error {
	streams(j.end, carry)
	return nil
}

func (j joinedHop) shutdown(ctx context.Context, carrier *tunnel.Carrier) {
	carrier.Shutdown(ctx, j.end)
}

// streams carries the streams that a previous hop opens.
func streams(end geminio.End, carry carry) {
	tunnel.Streams(end, func(s geminio.Stream) {
		carry(tunnel.Accepted(s))
	})
}
