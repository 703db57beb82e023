package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/tunnel"
)

// nodeSide is the side that dials, and has the services.
type nodeSide struct {
	*common
	connect, name string
	services      map[string]string // their addresses, by name
	wait          time.Duration
	tls           *cli.ClientTLS
	token         *cli.ClientToken
}

func newNode() *nodeSide {
	n := &nodeSide{common: newCommon("node"), services: make(map[string]string)}
	n.Flags.StringVar(&n.connect, "connect", "", "dial the server at `ADDR`")
	n.Flags.StringVar(&n.name, "name", "", "be the node `NAME`")
	n.Flags.Func("service", "offer the TCP address as a service: `SERVICE=ADDR`; may be repeated", n.addService)
	n.Flags.DurationVar(&n.wait, "wait", 10*time.Second, "wait for a service to accept a connection for `TIME`")
	n.tls = cli.ClientTLSFlags(n.Flags)
	n.token = cli.ClientTokenFlags(n.Flags, tokenVariable)
	return n
}

func (n *nodeSide) addService(text string) error {
	name, addr, ok := strings.Cut(text, "=")
	if !ok || addr == "" || !validName.MatchString(name) {
		return errors.New("SERVICE=ADDR, please")
	}
	if _, twice := n.services[name]; twice {
		return fmt.Errorf("there are two services %q", name)
	}
	n.services[name] = addr
	return nil
}

// run serves until ctx ends, or until the server does not want this node.
func (n *nodeSide) run(ctx context.Context) error {
	_, token, err := n.token.Load()
	if err != nil {
		return err
	}
	switch err := n.check(); {
	case err != nil:
		return err
	case token == "":
		return cli.Usagef("-token-file is missing")
	case n.connect == "":
		return cli.Usagef("-connect is missing")
	case !validName.MatchString(n.name):
		return cli.Usagef("-name is missing, or has more than letters, digits, dots, - and _")
	case len(n.services) == 0:
		return cli.Usagef("-service is missing")
	case n.wait <= 0:
		return cli.Usagef("-wait is a time")
	}
	if _, err := n.tls.Config(n.connect); err != nil {
		return err
	}
	cli.WarnPlain(n.Log, n.connect, true, n.tls.Used())

	carrier := tunnel.NewCarrier(n.Log, n.wait)
	figures, stopFigures := context.WithCancel(context.Background())
	defer stopFigures()
	go n.Figures(figures, carrier.Figures)
	opt := client.NewEndOptions()
	opt.Limits = tunnel.Limits(n.heartbeat, n.Log)
	opt.SetMeta(greeting{n.name, token, slices.Sorted(maps.Keys(n.services))}.encode())
	opt.SetDelegate(tunnel.Reconnected(func() {
		fmt.Fprintf(n.Stdout, "%s is connected again with %s\n", n.name, n.connect)
	}))
	opt.SetRetryFirst(ctx)
	opt.SetRetryBackoff(tunnel.RetryMin, tunnel.RetryMax)
	opt.SetStopOnRefusal()
	opt.SetRetryFailedFunc(func(err error) {
		if unwanted(err) == nil { // else the node ends and says so
			n.Log.Warn("no connection with the server", "addr", n.connect, "err", err)
		}
	})
	end, err := client.NewRetryEndWithDialer(tunnel.Dialer(ctx, n.tls, n.connect), opt)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil
	case unwanted(err) != nil:
		return unwanted(err)
	case err != nil:
		return fmt.Errorf("connecting with %s: %w", n.connect, err)
	}
	fmt.Fprintf(n.Stdout, "%s is connected with %s\n", n.name, n.connect)
	return n.serve(ctx, carrier, end.(*client.RetryEnd))
}

// serve carries the streams of the server to the services.
func (n *nodeSide) serve(ctx context.Context, carrier *tunnel.Carrier, end *client.RetryEnd) error {
	served := make(chan struct{})
	go func() {
		defer close(served)
		tunnel.Streams(end, func(s geminio.Stream) { n.carry(carrier, s) })
	}()
	var err error
	select {
	case <-end.Done():
		if err = unwanted(end.Cause()); err == nil {
			err = fmt.Errorf("connection with %s: %w", n.connect, end.Cause())
		}
	case <-ctx.Done():
		fmt.Fprintln(n.Stdout, "stopping")
	}
	grace, cancel := context.WithTimeout(context.Background(), n.grace)
	defer cancel()
	tunnel.Shutdown(grace, end)
	<-served
	carrier.Stop(grace)
	return err
}

// carry carries a stream to the service that it is meant for.
func (n *nodeSide) carry(carrier *tunnel.Carrier, s geminio.Stream) {
	leg, service, origin := tunnel.Accepted(s)
	carrier.Carry(leg, origin, service, func(ctx context.Context) (tunnel.Leg, error) {
		addr, ok := n.services[service]
		if !ok {
			return nil, fmt.Errorf("%s has no service %q", n.name, service)
		}
		return tunnel.DialTCP(ctx, addr)
	}, "service", service)
}

// unwanted returns what to say if the server does not want this node, and nil if err
// is something else, after which to try again.
func unwanted(err error) error {
	var refused *geminio.RefusedError
	switch {
	case errors.Is(err, geminio.ErrReplaced):
		return errors.New("another node of this name has connected with the server")
	case errors.As(err, &refused) && refused.RetryAfter == 0 && !errors.Is(err, geminio.ErrGoingAway):
		return fmt.Errorf("the server does not let this node in: %w", err)
	}
	return nil
}
