package embed_test

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/cluster/embed"
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

func TestThreeServers(t *testing.T) {
	var routes []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		routes = append(routes, l.Addr().String())
		l.Close()
	}
	var c *embed.Server
	for i, name := range []string{"a", "b", "c"} {
		c = start(t, embed.Options{
			Name: name, Listen: "127.0.0.1:-1", Cluster: "c", ClusterListen: routes[i], Routes: routes, Username: "u", Password: "p",
		})
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
	}, 30*time.Second, 10*time.Millisecond)
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
