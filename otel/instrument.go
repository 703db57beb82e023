package otel

import (
	"context"

	"github.com/singchia/geminio"
	global "go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// scope is the name of the instrumentation scope of all spans and metrics.
const scope = "github.com/singchia/geminio/otel"

// Operation is a kind of operation that this package observes.
type Operation string

// The operations. Their names are texts for logs.
const (
	Call    Operation = "call"    // a call that this side makes
	Handle  Operation = "handle"  // a call of the peer, which a handler of this side serves
	Publish Operation = "publish" // a message that this side publishes
	Receive Operation = "receive" // a message that this side receives
	Open    Operation = "open"    // a stream that this side opens
)

// Options are the options of Instrument. The zero value and nil stand for the defaults. Instrument
// reads them once.
type Options struct {
	// TracerProvider makes the spans. Nil stands for the global one.
	TracerProvider trace.TracerProvider

	// MeterProvider makes the metrics. Nil stands for the global one.
	MeterProvider metric.MeterProvider

	// Propagator writes the context of a trace to the metadata, and reads it from there. Nil
	// stands for the global one, which does nothing before the program has set one.
	Propagator propagation.TextMapPropagator

	// PublicEndpoint has the calls and messages of the peer begin a trace of their own, with a link
	// to the span of the peer, and ignores the baggage of the peer. Set it at a server whose
	// clients are not trusted: they could otherwise choose which traces are sampled. By default,
	// the trace of the peer continues.
	PublicEndpoint bool

	// Filter reports whether an operation gets a span and is counted by the metrics. The name is
	// that of the method, the topic of the message, or the peer name of the stream. The context
	// of the trace is passed on in both cases. Filter is called by many goroutines at the same
	// time. Nil stands for all operations.
	Filter func(ctx context.Context, op Operation, name string) bool

	// Methods are the methods that appear by name in the names of spans and in metrics. Others
	// appear as "_OTHER" there. Nil stands for the methods that this side has registered or calls.
	// The peer chooses the other methods of a hijack. A program that calls methods whose names a
	// peer has chosen should set Methods.
	Methods []string

	// Topics are the topics that appear in the names of spans and in metrics. Other topics appear
	// in an attribute of the spans only, because the publisher chooses them freely.
	Topics []string
}

// Interceptors are options on which Instrument sets middleware: *client.EndOptions,
// *server.EndOptions or *geminio.Interceptors.
type Interceptors interface {
	SetMiddleware(...geminio.Middleware)
	SetCallMiddleware(...geminio.CallMiddleware)
	SetPublishMiddleware(...geminio.PublishMiddleware)
	SetReceiveMiddleware(...geminio.ReceiveMiddleware)
	SetOpenMiddleware(...geminio.OpenMiddleware)
}

// Instrumentation has what the options of Instrument say. Its methods are safe for concurrent use.
type Instrumentation struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	filter     func(context.Context, Operation, string) bool
	methods    map[string]bool // nil: all
	topics     map[string]bool
	public     bool
	*instruments
}

// Instrument adds middleware for traces and metrics to the options of a client or a server. It comes
// inside of the middleware that the options have, and outside of what is set later: call Instrument
// first to include the time, and the refusals, of other middleware. Call it once for the same
// options. The result is needed for [Instrumentation.Context] only. Instrument returns without an
// error: metrics that the provider refuses are reported to the error handler of OpenTelemetry.
func Instrument(to Interceptors, o *Options) *Instrumentation {
	i := newInstrumentation(o)
	to.SetMiddleware(i.handle)
	to.SetCallMiddleware(i.call)
	to.SetPublishMiddleware(i.publish)
	to.SetReceiveMiddleware(i.receive)
	to.SetOpenMiddleware(i.open)
	return i
}

// newInstrumentation applies the defaults.
func newInstrumentation(o *Options) *Instrumentation {
	if o == nil {
		o = &Options{}
	}
	tp, mp := o.TracerProvider, o.MeterProvider
	if tp == nil {
		tp = global.GetTracerProvider()
	}
	if mp == nil {
		mp = global.GetMeterProvider()
	}
	i := &Instrumentation{
		tracer:      tp.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		propagator:  o.Propagator,
		filter:      o.Filter,
		topics:      set(o.Topics),
		public:      o.PublicEndpoint,
		instruments: newInstruments(mp.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))),
	}
	if o.Methods != nil {
		i.methods = set(o.Methods)
	}
	if i.propagator == nil {
		i.propagator = global.GetTextMapPropagator()
	}
	return i
}

// set returns the set of names.
func set(names []string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, name := range names {
		m[name] = true
	}
	return m
}

// observes reports whether an operation gets a span and is counted by the metrics.
func (i *Instrumentation) observes(ctx context.Context, op Operation, name string) bool {
	return i.filter == nil || i.filter(ctx, op, name)
}
