package embed_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/cluster/embed"
	"github.com/singchia/geminio/test/kit"
)

func start(t *testing.T, opt embed.Options) *embed.Server {
	t.Helper()
	s, err := embed.Start(t.Context(), opt)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func TestOneServer(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	s, err := embed.Start(t.Context(), embed.Options{})
	require.NoError(t, err)
	assert.Empty(t, s.URL())
	assert.Empty(t, s.Addr())
	nc, err := s.Connect()
	require.NoError(t, err)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	_, err = js.AccountInfo(t.Context())
	assert.NoError(t, err)
	nc.Close()
	s.Close()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left, "the temporary directory was removed")
}

func TestCredentials(t *testing.T) {
	s := start(t, embed.Options{Listen: "127.0.0.1:-1", Username: "u", Password: "p/:@"})
	_, err := nats.Connect("nats://" + s.Addr())
	assert.ErrorIs(t, err, nats.ErrAuthorization)
	nc, err := nats.Connect(s.URL())
	require.NoError(t, err)
	nc.Close()
	nc, err = s.Connect()
	require.NoError(t, err)
	nc.Close()
}

// freeAddress returns an address at which nothing listens.
func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// clusterTLS returns settings of TLS for servers that have one certificate, which they demand.
func clusterTLS(t *testing.T) *tls.Config {
	c, err := kit.NewCertificate()
	require.NoError(t, err)
	own := x509.NewCertPool()
	own.AddCert(c.Leaf)
	return &tls.Config{
		Certificates: []tls.Certificate{c}, RootCAs: own, ClientCAs: own, ClientAuth: tls.RequireAndVerifyClientCert,
	}
}

func TestThreeServers(t *testing.T) {
	t.Parallel()
	threeServers(t, embed.Options{Username: "u", Password: "p"})
}

func TestThreeServersWithTLS(t *testing.T) {
	t.Parallel()
	opt := embed.Options{TLS: clusterTLS(t), ClusterTLS: clusterTLS(t)}
	routes := threeServers(t, opt)

	// A server with another certificate is no member.
	stranger := start(t, embed.Options{
		Name: "d", Listen: "127.0.0.1:-1", Cluster: "c", ClusterListen: freeAddress(t), Routes: routes, ClusterTLS: clusterTLS(t),
	})
	nc, err := stranger.Connect()
	require.NoError(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = js.AccountInfo(ctx)
	assert.Error(t, err, "JetStream has no leader")
}

// threeServers starts three servers with some options, and uses a bucket of all of them. It returns the addresses
// at which they accept each other.
func threeServers(t *testing.T, opt embed.Options) (routes []string) {
	t.Helper()
	for range 3 {
		routes = append(routes, freeAddress(t))
	}
	var c *embed.Server
	for i, name := range []string{"a", "b", "c"} {
		opt.Name, opt.Listen, opt.Cluster, opt.ClusterListen, opt.Routes = name, "127.0.0.1:-1", "c", routes[i], routes
		c = start(t, opt)
	}
	nc, err := c.Connect()
	require.NoError(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "b", Replicas: 3})
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	return routes
}

// lines is a buffer for a log.
type lines struct {
	mu sync.Mutex
	b  *bytes.Buffer
}

// Write implements io.Writer.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// count returns how often a text occurs in the log.
func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.b.Bytes(), []byte(text))
}

// TestAMissingServerIsReportedOnce starts one server of a cluster, which tries each second to connect to another one.
func TestAMissingServerIsReportedOnce(t *testing.T) {
	t.Parallel()
	log := &lines{b: new(bytes.Buffer)}
	start(t, embed.Options{
		Listen: "127.0.0.1:-1", Cluster: "c", ClusterListen: "127.0.0.1:-1", Routes: []string{freeAddress(t)},
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	const report = "trying to connect to route"
	require.Eventually(t, func() bool { return log.count(report) > 0 }, time.Minute, time.Millisecond)
	assert.Never(t, func() bool { return log.count(report) > 1 }, 2500*time.Millisecond, 10*time.Millisecond)
	assert.Zero(t, log.count("level=ERROR"))
}

func TestWrongOptions(t *testing.T) {
	s := start(t, embed.Options{Listen: "127.0.0.1:-1"})
	for _, opt := range []embed.Options{
		{Listen: "nonsense"}, {Listen: "127.0.0.1:x"}, {Listen: s.Addr()}, {Listen: "127.0.0.1:-1", Cluster: "c"},
		{Cluster: "c", ClusterListen: "127.0.0.1:-1"},
		{Dir: "/dev/null/x"},
	} {
		_, err := embed.Start(t.Context(), opt)
		assert.Error(t, err, "%+v", opt)
	}
}
