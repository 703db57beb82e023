package main

// A node: it serves devices, and reaches those of the other nodes.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/inspect"
	"github.com/singchia/geminio/prometheus"
	"github.com/singchia/geminio/server"
)

const nodeUsage = `gateway node is a node: it serves devices, and operators over HTTP. All devices of the
cluster are reached through every node:

  GET    /clients?after=ID&limit=N              the devices that are online, by id
  GET    /clients/ID                            where a device is
  POST   /clients/ID/call/METHOD?timeout=5s     call a device; the body is the request
  POST   /clients/ID/publish/TOPIC?timeout=5s   publish the body to a device
  GET    /groups/GROUP                          the members of a group
  PUT    /groups/GROUP/ID                       make a device a member of a group
  DELETE /groups/GROUP/ID                       end that
  POST   /groups/GROUP/broadcast/TOPIC?ack=true publish the body to the members of a group
  GET    /nodes                                 the nodes of the cluster
  GET    /health                                200 if this node reaches the others, otherwise 503
  GET    /metrics                               metrics for Prometheus

  gateway node [FLAGS]

On SIGINT or SIGTERM the node leaves the cluster, its devices connect to another node, and it ends. A
second signal ends it at once.
`

const (
	// grace is how long a node waits for operations under way when it stops.
	grace = 5 * time.Second
	// deviceAddress and httpAddress are where a node listens by default.
	deviceAddress = "127.0.0.1:1231"
	httpAddress   = "127.0.0.1:1221"
)

// gateway is one run of gateway node.
type gateway struct {
	*cli.Program
	listen, http string
	callTimeout  time.Duration
	joinTimeout  time.Duration
	withStdin    bool
	options      cluster.Options
	nats         *natsFlags
	tls          *cli.ServerTLS
	tokens       *cli.ServerTokens
	inspector    *cli.Inspector

	srv     *server.Server
	node    *cluster.Node
	metrics *prom.Registry
}

// newGateway makes a gateway with its flags.
func newGateway() *gateway {
	g := &gateway{Program: cli.New("gateway node", nodeUsage)}
	host, _ := os.Hostname() // an empty one is allowed
	flags, o := g.Flags, &g.options
	flags.StringVar(&g.listen, "listen", deviceAddress, "listen for devices on `ADDR` (host:port)")
	flags.StringVar(&g.http, "http", httpAddress, "listen for operators on `ADDR`, without TLS and without authentication")
	flags.DurationVar(&g.callTimeout, "call-timeout", 5*time.Second, "give a device at most that `TIME` to answer")
	flags.DurationVar(&g.joinTimeout, "join-timeout", time.Minute, "wait at most that `TIME` for NATS at the start")
	flags.BoolVar(&g.withStdin, "with-stdin", false, "end when the standard input ends, and so with the program that has started the node")
	flags.StringVar(&o.Name, "cluster", "gateway", "join the cluster `NAME`")
	flags.StringVar(&o.Host, "name", host, "be the node `NAME` for operators")
	flags.StringVar(&o.Listen, "node-listen", "127.0.0.1:0", "listen for the other nodes on `ADDR`; nodes on other machines cannot reach the default")
	flags.StringVar(&o.Advertise, "node-advertise", "", "the other nodes dial `ADDR`; otherwise the address of -node-listen, with the host with which this node is connected to NATS if that has none")
	flags.DurationVar(&o.Lease, "lease", 10*time.Second, "the other nodes regard this one as lost when they have not heard of it for that `TIME`")
	flags.IntVar(&o.Replicas, "replicas", 1, "let `N` NATS servers store where devices are, and messages; they are a cluster of at least N")
	g.nats = addNATSFlags(flags)
	g.tls = cli.ServerTLSFlags(flags)
	g.tokens = cli.ServerTokenFlags(flags, tokenVariable)
	g.inspector = cli.InspectorFlag(flags)
	return g
}

func nodeMain(args []string) int {
	g := newGateway()
	return g.Main(args, g.run)
}

