package test

import (
	"log/slog"
	"testing"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/clusterinfo"
	"github.com/singchia/geminio/prometheus"
)

// scraped are the labels that Prometheus adds to each metric.
var scraped = []string{"job", "instance"}

// exported returns the labels of each sample that a Collector and the collector of a node export, by its name.
func exported(t *testing.T) map[string]map[string]bool {
	c := prometheus.NewCollector(nil)
	s := c.Stats()
	s.ConnBegin(geminio.ConnEvent{End: end{}})
	s.ConnInterrupted(geminio.ConnEvent{})
	s.ConnResumed(geminio.ConnEvent{})
	s.ConnEnd(geminio.ConnEvent{})
	s.HandshakeFailed(geminio.HandshakeEvent{})
	s.StreamEnd(geminio.StreamEvent{})
	s.CallEnd(geminio.CallEvent{})
	s.MessageEnd(geminio.MessageEvent{})
	s.Stalled(geminio.StallEvent{})
	r := prom.NewPedanticRegistry()
	require.NoError(t, r.Register(c))
	require.NoError(t, r.Register(prometheus.NewClusterCollector(node{})))
	families, err := r.Gather()
	require.NoError(t, err)
	all := make(map[string]map[string]bool)
	for _, f := range families {
		names := make(map[string]bool)
		for _, name := range scraped {
			names[name] = true
		}
		for _, l := range f.GetMetric()[0].GetLabel() {
			names[l.GetName()] = true
		}
		if f.GetMetric()[0].Histogram == nil {
			all[f.GetName()] = names
			continue
		}
		all[f.GetName()+"_sum"], all[f.GetName()+"_count"] = names, names
		bucket := map[string]bool{"le": true}
		for name := range names {
			bucket[name] = true
		}
		all[f.GetName()+"_bucket"] = bucket
	}
	return all
}

// end is an End with a round trip.
type end struct{ geminio.End }

func (end) Snapshot() geminio.EndSnapshot { return geminio.EndSnapshot{RoundTrip: 1} }

// node is a node of a cluster.
type node struct{}

func (node) Stats() clusterinfo.Stats { return clusterinfo.Stats{} }

// check parses a query. It requires that its metrics and their labels are exported, and returns the
// names of the metrics.
func check(t *testing.T, all map[string]map[string]bool, query string) (names []string) {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if !assert.NoError(t, err, query) {
		return nil
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			names = append(names, n.Name)
			known := all[n.Name]
			assert.NotNil(t, known, "%s is not exported: %s", n.Name, query)
			for _, m := range n.LabelMatchers {
				assert.True(t, m.Name == model.MetricNameLabel || known[m.Name], "%s has no label %s: %s", n.Name, m.Name, query)
			}
		case *parser.AggregateExpr:
			checkGrouping(t, all, n, query)
		}
		return nil
	})
	return names
}

// checkGrouping requires that the metrics below an aggregation have the labels by which it groups.
func checkGrouping(t *testing.T, all map[string]map[string]bool, n *parser.AggregateExpr, query string) {
	parser.Inspect(n.Expr, func(node parser.Node, _ []parser.Node) error {
		if v, ok := node.(*parser.VectorSelector); ok {
			for _, name := range n.Grouping {
				assert.True(t, all[v.Name][name], "%s has no label %s: %s", v.Name, name, query)
			}
		}
		return nil
	})
}

// The rules for alerts are in the format of Prometheus, and their metrics are exported.
func TestAlerts(t *testing.T) {
	all := exported(t)
	groups, errs := rulefmt.ParseFile("../alerts.yml", false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	require.Empty(t, errs)
	n := 0
	for _, g := range groups.Groups {
		for _, rule := range g.Rules {
			n++
			assert.NotEmpty(t, check(t, all, rule.Expr), rule.Alert)
			assert.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
			assert.NotEmpty(t, rule.Labels["severity"], rule.Alert)
		}
	}
	assert.NotZero(t, n)
}
