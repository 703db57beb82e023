package otel

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/server"
)

// w3c is the propagator of most tests.
var w3c = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// codedError is an error with a code.
type codedError struct{ code geminio.Code }

func (e codedError) Error() string      { return "coded" }
func (e codedError) Code() geminio.Code { return e.code }

// badError is an error whose methods panic.
type badError struct{}

func (badError) Error() string { panic("no text") }

// observed is a pair of Ends, with the spans and metrics of both.
type observed struct {
	client, server geminio.End
	tracer         trace.Tracer // of the program
	spans          *tracetest.InMemoryExporter
	reader         *sdkmetric.ManualReader

	clientSide, serverSide *Instrumentation
}

// setup changes the options of a pair.
type setup struct {
	options  func(*Options)
	client   func(*client.EndOptions)
	server   func(*server.EndOptions)
	sampler  sdktrace.Sampler
	noServer bool // the server has no instrumentation
}

// in runs a test with a pair of Ends in a bubble. The server has the methods of newServerOptions.
func in(t *testing.T, s setup, test func(t *testing.T, p *observed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &observed{spans: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader()}
		if s.sampler == nil {
			s.sampler = sdktrace.AlwaysSample()
		}
		tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(p.spans), sdktrace.WithSampler(sdktrace.ParentBased(s.sampler)))
		mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(p.reader))
		p.tracer = tp.Tracer("program")
		o := &Options{TracerProvider: tp, MeterProvider: mp, Propagator: w3c, Topics: []string{"listed"}}
		if s.options != nil {
			s.options(o)
		}
		co, so := client.NewEndOptions(), newServerOptions()
		co.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "name", RPC: echo})
		p.clientSide = Instrument(co, o)
		if !s.noServer {
			p.serverSide = Instrument(so, o)
		}
		if s.client != nil {
			s.client(co)
		}
		if s.server != nil {
			s.server(so)
		}
		p.client, p.server = geminiotest.Pair(t, &geminiotest.PairOptions{Client: co, Server: so})
		test(t, p)
	})
}

// echo answers a request with its data.
func echo(_ context.Context, req geminio.Request, resp geminio.Response) { resp.SetData(req.Data()) }

// newServerOptions returns options with methods that end in different ways.
func newServerOptions() *server.EndOptions {
	so := server.NewEndOptions()
	answer := func(err error) geminio.RPC {
		return func(_ context.Context, _ geminio.Request, resp geminio.Response) { resp.SetError(err) }
	}
	so.SetRegisterLocalRPCs(
		&geminio.MethodRPC{Method: "echo", RPC: echo},
		&geminio.MethodRPC{Method: "fail", RPC: answer(errors.New("no luck"))},
		&geminio.MethodRPC{Method: "coded", RPC: answer(codedError{1001})},
		&geminio.MethodRPC{Method: "invalid", RPC: answer(codedError{geminio.CodeInvalid})},
		&geminio.MethodRPC{Method: "bad error", RPC: answer(badError{})},
		&geminio.MethodRPC{Method: "panic", RPC: func(context.Context, geminio.Request, geminio.Response) { panic("oops") }},
		&geminio.MethodRPC{Method: "hang", RPC: func(ctx context.Context, _ geminio.Request, resp geminio.Response) {
			<-ctx.Done()
			resp.SetError(ctx.Err())
		}},
	)
	return so
}

// call calls a method of the server.
func (p *observed) call(ctx context.Context, method string) error {
	_, err := p.client.Call(ctx, method, p.client.NewRequest([]byte("data")))
	return err
}

// taken returns the spans that have ended, in the order of their ends, and forgets them.
func (p *observed) taken() tracetest.SpanStubs {
	synctest.Wait()
	defer p.spans.Reset()
	return p.spans.GetSpans()
}

// attrs returns the attributes of a span as texts.
func attrs(all []attribute.KeyValue) map[string]string {
	m := make(map[string]string)
	for _, kv := range all {
		m[string(kv.Key)] = kv.Value.String()
	}
	return m
}

// collect returns all metrics.
func (p *observed) collect(t *testing.T) (all []metricdata.Metrics) {
	t.Helper()
	var rm metricdata.ResourceMetrics
	require.NoError(t, p.reader.Collect(t.Context(), &rm))
	for _, scope := range rm.ScopeMetrics {
		all = append(all, scope.Metrics...)
	}
	return all
}

// points returns the attributes of all points of a metric.
func (p *observed) points(t *testing.T, name string) (all []map[string]string) {
	t.Helper()
	for _, m := range p.collect(t) {
		if m.Name != name {
			continue
		}
		switch d := m.Data.(type) {
		case metricdata.Histogram[float64]:
			for _, point := range d.DataPoints {
				all = append(all, attrs(point.Attributes.ToSlice()))
			}
		case metricdata.Sum[int64]:
			for _, point := range d.DataPoints {
				all = append(all, attrs(point.Attributes.ToSlice()))
			}
		}
	}
	return all
}
