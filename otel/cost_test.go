package otel

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// costs are the options whose cost is measured.
var costs = []struct {
	name   string
	o      *Options // nil: without Instrument
	allocs float64  // the most allocations of a call at both sides, beyond those without Instrument
}{
	{"plain", nil, 0},
	{"off", &Options{TracerProvider: tracenoop.NewTracerProvider(), MeterProvider: metricnoop.NewMeterProvider(), Propagator: w3c}, 12},
	{"unsampled", &Options{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())),
		MeterProvider:  metricnoop.NewMeterProvider(), Propagator: w3c,
	}, 26},
	{"sampled", &Options{
		TracerProvider: sdktrace.NewTracerProvider(),
		MeterProvider:  metricnoop.NewMeterProvider(), Propagator: w3c,
	}, 44},
	{"metrics", &Options{
		TracerProvider: tracenoop.NewTracerProvider(),
		MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())), Propagator: w3c,
	}, 22},
}

// newCaller returns a function that makes a call between two Ends.
func newCaller(t testing.TB, o *Options) func() {
	co, so := client.NewEndOptions(), server.NewEndOptions()
	so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: echo})
	if o != nil {
		Instrument(co, o)
		Instrument(so, o)
	}
	c, _ := geminiotest.Pair(t, &geminiotest.PairOptions{Client: co, Server: so})
	ctx, data := context.Background(), []byte("data")
	return func() {
		if _, err := c.Call(ctx, "echo", c.NewRequest(data)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAllocations bounds the allocations of a call.
func TestAllocations(t *testing.T) {
	plain := 0.0
	for _, c := range costs {
		call := newCaller(t, c.o)
		call()
		got := testing.AllocsPerRun(500, call)
		if c.o == nil {
			plain = got
		}
		t.Logf("%s: %.0f allocations", c.name, got)
		if !kit.Race { // the race detector allocates
			require.LessOrEqual(t, got-plain, c.allocs+0.5, c.name)
		}
	}
}

// BenchmarkCall measures a call over memory with both sides instrumented.
func BenchmarkCall(b *testing.B) {
	for _, c := range costs {
		b.Run(c.name, func(b *testing.B) {
			call := newCaller(b, c.o)
			b.ReportAllocs()
			for b.Loop() {
				call()
			}
		})
	}
}
