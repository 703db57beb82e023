package otel

import (
	"errors"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
)

// quoted finds names in a table.
var quoted = regexp.MustCompile("`([^`]+)`")

// table returns the cells of a table of the README, by the names in the first column.
func table(t *testing.T, head string) map[string][]string {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), head+"\n")
	require.True(t, found, head)
	rows := make(map[string][]string)
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "| ") {
			break
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		for _, name := range quoted.FindAllStringSubmatch(cells[0], -1) {
			rows[name[1]] = cells
		}
	}
	return rows
}

// TestREADME does all operations over TCP. The README names the attributes and the metrics that there
// are, and no others.
func TestREADME(t *testing.T) {
	p := &observed{spans: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader()}
	o := &Options{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(p.spans)),
		MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(p.reader)),
		Propagator:     w3c, Methods: []string{"fail"}, Topics: []string{"listed"},
	}
	so, co := newServerOptions(), client.NewEndOptions()
	Instrument(so, o)
	Instrument(co, o)
	l, err := server.Listen("tcp", "127.0.0.1:0", so)
	require.NoError(t, err)
	defer l.Close()
	p.client, err = client.NewEnd("tcp", l.Addr().String(), co)
	require.NoError(t, err)
	defer p.client.Close()
	p.server, err = l.AcceptEnd()
	require.NoError(t, err)

	require.Error(t, p.call(t.Context(), "fail"))
	require.NoError(t, p.call(t.Context(), "echo"))
	_, err = p.client.OpenStream()
	require.NoError(t, err)
	require.NoError(t, (<-p.publish(t.Context(), t, "listed", options.CnssAtMostOnce)).Error)
	_, err = p.server.Receive(t.Context())
	require.NoError(t, err)
	published := p.publish(t.Context(), t, "listed", options.CnssAtLeastOnce)
	m, err := p.server.Receive(t.Context())
	require.NoError(t, err)
	require.NoError(t, m.Error(errors.New("no luck")))
	require.Error(t, (<-published).Error)
	for _, end := range []geminio.End{p.client, p.server} {
		require.NoError(t, end.Close())
		<-geminio.Done(end)
	}

	got := make(map[string]bool)
	for _, span := range p.spans.GetSpans() {
		for key, value := range attrs(span.Attributes) {
			got[key] = true
			if key == "server.port" {
				_, port, _ := net.SplitHostPort(l.Addr().String())
				assert.Equal(t, port, value)
			}
		}
	}
	documented := table(t, "| attribute | spans | meaning |")
	assert.ElementsMatch(t, slices.Collect(maps.Keys(documented)), slices.Collect(maps.Keys(got)))

	metrics := table(t, "| metric | unit | attributes |")
	var names []string
	for _, m := range p.collect(t) {
		names = append(names, m.Name)
		keys := make(map[string]bool)
		for _, point := range p.points(t, m.Name) {
			for key := range point {
				keys[key] = true
			}
		}
		if cells := metrics[m.Name]; assert.NotNil(t, cells, m.Name) {
			assert.Equal(t, m.Unit, strings.TrimSpace(cells[1]), m.Name)
			var want []string
			for _, key := range quoted.FindAllStringSubmatch(cells[2], -1) {
				want = append(want, key[1])
			}
			assert.ElementsMatch(t, want, slices.Collect(maps.Keys(keys)), m.Name)
		}
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(metrics)), names)
}