// run serves until ctx ends.
func (g *gateway) run(ctx context.Context) error {
	switch {
	case g.Flags.NArg() > 0:
		return cli.Usagef("unexpected argument %q", g.Flags.Arg(0))
	case g.callTimeout <= 0 || g.joinTimeout <= 0:
		return cli.Usagef("-call-timeout and -join-timeout must be above 0")
	}
	if err := g.nats.check(); err != nil {
		return err
	}
	tokens, err := g.tokens.Load()
	if err != nil {
		return err
	}
	cli.WarnPlain(g.Log, g.listen, tokens.Wanted(), g.tls.Used())
	if g.withStdin {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		go func() { // it ends with the process
			io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	devices, err := g.tls.Listen(g.listen, g.Stdout)
	if err != nil {
		return err
	}
	defer devices.Close()
	operators, err := net.Listen("tcp", g.http)
	if err != nil {
		return err
	}
	defer operators.Close()
	stop, err := g.join(ctx)
	if err != nil {
		return err
	}
	defer stop()
	opt := server.NewEndOptions()
	opt.SetLogger(g.Log)
	opt.SetDelegate(&admission{tokens: tokens, log: g.Log})
	collector := prometheus.NewCollector(nil)
	opt.SetStats(collector.Stats())
	g.metrics = prom.NewRegistry()
	g.metrics.MustRegister(collector, prometheus.NewClusterCollector(g.node))
	g.srv = server.New(opt)
	stop, err = g.inspector.Serve(g.Program, &inspect.Handler{Sources: []inspect.Source{g.srv}, Cluster: g.node, Name: nameOf})
	if err != nil {
		return err
	}
	defer stop()
	fmt.Fprintf(g.Stdout, "devices connect to %s, operators to http://%s/clients\n", devices.Addr(), operators.Addr())
	return g.serve(ctx, devices, operators)
}

// join joins the cluster. stop leaves it, and ends the connection to NATS.
func (g *gateway) join(ctx context.Context) (stop func(), err error) {
	bounded, cancel := context.WithTimeout(ctx, g.joinTimeout)
	defer cancel()
	nc, disconnect, err := g.nats.connect(bounded, g.Log)
	if err != nil {
		return nil, err
	}
	g.options.Logger = g.Log
	if g.node, err = cluster.Join(bounded, nc, g.options); err != nil {
		disconnect()
		var wrong *cluster.OptionError
		if errors.As(err, &wrong) {
			return nil, cli.Usagef("%v", err)
		}
		return nil, err
	}
	return func() { g.node.Close(); disconnect() }, nil
}

// serve serves devices and operators until a signal arrives or a listener fails.
func (g *gateway) serve(signal context.Context, devices, operators net.Listener) error {
	ctx, cancel := context.WithCancelCause(signal)
	defer cancel(nil)
	var all sync.WaitGroup
	api := &http.Server{Handler: g.api(), ReadHeaderTimeout: 10 * time.Second}
	all.Go(func() { cancel(g.srv.Serve(devices)) })
	all.Go(func() { cancel(api.Serve(operators)) })
	attached := g.node.Listener(g.srv)
	all.Go(func() {
		for {
			end, err := attached.AcceptEnd()
			if err != nil {
				return
			}
			g.Log.Info("device connected", "id", end.ClientID(), "remote", end.RemoteAddr())
		}
	})

	<-ctx.Done()
	why := context.Cause(ctx)
	bounded, stop := context.WithTimeout(context.Background(), grace)
	defer stop()
	// Each device moves to another node when its work has ended. After that no work needs this node.
	for _, shutdown := range []func(context.Context) error{api.Shutdown, g.srv.Shutdown, g.node.Shutdown} {
		if err := shutdown(bounded); err != nil {
			g.Log.Info("operations were cut off", "err", err)
		}
	}
	api.Close()
	g.node.Close()
	g.srv.Close()
	all.Wait()
	if signal.Err() != nil {
		return nil
	}
	return why
}
