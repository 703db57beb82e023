package prometheus_test

import (
	"fmt"
	"log"
	"net/http"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/singchia/geminio/prometheus"
	"github.com/singchia/geminio/server"
)

// A server has its metrics at /metrics.
func Example() {
	collector := prometheus.NewCollector(&prometheus.Options{Topics: []string{"reading"}})
	registry := prom.NewRegistry()
	registry.MustRegister(collector)
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))

	opt := server.NewEndOptions()
	opt.SetStats(collector.Stats())
	l, err := server.Listen("tcp", "127.0.0.1:0", opt)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "geminio_calls_in_flight" {
			fmt.Println(f.GetName(), f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	// Output: geminio_calls_in_flight 0
}
