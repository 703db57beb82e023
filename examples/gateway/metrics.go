package main

import (
	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/prometheus"
)

// gauges and counters are the metrics of the cluster, as this node sees it. Those of connections and
// calls are the ones of package prometheus.
var (
	gauges = []metric{
		{"gateway_nodes", "Nodes of the cluster that are alive.", func(s *cluster.Stats) float64 { return float64(s.Nodes) }},
		{"gateway_clients", "Clients of the cluster.", func(s *cluster.Stats) float64 { return float64(s.Clients) }},
		{"gateway_local_clients", "Clients of this node.", func(s *cluster.Stats) float64 { return float64(s.LocalClients) }},
		{"gateway_waiting", "Operations of this node that wait for an answer over NATS.", func(s *cluster.Stats) float64 { return float64(s.Waiting) }},
		{"gateway_running", "Operations of other nodes that this node executes.", func(s *cluster.Stats) float64 { return float64(s.Running) }},
		{"gateway_links", "Direct connections that this node has made to other nodes.", func(s *cluster.Stats) float64 { return float64(s.Links) }},
		{"gateway_presence_queue", "Clients whose entry in NATS is to be checked or written.", func(s *cluster.Stats) float64 { return float64(s.Queue) }},
		{"gateway_nats_connected", "1 if this node knows the whole cluster over NATS, otherwise 0.", func(s *cluster.Stats) float64 {
			if s.Connected {
				return 1
			}
			return 0
		}},
	}
	counters = []metric{
		{"gateway_local_operations_total", "Operations of this node with its own clients.", func(s *cluster.Stats) float64 { return float64(s.Local) }},
		{"gateway_remote_requests_total", "Requests of this node to other nodes.", func(s *cluster.Stats) float64 { return float64(s.Remote) }},
		{"gateway_executed_requests_total", "Requests of other nodes that this node has executed.", func(s *cluster.Stats) float64 { return float64(s.Executed) }},
		{"gateway_presence_writes_total", "Entries of clients that this node has written or removed.", func(s *cluster.Stats) float64 { return float64(s.Writes) }},
		{"gateway_replaced_total", "Connections that ended because their client was at another node.", func(s *cluster.Stats) float64 { return float64(s.Replaced) }},
	}
)

// metric is a metric that has its value from the Stats of a node.
type metric struct {
	name, help string
	value      func(*cluster.Stats) float64
}

// collect makes the registry of the metrics, and returns the functions that count events of Ends.
func (g *gateway) collect() geminio.Stats {
	g.metrics = prom.NewRegistry()
	read := func(m metric) func() float64 {
		return func() float64 {
			s := g.node.Stats()
			return m.value(&s)
		}
	}
	for _, m := range gauges {
		g.metrics.MustRegister(prom.NewGaugeFunc(prom.GaugeOpts{Name: m.name, Help: m.help}, read(m)))
	}
	for _, m := range counters {
		g.metrics.MustRegister(prom.NewCounterFunc(prom.CounterOpts{Name: m.name, Help: m.help}, read(m)))
	}
	collector := prometheus.NewCollector(nil)
	g.metrics.MustRegister(collector)
	return collector.Stats()
}
