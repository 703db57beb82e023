package otel

import (
	"context"
	"slices"
	"strings"

	"github.com/singchia/geminio/metadata"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// outgoing collects the pairs that a propagator writes.
type outgoing struct {
	kv []string // keys and values in turn
}

// Get implements propagation.TextMapCarrier.
func (c *outgoing) Get(key string) string {
	for i := len(c.kv) - 2; i >= 0; i -= 2 {
		if strings.EqualFold(c.kv[i], key) {
			return c.kv[i+1]
		}
	}
	return ""
}

// Set implements propagation.TextMapCarrier.
func (c *outgoing) Set(key, value string) { c.kv = append(c.kv, key, value) }

// Keys implements propagation.TextMapCarrier.
func (c *outgoing) Keys() []string {
	var keys []string
	for i := 0; i < len(c.kv); i += 2 {
		keys = append(keys, c.kv[i])
	}
	return keys
}

// inject returns a context whose operations send the context of the trace. If the program sends the
// same keys, for instance because it passes on metadata that has arrived, they are replaced.
func (i *Instrumentation) inject(ctx context.Context) context.Context {
	c := outgoing{kv: make([]string, 0, 4)}
	i.propagator.Inject(ctx, &c)
	if len(c.kv) == 0 {
		return ctx
	}
	md, ok := metadata.FromOutgoingContext(ctx)
	if !ok || !slices.ContainsFunc(c.Keys(), func(key string) bool { return md.Get(key) != nil }) {
		return metadata.AppendToOutgoingContext(ctx, c.kv...)
	}
	for i := 0; i < len(c.kv); i += 2 {
		md.Set(c.kv[i], c.kv[i+1])
	}
	return metadata.NewOutgoingContext(ctx, md)
}

// incoming reads the metadata of the call that a handler serves.
type incoming struct{ ctx context.Context }

// Get implements propagation.TextMapCarrier.
func (c incoming) Get(key string) string { return first(c.Values(key)) }

// Values implements propagation.ValuesGetter.
func (c incoming) Values(key string) []string { return metadata.ValueFromIncomingContext(c.ctx, key) }

// Set implements propagation.TextMapCarrier. It does nothing.
func (incoming) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (c incoming) Keys() []string {
	md, _ := metadata.FromIncomingContext(c.ctx)
	return received(md).Keys()
}

// received reads the metadata of a message or a stream.
type received metadata.MD

// Get implements propagation.TextMapCarrier.
func (c received) Get(key string) string { return first(c.Values(key)) }

// Values implements propagation.ValuesGetter.
func (c received) Values(key string) []string { return metadata.MD(c).Get(key) }

// Set implements propagation.TextMapCarrier. It does nothing.
func (received) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (c received) Keys() []string {
	keys := make([]string, 0, len(c))
	for key := range c {
		keys = append(keys, key)
	}
	return keys
}

// first returns the first value, or an empty string.
func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// Context returns a context that is derived from ctx, and whose spans belong to v: a message that
// this side has received, a stream that the peer has opened, or an End whose peer has sent the context
// of a trace in the handshake. For a message that is observed, it has the span that ends with the
// answer. For others it has the span of the peer, if v has one, and otherwise that of ctx. It also has
// the baggage of the peer. With Options.PublicEndpoint, only the messages that are observed have a span
// and no value has baggage.
func (i *Instrumentation) Context(ctx context.Context, v any) context.Context {
	if m, ok := v.(*message); ok {
		return m.Context(ctx)
	}
	if i.public {
		return ctx
	}
	return i.propagator.Extract(ctx, received(metadata.From(v)))
}

// extract returns the context of a span for what the peer has sent with c, and the options of that
// span. If ctx has a span of this side, it is the parent of the span; otherwise it is the span of the
// peer, to which the span has a link if links is set.
func (i *Instrumentation) extract(ctx context.Context, c propagation.TextMapCarrier, links bool) (context.Context, []trace.SpanStartOption) {
	own, out := trace.SpanFromContext(ctx), ctx
	if own.SpanContext().IsValid() {
		out = trace.ContextWithSpanContext(ctx, trace.SpanContext{})
	}
	out = i.propagator.Extract(out, c)
	remote := trace.SpanContextFromContext(out)
	if i.public {
		out = ctx
	} else if own.SpanContext().IsValid() {
		out = trace.ContextWithSpan(out, own)
	}
	if remote.IsValid() && (links || i.public) {
		return out, []trace.SpanStartOption{trace.WithLinks(trace.Link{SpanContext: remote})}
	}
	return out, nil
}

var (
	_ propagation.TextMapCarrier = (*outgoing)(nil)
	_ propagation.ValuesGetter   = incoming{}
	_ propagation.ValuesGetter   = received(nil)
)
