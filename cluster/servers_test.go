package cluster_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/cluster/embed"
)

// runNATS is a NATS server.
func runNATS() {
	s, err := embed.Start(context.Background(), settings[embed.Options]())
	must(err)
	serve(ready{Addr: s.Addr()})
}

// natsCluster is three NATS servers, which are processes.
type natsCluster struct {
	t       *testing.T
	options []embed.Options
	servers []*process
}

// startCluster starts three NATS servers.
func startCluster(t *testing.T) *natsCluster {
	t.Helper()
	n := &natsCluster{t: t}
	var routes []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		routes = append(routes, l.Addr().String())
		l.Close()
	}
	for i := range 3 {
		n.options = append(n.options, embed.Options{
			Name: fmt.Sprint("s", i), Dir: t.TempDir(), Listen: "127.0.0.1:-1", Cluster: "c", ClusterListen: routes[i], Routes: routes,
		})
		n.servers = append(n.servers, start(t, "nats", n.options[i]))
		n.options[i].Listen = n.servers[i].Addr
	}
	return n
}

// restart starts a server again that was killed.
func (n *natsCluster) restart(i int) { n.servers[i] = start(n.t, "nats", n.options[i]) }

// connect connects to a server, and to another one if it is lost.
func (n *natsCluster) connect(first int) *nats.Conn {
	n.t.Helper()
	var urls []string
	for i := range n.servers {
		urls = append(urls, "nats://"+n.servers[(first+i)%len(n.servers)].Addr)
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.DontRandomize())
	require.NoError(n.t, err)
	n.t.Cleanup(nc.Close)
	return nc
}

// leader returns the server that leads the bucket.
func (n *natsCluster) leader(nc *nats.Conn) int {
	n.t.Helper()
	js, err := jetstream.New(nc)
	require.NoError(n.t, err)
	s, err := js.Stream(within(n.t), "KV_geminio")
	require.NoError(n.t, err)
	return slices.IndexFunc(n.options, func(o embed.Options) bool { return o.Name == s.CachedInfo().Cluster.Leader })
}

// TestKilledNATSServers kills the NATS server that leads the bucket, then another one of three, and starts them
// again. Clients call each other over all nodes meanwhile. No call hangs, and none finds a client of a living node
// offline.
func TestKilledNATSServers(t *testing.T) {
	t.Parallel() // JetStream takes its time to elect leaders
	servers := startCluster(t)
	opt := cluster.Options{Replicas: 3, Lease: 3 * time.Second} // less than the time of an election
	var hosts []*host
	for i := range 3 {
		hosts = append(hosts, join(t, servers.connect(i), opt))
	}
	id := func(host int) uint64 { return uint64(host + 1) }
	for i, h := range hosts {
		h.dial(id(i), identify(id(i)))
	}
	for i, h := range hosts {
		settled(t, id(i), h, hosts...)
	}

	stop := make(chan struct{})
	var calling sync.WaitGroup
	var succeeded [3][3]atomic.Int64
	for i, from := range hosts {
		for j := range hosts {
			calling.Go(func() {
				for !isClosed(stop) {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					resp, err := from.Call(ctx, id(j), "id", nil)
					cancel()
					switch {
					case err == nil:
						assert.Equal(t, []byte{byte(id(j))}, resp.Data)
						succeeded[i][j].Add(1)
					case i == j:
						assert.NoError(t, err, "local clients continue")
					default:
						assert.NotErrorIs(t, err, context.DeadlineExceeded)
						assert.NotErrorIs(t, err, cluster.ErrClientOffline)
					}
					time.Sleep(time.Millisecond) // the load, and nothing that the test waits for
				}
			})
		}
	}
	defer calling.Wait()
	defer close(stop)
	callsSucceed := func(why string) {
		for i := range hosts {
			for j := range hosts {
				before := succeeded[i][j].Load()
				eventually(t, "calls succeed "+why, func() bool { return succeeded[i][j].Load() > before+1 })
			}
		}
	}
	callsSucceed("with all servers")

	first := servers.leader(hosts[0].nc)
	second, third := (first+1)%3, (first+2)%3
	servers.servers[first].kill()
	callsSucceed("without one server")
	hosts[first].dial(11, identify(11))
	settled(t, 11, hosts[first], hosts...)

	servers.servers[second].kill() // JetStream has no majority
	callsSucceed("over the third server")
	hosts[first].dial(12, identify(12))
	began := time.Now()
	_, err := hosts[second].Call(within(t), 12, "id", nil)
	assert.Error(t, err, "the client is not known")
	assert.Less(t, time.Since(began), patience/2)

	servers.restart(second)
	settled(t, 12, hosts[first], hosts...)
	servers.restart(first)
	hosts[third].dial(13, identify(13))
	settled(t, 13, hosts[third], hosts...)
	for i, h := range hosts {
		settled(t, id(i), h, hosts...)
	}
	callsSucceed("with all servers again")
}

// identify is a method that answers with the id of its client.
func identify(id uint64) *geminio.MethodRPC {
	return &geminio.MethodRPC{Method: "id", RPC: func(_ context.Context, _ geminio.Request, resp geminio.Response) {
		resp.SetData([]byte{byte(id)})
	}}
}
