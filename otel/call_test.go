package otel

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/server"
)

// A call has a span at each side, in the trace of the caller, in both directions.
func TestCall(t *testing.T) {
	in(t, setup{}, func(t *testing.T, p *observed) {
		for _, c := range []struct {
			name   string
			caller geminio.End
			method string
		}{{"client calls", p.client, "echo"}, {"server calls", p.server, "name"}} {
			ctx, root := p.tracer.Start(t.Context(), "root")
			_, err := c.caller.Call(ctx, c.method, c.caller.NewRequest(nil))
			require.NoError(t, err)
			root.End()
			all := p.taken()
			require.Len(t, all, 3, c.name)
			at, from := all[0], all[1]
			assert.Equal(t, trace.SpanKindServer, at.SpanKind, c.name)
			assert.Equal(t, trace.SpanKindClient, from.SpanKind, c.name)
			assert.Equal(t, root.SpanContext().SpanID(), from.Parent.SpanID(), c.name)
			assert.Equal(t, from.SpanContext.SpanID(), at.Parent.SpanID(), c.name)
			assert.True(t, at.Parent.IsRemote(), c.name)
			assert.Equal(t, root.SpanContext().TraceID(), at.SpanContext.TraceID(), c.name)
			for _, span := range all[:2] {
				assert.Equal(t, c.method, span.Name, c.name)
				assert.Equal(t, codes.Unset, span.Status.Code, c.name)
				assert.Equal(t, scope, span.InstrumentationScope.Name, c.name)
				got := attrs(span.Attributes)
				assert.Equal(t, "geminio", got["rpc.system.name"], c.name)
				assert.Equal(t, c.method, got["rpc.method"], c.name)
				assert.Equal(t, "OK", got["rpc.response.status_code"], c.name)
				assert.NotContains(t, got, "error.type", c.name)
				assert.NotEmpty(t, got["geminio.client.id"], c.name)
				assert.Equal(t, "1", got["geminio.stream.id"], c.name)
				assert.NotEmpty(t, got["network.peer.address"], c.name)
			}
		}
	})
}

// Each outcome has its code, and the status of each side.
func TestOutcomes(t *testing.T) {
	in(t, setup{}, func(t *testing.T, p *observed) {
		for _, c := range []struct {
			method         string
			code           string // rpc.response.status_code at the caller
			errorType      string // error.type at the caller
			client, server codes.Code
			text           string
		}{
			{"fail", "APPLICATION", "APPLICATION", codes.Error, codes.Error, "no luck"},
			{"coded", "1001", "1001", codes.Error, codes.Error, "coded"},
			{"invalid", "INVALID", "INVALID", codes.Error, codes.Unset, "coded"},
			{"bad error", "PANIC", "PANIC", codes.Error, codes.Error, ""},
			{"panic", "PANIC", "PANIC", codes.Error, codes.Error, ""},
			{"missing", "NO_METHOD", "NO_METHOD", codes.Error, 0, ""},
		} {
			require.Error(t, p.call(t.Context(), c.method), c.method)
			all := p.taken()
			from := all[len(all)-1]
			got := attrs(from.Attributes)
			assert.Equal(t, c.code, got["rpc.response.status_code"], c.method)
			assert.Equal(t, c.errorType, got["error.type"], c.method)
			assert.Equal(t, c.client, from.Status.Code, c.method)
			if c.text != "" {
				assert.Equal(t, c.text, from.Status.Description, c.method)
			}
			if c.method == "missing" {
				assert.Len(t, all, 1, "a method that is not registered runs no middleware")
				continue
			}
			require.Len(t, all, 2, c.method)
			got = attrs(all[0].Attributes)
			assert.Equal(t, c.server, all[0].Status.Code, c.method)
			assert.Equal(t, c.code, got["rpc.response.status_code"], c.method)
			if c.server == codes.Error {
				assert.Equal(t, c.errorType, got["error.type"], c.method)
			} else {
				assert.NotContains(t, got, "error.type", c.method)
			}
		}
	})
}

