package main

// The connection of a node to NATS: to servers that run elsewhere, or to one within the node.

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/singchia/geminio/cluster/embed"
	"github.com/singchia/geminio/examples/internal/cli"
)

// natsVariable is the environment variable with the password of the embedded NATS servers, which they
// ask each other and their clients for. The name of the user is natsUser.
const natsVariable, natsUser = "GATEWAY_NATS_PASSWORD", "gateway"

// natsFlags has the flags of a node for NATS.
type natsFlags struct {
	urls, creds, ca                        string
	name, dir, listen, routeListen, routes string
}

// addNATSFlags adds the flags.
func addNATSFlags(flags *flag.FlagSet) *natsFlags {
	f := &natsFlags{}
	flags.StringVar(&f.urls, "nats", "", "use the NATS servers at `URL[,URL...]`; otherwise the node runs a NATS server itself")
	flags.StringVar(&f.creds, "nats-creds", "", "with -nats, use the credentials in `FILE`")
	flags.StringVar(&f.ca, "nats-ca", "", "with -nats, trust the certificates in the PEM `FILE`")
	flags.StringVar(&f.name, "nats-name", "node", "call the NATS server of the node `NAME`, which is unique in its cluster")
	flags.StringVar(&f.dir, "nats-dir", "", "keep the files of the NATS server of the node in `DIR`; otherwise in a temporary directory")
	flags.StringVar(&f.listen, "nats-listen", "127.0.0.1:-1", "the NATS server of the node listens for clients on `ADDR`, with -nats-routes; the port -1 is a free one")
	flags.StringVar(&f.routeListen, "nats-route-listen", "", "the NATS server of the node listens for the other NATS servers on `ADDR`")
	flags.StringVar(&f.routes, "nats-routes", "", "the NATS servers of the nodes are a cluster, and listen for each other on `ADDR,ADDR,ADDR`; all nodes have the same list. They ask for the password in the environment, as "+natsVariable)
	return f
}

// check returns a *cli.UsageError if the flags contradict each other.
func (f *natsFlags) check() error {
	switch {
	case f.urls == "" && (f.creds != "" || f.ca != ""):
		return cli.Usagef("-nats-creds and -nats-ca go with -nats")
	case f.urls != "" && (f.dir != "" || f.routes != "" || f.routeListen != ""):
		return cli.Usagef("-nats-dir, -nats-route-listen and -nats-routes do not go with -nats")
	case (f.routes == "") != (f.routeListen == ""):
		return cli.Usagef("-nats-route-listen and -nats-routes go together")
	}
	return nil
}

// connect connects to NATS, and starts a server first if there is no -nats. It waits for a server that
// runs elsewhere until ctx ends. stop ends the connection and the server.
func (f *natsFlags) connect(ctx context.Context, log *slog.Logger) (nc *nats.Conn, stop func(), err error) {
	if f.urls == "" {
		return f.embed(ctx, log)
	}
	connected := make(chan struct{}, 1)
	failed := make(chan error, 1) // has the last failure to connect
	opts := []nats.Option{
		nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true),
		nats.ConnectHandler(func(*nats.Conn) { connected <- struct{}{} }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			select {
			case <-failed:
			default:
			}
			failed <- err
		}),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if !nc.IsClosed() { // the node has not ended it
				log.Warn("NATS is lost", "err", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("NATS is back", "server", nc.ConnectedUrlRedacted()) }),
	}
	if f.creds != "" {
		opts = append(opts, nats.UserCredentials(f.creds))
	}
	if f.ca != "" {
		opts = append(opts, nats.RootCAs(f.ca))
	}
	if nc, err = nats.Connect(f.urls, opts...); err != nil {
		return nil, nil, fmt.Errorf("-nats: %w", err)
	}
	select {
	case <-connected:
		return nc, nc.Close, nil
	case <-ctx.Done():
		last := nc.LastError()
		nc.Close()
		select {
		case last = <-failed:
		default:
		}
		return nil, nil, fmt.Errorf("-nats: no server accepts this node: %w", errors.Join(ctx.Err(), last))
	}
}

// embed starts the NATS server of the node, and connects to it.
func (f *natsFlags) embed(ctx context.Context, log *slog.Logger) (*nats.Conn, func(), error) {
	opt := embed.Options{Name: f.name, Dir: f.dir, Logger: slog.New(atInfo{log.Handler()})}
	if f.routes != "" {
		opt.Listen, opt.Cluster, opt.ClusterListen = f.listen, natsUser, f.routeListen
		opt.Routes = strings.Split(f.routes, ",")
		if opt.Password = os.Getenv(natsVariable); opt.Password == "" {
			return nil, nil, cli.Usagef("-nats-routes needs a password in the environment, as %s", natsVariable)
		}
		opt.Username = natsUser
	}
	s, err := embed.Start(ctx, opt)
	if err != nil {
		return nil, nil, err
	}
	nc, err := s.Connect()
	if err != nil {
		s.Close()
		return nil, nil, err
	}
	return nc, func() { nc.Close(); s.Close() }, nil
}

// atInfo is a handler of a log that regards all its records as ones at info: the NATS server of a node
// reports each attempt to reach another one as an error.
type atInfo struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h atInfo) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelInfo)
}

// Handle implements slog.Handler.
func (h atInfo) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelInfo
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h atInfo) WithAttrs(attrs []slog.Attr) slog.Handler { return atInfo{h.Handler.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (h atInfo) WithGroup(name string) slog.Handler { return atInfo{h.Handler.WithGroup(name)} }
