package main

import (
	"context"
	"fmt"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/examples/internal/auth"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/tunnel"
)

// upstream is the source of a hop's connections: TCP clients, or the previous hop.
type upstream interface {
	// serve gives every connection to carry until shutdown.
	serve(carry) error
	// shutdown refuses new connections. It waits until the previous hop has no open streams,
	// or until ctx ends.
	shutdown(ctx context.Context, carrier *tunnel.Carrier)
}

// carry connects leg with the named target, without waiting.
type carry func(leg tunnel.Leg, target string, o tunnel.Origin)

// downstream is the destination of a hop's connections: a TCP target, or the next hop.
type downstream interface {
	// open opens the other half of a connection. It waits for the next hop until ctx ends.
	open(ctx context.Context, target string, o tunnel.Origin) (tunnel.Leg, error)
	close()
}

// run runs the hop until ctx ends.
func (c *command) run(ctx context.Context) error {
	if err := c.check(); err != nil {
		return err
	}
	carrier := tunnel.NewCarrier(c.Log, c.wait)
	figures, stopFigures := context.WithCancel(context.Background())
	defer stopFigures()
	go c.Figures(figures, func() []any {
		attributes := carrier.Figures()
		if c.role == roleRelayOut {
			attributes = append(attributes, "next_hops", c.pool.Len())
		}
		return attributes
	})
	down, err := c.downstream(ctx)
	if err != nil {
		return unlessStopped(ctx, err)
	}
	defer down.close()
	up, err := c.upstream(ctx)
	if err != nil {
		return unlessStopped(ctx, err)
	}

	served := make(chan error, 1)
	go func() {
		served <- up.serve(func(leg tunnel.Leg, target string, o tunnel.Origin) {
			var attributes []any
			if target != "" {
				attributes = []any{"target", target}
			}
			carrier.Carry(leg, o, target, func(ctx context.Context) (tunnel.Leg, error) { return down.open(ctx, target, o) }, attributes...)
		})
	}()
	select {
	case err = <-served:
		served <- nil // for the receive below
	case <-ctx.Done():
		fmt.Fprintf(c.Stdout, "%s stops\n", c.role)
	}
	grace, cancel := context.WithTimeout(context.Background(), c.grace)
	defer cancel()
	up.shutdown(grace, carrier)
	<-served
	carrier.Stop(grace)
	return err
}

func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// dialHop returns an End that connects with the hop at addr, and reconnects after a loss.
func (c *command) dialHop(ctx context.Context, which, addr string) (geminio.End, error) {
	cli.WarnPlain(c.Log, addr, c.token != "", c.dialTLS.Used())
	opt := client.NewEndOptions()
	opt.SetMeta(auth.New(program, c.name, c.token).Meta())
	opt.Limits = tunnel.Limits(c.heartbeat, c.keep, c.Log)
	opt.SetRetryFailedFunc(func(err error) { c.Log.Warn("no connection with the "+which, "addr", addr, "err", err) })
	opt.SetDelegate(tunnel.Reconnected(func() {
		fmt.Fprintf(c.Stdout, "%s is connected again with the %s at %s\n", c.role, which, addr)
	}))
	fmt.Fprintf(c.Stdout, "%s connects with the %s at %s\n", c.role, which, addr)
	end, err := tunnel.Dial(ctx, c.dialTLS, addr, opt)
	if err != nil {
		return nil, fmt.Errorf("connecting with the %s at %s: %w", which, addr, err)
	}
	fmt.Fprintf(c.Stdout, "%s is connected with the %s at %s\n", c.role, which, addr)
	return end, nil
}