// An error of this side has no code of a response.
func TestErrorsOfTheCaller(t *testing.T) {
	in(t, setup{}, func(t *testing.T, p *observed) {
		expect := func(want string, err error) {
			t.Helper()
			require.Error(t, err)
			all := p.taken()
			got := attrs(all[len(all)-1].Attributes)
			assert.Equal(t, want, got["error.type"])
			assert.NotContains(t, got, "rpc.response.status_code")
			assert.Equal(t, codes.Error, all[len(all)-1].Status.Code)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.client.Call(ctx, "hang", p.client.NewRequest(nil))
		require.Error(t, err)
		for _, span := range p.taken() {
			got := attrs(span.Attributes)
			if span.SpanKind == trace.SpanKindClient {
				assert.Equal(t, "DEADLINE", got["error.type"])
				assert.NotContains(t, got, "rpc.response.status_code")
			} else {
				assert.Equal(t, "DEADLINE", got["rpc.response.status_code"])
				assert.Equal(t, codes.Error, span.Status.Code)
			}
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		expect("CANCELED", p.call(ctx, "echo"))
		other := p.server.NewRequest(nil)
		other.SetStreamID(7)
		_, err = p.client.Call(t.Context(), "echo", other)
		expect("_OTHER", err)
		p.client.Close()
		expect("CLOSED", p.call(t.Context(), "echo"))
	})
}

// The outcomes of a lost connection.
func TestReturned(t *testing.T) {
	for want, err := range map[string]error{
		"MAYBE_EXECUTED": &geminio.InterruptedError{MaybeExecuted: true, Cause: &geminio.RemoteError{Code: geminio.CodeReplaced}},
		"NOT_EXECUTED":   &geminio.InterruptedError{Cause: errors.New("reset")},
		"NOT_CONNECTED":  errors.Join(geminio.ErrNotExecuted, geminio.ErrNotConnected),
		"GOING_AWAY":     geminio.ErrGoingAway,
		"NO_METHOD":      geminio.ErrRemoteRPCUnregistered,
		"TOO_LARGE":      &geminio.LimitError{Err: geminio.ErrTooLarge},
		"LIMIT":          &geminio.LimitError{Err: geminio.ErrTooMany},
	} {
		o := returned(err)
		assert.Equal(t, want, o.name(false))
		assert.False(t, o.answered, want)
		assert.True(t, o.failed(), want)
	}
	reserved := outcome{code: 500, answered: true}
	assert.Equal(t, "APPLICATION", reserved.name(false), "a reserved code")
	largest := outcome{code: ^geminio.Code(0), answered: true} // no int of a 32-bit system
	assert.Equal(t, "4294967295", largest.name(false))
	assert.Equal(t, "APPLICATION", largest.name(true))
}

// Baggage reaches the handler, and what the handler calls.
func TestBaggage(t *testing.T) {
	got := make(chan string, 1)
	in(t, setup{server: func(o *server.EndOptions) {
		o.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
			got <- baggage.FromContext(ctx).Member("tenant").Value()
		}})
	}}, func(t *testing.T, p *observed) {
		b, err := baggage.Parse("tenant=acme")
		require.NoError(t, err)
		require.NoError(t, p.call(baggage.ContextWithBaggage(t.Context(), b), "echo"))
		assert.Equal(t, "acme", <-got)
	})
}

// A program that passes on metadata that has arrived does not pass on the trace of another call.
func TestForwardedMetadata(t *testing.T) {
	in(t, setup{}, func(t *testing.T, p *observed) {
		md := metadata.Pairs("traceparent", "00-11111111111111111111111111111111-2222222222222222-01", "token", "x")
		ctx, root := p.tracer.Start(metadata.NewOutgoingContext(t.Context(), md), "root")
		require.NoError(t, p.call(ctx, "echo"))
		root.End()
		for _, span := range p.taken() {
			assert.Equal(t, root.SpanContext().TraceID(), span.SpanContext.TraceID(), span.Name)
		}
	})
	got := inject(t, metadata.Pairs("traceparent", "old", "token", "x"))
	assert.Len(t, got.Get("traceparent"), 1)
	assert.NotEqual(t, "old", got.Get("traceparent")[0])
	assert.Equal(t, []string{"x"}, got.Get("token"))
}

// inject returns the metadata that an operation sends whose program sends md.
func inject(t *testing.T, md metadata.MD) metadata.MD {
	i := newInstrumentation(&Options{Propagator: w3c})
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}})
	ctx := trace.ContextWithSpanContext(metadata.NewOutgoingContext(t.Context(), md), sc)
	got, ok := metadata.FromOutgoingContext(i.inject(ctx))
	require.True(t, ok)
	return got
}

// foreign is metadata that peers may send.
var foreign = []metadata.MD{
	metadata.Pairs("traceparent", ""),
	metadata.Pairs("traceparent", "\xff\x00\xfe"),
	metadata.Pairs("traceparent", "00-0-0-0"),
	metadata.Pairs("traceparent", "ff-11111111111111111111111111111111-2222222222222222-01"),
	metadata.Pairs("traceparent", "00-11111111111111111111111111111111-2222222222222222-01", "traceparent", "again"),
	metadata.Pairs("traceparent", "00-11111111111111111111111111111111-2222222222222222-01", "tracestate", "\xff=\xff,,,=,"),
	metadata.Pairs("baggage", "a=b,c;=%ZZ,\xff=\xfe"),
	metadata.Pairs("baggage", string(make([]byte, 20000)), "tracestate", string(make([]byte, 20000))),
}

// Foreign metadata fails no call, and every attribute is UTF-8.
func TestForeignMetadata(t *testing.T) {
	in(t, setup{client: func(o *client.EndOptions) { o.CallMiddleware = nil }}, func(t *testing.T, p *observed) {
		for _, md := range foreign {
			require.NoError(t, p.call(metadata.NewOutgoingContext(t.Context(), md), "echo"))
			assert.Len(t, p.taken(), 1)
		}
	})
}

