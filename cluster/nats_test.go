package cluster_test

import (
	"context"
	"encoding/binary"
	"strings"
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

// store stores entries in the bucket of a cluster, as another node would.
func store(t *testing.T, nc *nats.Conn, entries map[string]string) {
	t.Helper()
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	kv, err := js.KeyValue(within(t), "geminio")
	require.NoError(t, err)
	for key, value := range entries {
		_, err := kv.PutString(within(t), key, value)
		require.NoError(t, err)
	}
}

// TestLostMessages calls a client of a node that gets no requests, and then one of a node that is silent.
func TestLostMessages(t *testing.T) {
	t.Parallel()
	s := natsServer(t, embed.Options{})
	a := join(t, connect(t, s), cluster.Options{Lease: 2 * time.Second})
	nc := connect(t, s)
	store(t, nc, map[string]string{
		"n.forgets": `{"addr":"127.0.0.1:1"}`, "c.7": "forgets 1 0",
		"n.silent": `{"addr":"127.0.0.1:1"}`, "c.8": "silent 1 0",
	})
	working := make(chan struct{}, 1)
	_, err := nc.Subscribe("geminio.n.forgets.*", func(m *nats.Msg) {
		if !strings.HasSuffix(m.Subject, ".q") {
			return // the request is lost
		}
		number, _ := binary.Uvarint(m.Data)
		select {
		case working <- struct{}{}: // at first it is executed
			m.Respond(binary.AppendUvarint(nil, number<<1|1))
		default:
			m.Respond(binary.AppendUvarint(nil, number<<1))
		}
	})
	require.NoError(t, err)
	_, err = nc.Subscribe("geminio.n.silent.*", func(*nats.Msg) {})
	require.NoError(t, err)
	require.NoError(t, nc.Flush())

	_, err = a.Call(within(t), 7, "echo", nil)
	assert.ErrorIs(t, err, cluster.ErrNoNATS)
	assert.ErrorIs(t, err, geminio.ErrMaybeExecuted)
	assert.Len(t, working, 1)
	_, err = a.Call(within(t), 8, "echo", nil)
	assert.ErrorIs(t, err, cluster.ErrNodeLost)
	assert.ErrorIs(t, err, geminio.ErrMaybeExecuted)
	assert.Zero(t, a.Stats().Waiting)
}

// TestALongCall waits for an answer while the node asks for it several times.
func TestALongCall(t *testing.T) {
	t.Parallel()
	s := natsServer(t, embed.Options{})
	a, b := join(t, connect(t, s), cluster.Options{}), join(t, connect(t, s), cluster.Options{})
	inquiries := make(chan struct{}, 100)
	_, err := connect(t, s).Subscribe("geminio.n."+a.ID()+".q", func(*nats.Msg) { inquiries <- struct{}{} })
	require.NoError(t, err)
	release := make(chan struct{})
	a.dial(7, &geminio.MethodRPC{Method: "works", RPC: func(_ context.Context, _ geminio.Request, resp geminio.Response) {
		<-release
		resp.SetData(make([]byte, 100))
	}})
	settled(t, 7, a, b)
	called := make(chan error, 1)
	go func() {
		_, err := b.Call(within(t), 7, "works", nil)
		called <- err
	}()
	for range 3 {
		select {
		case <-inquiries:
		case err := <-called:
			require.NoError(t, err, "the call has ended early")
		}
	}
	close(release)
	assert.NoError(t, <-called)
}

// TestABucketThatIsMadeAnew replaces the bucket while the nodes are connected. NATS does not tell that their
// watches are lost.
func TestABucketThatIsMadeAnew(t *testing.T) {
	t.Parallel()
	s := natsServer(t, embed.Options{})
	opt := cluster.Options{Lease: time.Second}
	a, b := join(t, connect(t, s), opt), join(t, connect(t, s), opt)
	for id := range uint64(20) {
		a.dial(id+1, echo)
	}
	settled(t, 20, a, a, b)
	js, err := jetstream.New(connect(t, s))
	require.NoError(t, err)
	require.NoError(t, js.DeleteKeyValue(within(t), "geminio"))
	_, err = js.CreateKeyValue(within(t), jetstream.KeyValueConfig{Bucket: "geminio", LimitMarkerTTL: time.Minute})
	if err != nil { // a node has made it before
		require.ErrorIs(t, err, jetstream.ErrBucketExists)
	}
	b.dial(30, echo)
	settled(t, 30, b, a, b)
	for id := range uint64(20) {
		settled(t, id+1, a, a, b)
	}
	_, err = b.Call(within(t), 20, "echo", nil)
	assert.NoError(t, err)
}
