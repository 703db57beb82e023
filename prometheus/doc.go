// Package prometheus has a Collector, which makes metrics of the connections, streams, calls and
// messages of geminio for Prometheus:
//
//	collector := prometheus.NewCollector(nil)
//	registry.MustRegister(collector) // a *prometheus.Registry of client_golang
//	opt := server.NewEndOptions()
//	opt.SetStats(collector.Stats())
//
// The counters and histograms count events; gauges and the traffic come from snapshots of the Ends
// that are online when the metrics are collected. NewClusterCollector has the metrics of a node of a cluster. No label has values that a peer can choose. The
// README lists the metrics; dashboard.json is a dashboard for Grafana, and alerts.yml has rules for
// alerts.
package prometheus
