package prometheus

import (
	"reflect"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/clusterinfo"
)

// fakeNode is a ClusterNode with numbers that a test sets.
type fakeNode struct{ s clusterinfo.Stats }

func (n *fakeNode) Stats() clusterinfo.Stats { return n.s }

// numbered returns a node each of whose numbers is another one, in the order of the fields from 1 on.
func numbered() *fakeNode {
	n := &fakeNode{}
	v := reflect.ValueOf(&n.s).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case f.Kind() == reflect.Bool:
			f.SetBool(true)
		case f.Type() == reflect.TypeFor[time.Duration]():
			f.SetInt(int64(i+1) * int64(time.Second))
		case f.CanInt():
			f.SetInt(int64(i + 1))
		default:
			f.SetUint(uint64(i + 1))
		}
	}
	n.s.Clients = 1000
	return n
}

// Each number of a node is exported, and no two metrics have the same one.
func TestClusterNumbers(t *testing.T) {
	n := numbered()
	r := prometheus.NewPedanticRegistry()
	require.NoError(t, r.Register(NewClusterCollector(n)))
	s := &n.s
	want := map[float64]bool{1: true, float64(s.Clients - s.Interrupted): true}
	for i := range reflect.TypeFor[clusterinfo.Stats]().NumField() {
		if name := reflect.TypeFor[clusterinfo.Stats]().Field(i).Name; name != "Clients" && name != "Connected" {
			want[float64(i+1)] = true
		}
	}
	for _, f := range gathered(t, r) {
		for _, m := range f.GetMetric() {
			value := m.GetGauge().GetValue() + m.GetCounter().GetValue()
			assert.True(t, want[value] || f.GetName() == "geminio_cluster_connected", "%s has the value %v, which is no number of the node, or that of another metric", f.GetName(), value)
			if f.GetName() != "geminio_cluster_connected" {
				delete(want, value)
			}
		}
	}
	assert.Empty(t, want, "numbers that are not exported")
	for _, m := range []struct {
		name, labels string
		value        int
	}{
		{"connected", "", 1}, {"nodes", "", s.Nodes}, {"nodes_lost_total", "", int(s.NodesLost)},
		{"lease_seconds", "", int(s.Lease.Seconds())}, {"lease_age_seconds", "", int(s.LeaseAge.Seconds())},
		{"clients", "state=online", 1000 - s.Interrupted}, {"clients", "state=interrupted", s.Interrupted},
		{"requests_total", "direction=outgoing", int(s.Remote)}, {"requests_total", "direction=incoming", int(s.Executed)},
		{"requests_in_flight", "direction=outgoing", s.Waiting}, {"requests_in_flight", "direction=incoming", s.Running},
		{"links", "direction=outgoing", s.Links}, {"links", "direction=incoming", s.AcceptedLinks},
		{"sent_bytes_total", "way=nats", int(s.NATSSent)}, {"sent_bytes_total", "way=direct", int(s.LinkSent)},
		{"received_bytes_total", "way=nats", int(s.NATSReceived)}, {"received_bytes_total", "way=direct", int(s.LinkReceived)},
	} {
		assert.Equal(t, float64(m.value), value(t, r, "geminio_cluster_"+m.name, m.labels), m.name)
	}
	s.Connected = false
	assert.Zero(t, value(t, r, "geminio_cluster_connected", ""))
}

// The linter of Prometheus finds nothing, also for several nodes in one process.
func TestLintOfClusters(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	for _, name := range []string{"a", "b"} {
		require.NoError(t, prometheus.WrapRegistererWith(prometheus.Labels{"node": name}, r).Register(NewClusterCollector(numbered())))
	}
	problems, err := testutil.GatherAndLint(r)
	require.NoError(t, err)
	assert.Empty(t, problems)
}
