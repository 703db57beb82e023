package otel

import (
	"context"
	"net"
	"strconv"

	"github.com/singchia/geminio"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Attributes that the semantic conventions do not have.
const (
	clientKey     = attribute.Key("geminio.client.id")   // the id of the client of the connection
	streamKey     = attribute.Key("geminio.stream.id")   // the id of the stream; 1 for the End itself
	streamPeerKey = attribute.Key("geminio.stream.peer") // the name that the opener has given the stream
)

// The kinds of spans.
var (
	clientKind   = trace.WithSpanKind(trace.SpanKindClient)
	serverKind   = trace.WithSpanKind(trace.SpanKindServer)
	producerKind = trace.WithSpanKind(trace.SpanKindProducer)
	consumerKind = trace.WithSpanKind(trace.SpanKindConsumer)
)

// start begins a span on a stream, which may be nil. A sampler sees attrs, and not the attributes of
// the stream.
func (i *Instrumentation) start(ctx context.Context, kind trace.SpanStartOption, name string, s geminio.Stream, attrs []attribute.KeyValue, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	opts = append(opts, kind, trace.WithAttributes(attrs...))
	ctx, span := i.tracer.Start(ctx, name, opts...)
	if s != nil && span.IsRecording() {
		more := append(make([]attribute.KeyValue, 0, 6),
			clientKey.String(strconv.FormatUint(s.ClientID(), 10)), streamKey.Int64(int64(s.StreamID())))
		host, port := split(s.RemoteAddr())
		if host != "" {
			more = append(more, semconv.NetworkPeerAddress(host))
		}
		if port != 0 {
			more = append(more, semconv.NetworkPeerPort(port))
		}
		span.SetAttributes(append(more, serverOf(s)...)...)
	}
	return ctx, span
}

// serverOf returns server.address and server.port for operations of the side that has dialled the
// connection. The other side has many peers, whose addresses change, and none of them is a server.
func serverOf(s geminio.Stream) []attribute.KeyValue {
	end, ok := geminio.EndOf(s)
	if !ok || end.Side() != geminio.InitiatorSide {
		return nil
	}
	host, port := split(s.RemoteAddr())
	if host == "" {
		return nil
	}
	if port == 0 {
		return []attribute.KeyValue{semconv.ServerAddress(host)}
	}
	return []attribute.KeyValue{semconv.ServerAddress(host), semconv.ServerPort(port)}
}

// split returns the host and the port of an address, or its text and 0.
func split(addr net.Addr) (host string, port int) {
	switch a := addr.(type) {
	case nil:
		return "", 0
	case *net.TCPAddr:
		return valid(a.AddrPort().Addr().Unmap().String()), a.Port
	}
	return valid(addr.String()), 0
}
