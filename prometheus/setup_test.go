package prometheus

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

// fakeEnd is an End with a snapshot that a test sets.
type fakeEnd struct {
	geminio.End

	mu sync.Mutex
	s  geminio.EndSnapshot
}

// Snapshot implements geminio.Snapshotter.
func (e *fakeEnd) Snapshot() geminio.EndSnapshot {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.s
}

// set changes the snapshot.
func (e *fakeEnd) set(change func(*geminio.EndSnapshot)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.s)
}

// registered returns a registry with a Collector.
func registered(t testing.TB, c *Collector) *prometheus.Registry {
	r := prometheus.NewPedanticRegistry()
	require.NoError(t, r.Register(c))
	return r
}

// gathered returns the metrics of a registry by their names.
func gathered(t testing.TB, r *prometheus.Registry) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := r.Gather()
	require.NoError(t, err)
	all := make(map[string]*dto.MetricFamily)
	for _, f := range families {
		all[f.GetName()] = f
	}
	return all
}

// value returns the value of a metric with labels, written as "a=x,b=y" in the order of their names.
func value(t testing.TB, r *prometheus.Registry, name, labels string) float64 {
	t.Helper()
	for _, m := range gathered(t, r)[name].GetMetric() {
		var all []string
		for _, l := range m.GetLabel() {
			all = append(all, l.GetName()+"="+l.GetValue())
		}
		if strings.Join(all, ",") != labels {
			continue
		}
		switch {
		case m.Counter != nil:
			return m.Counter.GetValue()
		case m.Gauge != nil:
			return m.Gauge.GetValue()
		case m.Histogram != nil:
			return float64(m.Histogram.GetSampleCount())
		}
	}
	t.Fatalf("no metric %s{%s}", name, labels)
	return 0
}

// scrape returns the page of promhttp.
func scrape(t testing.TB, r *prometheus.Registry, accept string) string {
	t.Helper()
	w := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	req.Header.Set("Accept", accept)
	promhttp.HandlerFor(r, promhttp.HandlerOpts{EnableOpenMetrics: true, ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(w, req)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	return w.Body.String()
}
