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

// nodeSide is the side with the services. It dials the server.
type nodeSide struct {
	*common
	connect, name string
	services      map[string]tunnel.Service
	file          string // with more services
	proxy         int    // see -proxy-protocol
	wait          time.Duration
	tls           *cli.ClientTLS
	token         *cli.ClientToken
}

func newNode() *nodeSide {
	n := &nodeSide{common: newCommon("node"), services: make(map[string]tunnel.Service)}
	n.Flags.StringVar(&n.connect, "connect", "", "dial the server at `ADDR`")
	n.Flags.StringVar(&n.name, "name", "", "be the node `NAME`")
	n.Flags.Func("service", "offer the TCP address as a service: `SERVICE=ADDR`; may be repeated", n.addService)
	n.Flags.StringVar(&n.file, "services", "", "offer the services in the TOML `FILE` too, which has lines like ssh = \"127.0.0.1:22\" and web = {address = \"127.0.0.1:8080\", proxy-protocol = 2}")
	n.Flags.Func("proxy-protocol", "tell the services of -service the address of the client by the PROXY protocol of `VERSION` 1 or 2; 0: not", func(text string) (err error) {
		n.proxy, err = tunnel.ParseProxy(text)
		return err
	})
	n.Flags.DurationVar(&n.wait, "wait", 10*time.Second, "wait for a service to accept a connection for `TIME`")
	n.tls = cli.ClientTLSFlags(n.Flags)
	n.token = cli.ClientTokenFlags(n.Flags, tokenVariable)
	return n
}

func (n *nodeSide) addService(text string) error {
	name, addr, ok := strings.Cut(text, "=")
	if !ok || addr == "" || !validName.MatchString(name) {
		return errors.New("a service is SERVICE=ADDR")
	}
	return n.add(name, tunnel.Service{Addr: addr})
}

func (n *nodeSide) add(name string, s tunnel.Service) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("%q is not a valid name of a service", name)
	}
	if _, twice := n.services[name]; twice {
		return fmt.Errorf("there are two services %q", name)
	}
	n.services[name] = s
	return nil
}

// completeServices applies -proxy-protocol and adds the services of -services.
func (n *nodeSide) completeServices() error {
	for name, s := range n.services {
		s.Proxy = n.proxy
		n.services[name] = s
	}
	if n.file == "" {
		return nil
	}
	services, err := tunnel.ReadServices(n.file)
	if err != nil {
		return cli.Usagef("-services: %v", err)
	}
	for name, s := range services {
		if err := n.add(name, s); err != nil {
			return cli.Usagef("-services: %s: %v", n.file, err)
		}
	}
	return nil
}

// run serves until ctx ends or the server refuses this node.
func (n *nodeSide) run(ctx context.Context) error {
	_, token, err := n.token.Load()
	if err != nil {
		return err
	}
	if err := n.completeServices(); err != nil {
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
		return cli.Usagef("-name is missing, or has other characters than letters, digits, dots, - and _")
	case len(n.services) == 0:
		return cli.Usagef("-service is missing, or -services")
	case n.wait <= 0:
		return cli.Usagef("-wait is not a positive time")
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
	opt.Limits = tunnel.Limits(n.heartbeat, n.keep, n.Log)
	opt.SetMetadata(greeting{n.name, token, slices.Sorted(maps.Keys(n.services))}.metadata())
	opt.SetDelegate(tunnel.Reconnected(func() {
		fmt.Fprintf(n.Stdout, "%s is connected again with %s\n", n.name, n.connect)
	}))
	opt.SetStopOnRefusal()
	opt.SetRetryFailedFunc(func(err error) {
		if refusal(err) == nil { // a refusal ends the node
			n.Log.Warn("no connection with the server", "addr", n.connect, "err", err)
		}
	})
	end, err := tunnel.Dial(ctx, n.tls, n.connect, opt)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil
	case refusal(err) != nil:
		return refusal(err)
	case err != nil:
		return fmt.Errorf("connecting with %s: %w", n.connect, err)
	}
	fmt.Fprintf(n.Stdout, "%s is connected with %s\n", n.name, n.connect)
	return n.serve(ctx, carrier, end)
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
		if err = refusal(end.Cause()); err == nil {
			err = fmt.Errorf("connection with %s: %w", n.connect, end.Cause())
		}
	case <-ctx.Done():
		fmt.Fprintln(n.Stdout, "stopping")
	}
	grace, cancel := context.WithTimeout(context.Background(), n.grace)
	defer cancel()
	carrier.Shutdown(grace, end)
	<-served
	carrier.Stop(grace)
	return err
}

// carry connects a stream with its service.
func (n *nodeSide) carry(carrier *tunnel.Carrier, s geminio.Stream) {
	leg, service, origin := tunnel.Accepted(s)
	carrier.Carry(leg, origin, service, func(ctx context.Context) (tunnel.Leg, error) {
		s, ok := n.services[service]
		if !ok {
			return nil, fmt.Errorf("%s has no service %q", n.name, service)
		}
		return s.Dial(ctx, origin)
	}, "service", service)
}

// refusal returns an error that describes why the server refuses this node. It returns nil if
// err has another reason, after which the node connects again.
func refusal(err error) error {
	var refused *geminio.RefusedError
	switch {
	case errors.Is(err, geminio.ErrReplaced):
		return errors.New("another node of this name has connected with the server")
	case errors.As(err, &refused) && refused.RetryAfter == 0 && !errors.Is(err, geminio.ErrGoingAway):
		return fmt.Errorf("the server refuses this node: %w", err)
	}
	return nil
}
