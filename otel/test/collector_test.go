package test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// span is a span that a collector has got, with the name of the service that has sent it.
type span struct {
	*trace.Span
	service string
}

// collector is an OTLP collector over HTTP.
type collector struct {
	url string

	mu      sync.Mutex
	spans   []span
	metrics map[string]bool // by the name of the service, a slash, and that of the metric
}

// newCollector starts a collector, which ends with the test.
func newCollector(t *testing.T) *collector {
	c := &collector{metrics: make(map[string]bool)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, r *http.Request) {
		var req collectortrace.ExportTraceServiceRequest
		if decode(t, w, r, &req) {
			c.addSpans(&req)
		}
	})
	mux.HandleFunc("POST /v1/metrics", func(w http.ResponseWriter, r *http.Request) {
		var req collectormetrics.ExportMetricsServiceRequest
		if decode(t, w, r, &req) {
			c.addMetrics(&req)
		}
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	c.url = srv.URL
	return c
}

// decode reads a request. It reports false if the request is not OTLP.
func decode(t *testing.T, w http.ResponseWriter, r *http.Request, req proto.Message) bool {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = proto.Unmarshal(body, req)
	}
	if err != nil {
		t.Errorf("a request to the collector: %v", err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	w.Header().Set("Content-Type", "application/x-protobuf") // the empty body is an empty response
	return true
}

func (c *collector) addSpans(req *collectortrace.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range req.ResourceSpans {
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, span{s, serviceOf(of.Resource)})
			}
		}
	}
}

func (c *collector) addMetrics(req *collectormetrics.ExportMetricsServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range req.ResourceMetrics {
		for _, scope := range of.ScopeMetrics {
			for _, m := range scope.Metrics {
				c.metrics[serviceOf(of.Resource)+"/"+m.Name] = true
			}
		}
	}
}
