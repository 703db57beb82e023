package prometheus

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/singchia/geminio/clusterinfo"
)

// ClusterNode is a node of a cluster of servers. A *cluster.Node, of module cluster, is a ClusterNode.
type ClusterNode interface {
	// Stats returns the numbers of the node. It is called for each scrape, from several goroutines.
	Stats() clusterinfo.Stats
}

// NewClusterCollector returns a collector with the metrics of a node, which come from its Stats at the time of
// the scrape. A process that has several nodes registers each with a label of its own, by
// WrapRegistererWith of client_golang.
func NewClusterCollector(node ClusterNode) prometheus.Collector { return clusterCollector{node} }

// clusterCollector collects the metrics of a node. It is safe for concurrent use.
type clusterCollector struct{ node ClusterNode }

// clusterMetric is a metric of a node.
type clusterMetric struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	labels []string // the values of its labels
	value  func(*clusterinfo.Stats) float64
}

// Describe implements prometheus.Collector.
func (clusterCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range clusterMetrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c clusterCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.node.Stats()
	for _, m := range clusterMetrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&s), m.labels...)
	}
}

// clusterMetrics are the metrics of a node. Some have several values, by a label.
var clusterMetrics = clusterTable()

// clusterTable makes clusterMetrics.
func clusterTable() (all []clusterMetric) {
	type stats = *clusterinfo.Stats
	// add adds a metric with one label, or without one if label is empty.
	add := func(kind prometheus.ValueType, name, help, label string, values map[string]func(stats) float64) {
		var labels []string
		if label != "" {
			labels = []string{label}
		}
		d := desc("cluster_"+name, help, labels...)
		for value, f := range values {
			m := clusterMetric{desc: d, kind: kind, value: f}
			if label != "" {
				m.labels = []string{value}
			}
			all = append(all, m)
		}
	}
	gauge := func(name, help string, f func(stats) float64) {
		add(prometheus.GaugeValue, name, help, "", map[string]func(stats) float64{"": f})
	}
	counter := func(name, help string, f func(stats) uint64) {
		add(prometheus.CounterValue, name, help, "", map[string]func(stats) float64{"": func(s stats) float64 { return float64(f(s)) }})
	}
	type by = map[string]func(stats) float64

	gauge("connected", "1 if this node knows the whole cluster over NATS, otherwise 0.", func(s stats) float64 {
		if s.Connected {
			return 1
		}
		return 0
	})
	gauge("lease_seconds", "The time after which the other nodes regard this one as lost.", func(s stats) float64 { return s.Lease.Seconds() })
	gauge("lease_age_seconds", "Time since the last renewal of the lease that has succeeded.", func(s stats) float64 { return s.LeaseAge.Seconds() })
	counter("nats_reconnects_total", "How often the NATS connection was made again.", func(s stats) uint64 { return s.Reconnects })
	gauge("nodes", "Nodes that are alive, with this one, as this node knows them.", func(s stats) float64 { return float64(s.Nodes) })
	counter("nodes_lost_total", "Other nodes whose lease has ended.", func(s stats) uint64 { return s.NodesLost })

	add(prometheus.GaugeValue, "clients", "Clients of the whole cluster, as this node knows them.", "state", by{
		clusterinfo.ClientOnline.String():      func(s stats) float64 { return float64(s.Clients - s.Interrupted) },
		clusterinfo.ClientInterrupted.String(): func(s stats) float64 { return float64(s.Interrupted) },
	})
	gauge("local_clients", "Clients of this node.", func(s stats) float64 { return float64(s.LocalClients) })
	gauge("entries", "Entries of clients that this node holds, also of lost nodes and those removed lately.", func(s stats) float64 { return float64(s.Entries) })
	gauge("entries_to_write", "Clients whose entry is to be checked or written.", func(s stats) float64 { return float64(s.Queue) })
	counter("entry_writes_total", "Entries of clients that were written or removed.", func(s stats) uint64 { return s.Writes })
	counter("entry_write_failures_total", "Attempts to write or remove an entry that have failed.", func(s stats) uint64 { return s.FailedWrites })
	counter("lookups_total", "Reads of the bucket, for clients that this node did not know.", func(s stats) uint64 { return s.Lookups })
	counter("replaced_total", "Connections that ended because their client was at another node.", func(s stats) uint64 { return s.Replaced })

	counter("local_operations_total", "Operations of this node with its own clients.", func(s stats) uint64 { return s.Local })
	add(prometheus.CounterValue, "requests_total", "Requests between nodes that have begun.", "direction", by{
		"outgoing": func(s stats) float64 { return float64(s.Remote) },
		"incoming": func(s stats) float64 { return float64(s.Executed) },
	})
	add(prometheus.GaugeValue, "requests_in_flight", "Requests between nodes that have begun and not ended.", "direction", by{
		"outgoing": func(s stats) float64 { return float64(s.Waiting) },
		"incoming": func(s stats) float64 { return float64(s.Running) },
	})
	counter("unanswered_requests_total", "Requests to other nodes that have ended without an answer.", func(s stats) uint64 { return s.Failed })
	counter("refused_requests_total", "Requests of other nodes beyond MaxRunning.", func(s stats) uint64 { return s.Refused })

	counter("stored_messages_total", "Messages of BroadcastStored of this node that were stored.", func(s stats) uint64 { return s.Stored })
	add(prometheus.CounterValue, "stored_deliveries_total", "Outcomes of stored messages for clients of this node.", "outcome", by{
		"delivered": func(s stats) float64 { return float64(s.Delivered) },
		"declined":  func(s stats) float64 { return float64(s.Declined) },
		"missed":    func(s stats) float64 { return float64(s.Missed) },
	})

	gauge("streams", "Streams of other nodes to clients of this node.", func(s stats) float64 { return float64(s.Streams) })
	add(prometheus.GaugeValue, "links", "Direct connections between this node and others.", "direction", by{
		"outgoing": func(s stats) float64 { return float64(s.Links) },
		"incoming": func(s stats) float64 { return float64(s.AcceptedLinks) },
	})
	add(prometheus.CounterValue, "sent_bytes_total", "Bytes that this node has sent to NATS and over direct connections.", "way", by{
		"nats":   func(s stats) float64 { return float64(s.NATSSent) },
		"direct": func(s stats) float64 { return float64(s.LinkSent) },
	})
	add(prometheus.CounterValue, "received_bytes_total", "Bytes that this node has received from NATS and over direct connections.", "way", by{
		"nats":   func(s stats) float64 { return float64(s.NATSReceived) },
		"direct": func(s stats) float64 { return float64(s.LinkReceived) },
	})
	return all
}