// FuzzExtract reads arbitrary metadata.
func FuzzExtract(f *testing.F) {
	for _, md := range foreign {
		f.Add(first(md.Get("traceparent")), first(md.Get("tracestate")), first(md.Get("baggage")))
	}
	i := newInstrumentation(&Options{Propagator: w3c})
	f.Fuzz(func(t *testing.T, parent, state, bag string) {
		md := metadata.Pairs("traceparent", parent, "tracestate", state, "baggage", bag)
		ctx, _ := i.extract(t.Context(), received(md), true)
		i.inject(ctx)
	})
}

// The methods of a hijack have no name by default, since the peer chooses them.
func TestHijack(t *testing.T) {
	hijack := func(_ context.Context, _ string, _ geminio.Request, _ geminio.Response) {}
	in(t, setup{server: func(o *server.EndOptions) { o.SetHijack(hijack) }}, func(t *testing.T, p *observed) {
		require.NoError(t, p.call(t.Context(), "made up"))
		require.NoError(t, p.call(t.Context(), "echo"))
		all := p.taken()
		require.Len(t, all, 4)
		assert.Equal(t, "geminio", all[0].Name)
		assert.Equal(t, "made up", attrs(all[0].Attributes)["rpc.method_original"])
		assert.Equal(t, "made up", all[1].Name, "the caller knows what it calls")
		assert.Equal(t, "echo", all[2].Name, "a registered method that the hijack takes")
	})
}

// With Methods, all others have no name.
func TestNames(t *testing.T) {
	hijack := func(_ context.Context, _ string, _ geminio.Request, _ geminio.Response) {}
	in(t, setup{
		options: func(o *Options) { o.Methods = []string{"echo"} },
		server:  func(o *server.EndOptions) { o.SetHijack(hijack) },
	}, func(t *testing.T, p *observed) {
		require.NoError(t, p.call(t.Context(), "echo"))
		require.NoError(t, p.call(t.Context(), "bad \xff name"))
		for i, span := range p.taken() {
			got := attrs(span.Attributes)
			if i < 2 {
				assert.Equal(t, "echo", span.Name)
				continue
			}
			assert.Equal(t, "geminio", span.Name)
			assert.Equal(t, "_OTHER", got["rpc.method"])
			assert.Equal(t, "bad \uFFFD name", got["rpc.method_original"])
		}
		points := p.points(t, "rpc.server.call.duration")
		assert.Len(t, points, 2)
		for _, point := range points {
			assert.Contains(t, []string{"echo", "_OTHER"}, point["rpc.method"])
		}
	})
}

// A filtered operation has no span and passes on the context of the trace.
func TestFilter(t *testing.T) {
	in(t, setup{options: func(o *Options) {
		o.Filter = func(_ context.Context, op Operation, name string) bool { return op != Call || name != "echo" }
	}}, func(t *testing.T, p *observed) {
		ctx, root := p.tracer.Start(t.Context(), "root")
		require.NoError(t, p.call(ctx, "echo"))
		root.End()
		all := p.taken()
		require.Len(t, all, 2)
		assert.Equal(t, trace.SpanKindServer, all[0].SpanKind)
		assert.Equal(t, root.SpanContext().SpanID(), all[0].Parent.SpanID())
		points := p.points(t, "rpc.client.call.duration")
		assert.Empty(t, points)
	})
}

// With PublicEndpoint, the trace of the peer is linked and not continued.
func TestPublicEndpoint(t *testing.T) {
	in(t, setup{options: func(o *Options) { o.PublicEndpoint = true }}, func(t *testing.T, p *observed) {
		require.NoError(t, p.call(t.Context(), "echo"))
		all := p.taken()
		require.Len(t, all, 2)
		assert.False(t, all[0].Parent.IsValid())
		require.Len(t, all[0].Links, 1)
		assert.Equal(t, all[1].SpanContext.SpanID(), all[0].Links[0].SpanContext.SpanID())
	})
}

// A sampler sees the attributes of the conventions. A trace that is not sampled stays unsampled at
// the peer.
func TestSampler(t *testing.T) {
	s := &recordingSampler{}
	in(t, setup{sampler: s}, func(t *testing.T, p *observed) {
		require.NoError(t, p.call(t.Context(), "echo"))
		assert.Empty(t, p.taken())
		require.Len(t, s.seen, 1, "the sampler of the server follows that of the client")
		assert.Equal(t, map[string]string{"rpc.system.name": "geminio", "rpc.method": "echo"}, attrs(s.seen[0]))
	})
}

// recordingSampler samples nothing.
type recordingSampler struct{ seen [][]attribute.KeyValue }

func (s *recordingSampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	s.seen = append(s.seen, p.Attributes)
	return sdktrace.NeverSample().ShouldSample(p)
}

func (s *recordingSampler) Description() string { return "recording" }
