package cluster_test

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/cluster/embed"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// patience bounds every wait of the tests. No test depends on its length.
const patience = time.Minute

// eventually waits until a condition holds.
func eventually(t testing.TB, why string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, patience, 2*time.Millisecond, why)
}

// natsServer starts a NATS server, which is closed when the test ends.
func natsServer(t testing.TB, opt embed.Options) *embed.Server {
	t.Helper()
	s, err := embed.Start(t.Context(), opt)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// connect connects to a NATS server in this process.
func connect(t testing.TB, s *embed.Server) *nats.Conn {
	t.Helper()
	nc, err := s.Connect(nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	return nc
}

// connectURL connects to a NATS server over TCP.
func connectURL(t testing.TB, s *embed.Server, opts ...nats.Option) *nats.Conn {
	t.Helper()
	return dialNATS(t, s.URL(), opts...)
}

// connectProxied connects to a NATS server through a proxy.
func connectProxied(t testing.TB, s *embed.Server, opts ...nats.Option) (*nats.Conn, *kit.Proxy) {
	t.Helper()
	p := kit.NewProxy(t, s.Addr())
	return dialNATS(t, "nats://"+p.Addr, append(opts, nats.IgnoreDiscoveredServers())...), p
}

// dialNATS connects to a URL, and connects again when the connection is lost.
func dialNATS(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	all := []nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond), nats.ReconnectJitter(0, 0)}
	nc, err := nats.Connect(url, append(all, opts...)...)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	return nc
}

// host is a node with a listener for clients.
type host struct {
	*cluster.Node
	t    testing.TB
	nc   *nats.Conn
	l    *server.Server
	addr string
}

// join starts a node with a listener for clients. The Ends are attached as they are accepted.
func join(t testing.TB, nc *nats.Conn, opt cluster.Options, ends ...*server.EndOptions) *host {
	t.Helper()
	if opt.Lease == 0 {
		opt.Lease = patience // so that a busy machine loses no node
	}
	if opt.Listen == "" {
		opt.Listen = "127.0.0.1:0"
	}
	opt.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n, err := cluster.Join(ctx, nc, opt)
	require.NoError(t, err)
	t.Cleanup(func() { n.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := server.New(ends...)
	go srv.Serve(l)
	attached := n.Listener(srv)
	go func() {
		for {
			if _, err := attached.AcceptEnd(); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		srv.Close()
		for e := range srv.Ends() {
			e.Close()
		}
	})
	return &host{n, t, nc, srv, l.Addr().String()}
}

// three starts a NATS server and three nodes.
func three(t testing.TB) (a, b, c *host) {
	t.Helper()
	s := natsServer(t, embed.Options{})
	return join(t, connect(t, s), cluster.Options{}), join(t, connect(t, s), cluster.Options{}), join(t, connect(t, s), cluster.Options{})
}

// dial connects a plain client with an id and with methods.
func (h *host) dial(id uint64, methods ...*geminio.MethodRPC) geminio.End {
	h.t.Helper()
	opt := client.NewEndOptions()
	opt.SetClientID(id)
	opt.SetRegisterLocalRPCs(methods...)
	opt.SetLinger(time.Second)
	end, err := client.NewEnd("tcp", h.addr, opt)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { end.Close() })
	return end
}

// conn returns the NATS connection of the node.
func (h *host) conn() *nats.Conn { return h.nc }

// on returns whether a node regards a client as one of a node.
func on(at *host, id uint64, where *host) bool {
	c, err := at.Locate(id)
	return err == nil && c.Node == where.ID()
}

// settled waits until all nodes regard a client as one of a node.
func settled(t testing.TB, id uint64, where *host, at ...*host) {
	t.Helper()
	for _, h := range at {
		eventually(t, "the node knows where the client is", func() bool { return on(h, id, where) })
	}
}

// offline waits until all nodes regard a client as offline.
func offline(t testing.TB, id uint64, at ...*host) {
	t.Helper()
	for _, h := range at {
		eventually(t, "the node knows that the client is offline", func() bool {
			_, err := h.Locate(id)
			return err == cluster.ErrClientOffline
		})
	}
}

// within returns a context for one operation.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// echo is a method that answers with its request.
var echo = &geminio.MethodRPC{Method: "echo", RPC: func(_ context.Context, req geminio.Request, resp geminio.Response) {
	resp.SetData(req.Data())
	resp.SetCustom(req.Custom())
}}

// refusing is a delegate of clients that refuses streams, after wait is closed if it is not nil.
type refusing struct {
	delegate.UnimplementedDelegate
	wait chan struct{}
}

// DialogueOnline implements delegate.ClientDelegate.
func (r *refusing) DialogueOnline(delegate.DialogueDescriber) error {
	if r.wait != nil {
		<-r.wait
	}
	return &geminio.RemoteError{Code: 1234, Text: "not now"}
}
