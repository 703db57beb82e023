package otel

import (
	"context"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/ctxkey"
	"github.com/singchia/geminio/options"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// system is the value of rpc.system.name and messaging.system.
const system = "geminio"

// otherMethod is the value of rpc.method for a method that is not recognized.
const otherMethod = "_OTHER"

// call is the CallMiddleware.
func (i *Instrumentation) call(s geminio.Stream, next geminio.Caller) geminio.Caller {
	return func(ctx context.Context, method string, req geminio.Request, opts ...*options.CallOptions) (geminio.Response, error) {
		if !i.observes(ctx, Call, method) {
			return next(i.inject(ctx), method, req, opts...)
		}
		start := time.Now()
		name := i.method(method, true)
		ctx, span := i.startCall(ctx, clientKind, s, name, method)
		resp, err := next(i.inject(ctx), method, req, opts...)
		o := returned(err)
		o.endCall(span, o.failed())
		if i.clientCall.Enabled(ctx) {
			i.clientCall.RecordSet(ctx, seconds(start), attribute.NewSet(o.callAttributes(name, o.failed(), serverOf(s)...)...))
		}
		return resp, err
	}
}

// handle is the Middleware.
func (i *Instrumentation) handle(next geminio.RPC) geminio.RPC {
	return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
		ctx, links := i.extract(ctx, incoming{ctx}, false)
		method := req.Method()
		if !i.observes(ctx, Handle, method) {
			next(ctx, req, resp)
			return
		}
		start := time.Now()
		name := i.method(method, ctx.Value(ctxkey.Registered{}) != false)
		s, _ := geminio.StreamFrom(ctx)
		ctx, span := i.startCall(ctx, serverKind, s, name, method, links...)
		done := false
		defer func() { // also if the handler panics
			o := panicked
			if done {
				o = answeredWith(resp.Error())
			}
			failed := o.failed() && !o.blamesCaller()
			o.endCall(span, failed)
			if i.serverCall.Enabled(ctx) {
				i.serverCall.RecordSet(ctx, seconds(start), attribute.NewSet(o.callAttributes(name, failed)...))
			}
		}()
		next(ctx, req, resp)
		done = true
	}
}

// method returns the name of a method for the names of spans and for metrics. known says that the
// peer has not made it up.
func (i *Instrumentation) method(method string, known bool) string {
	if i.methods[method] || i.methods == nil && known {
		return valid(method)
	}
	return otherMethod
}

// startCall begins the span of a call.
func (i *Instrumentation) startCall(ctx context.Context, kind trace.SpanStartOption, s geminio.Stream, name, method string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	title := name
	attrs := make([]attribute.KeyValue, 0, 10)
	attrs = append(attrs, semconv.RPCSystemNameKey.String(system), semconv.RPCMethod(name))
	if name == otherMethod {
		title = system
		attrs = append(attrs, semconv.RPCMethodOriginal(valid(method)))
	}
	return i.start(ctx, kind, title, s, attrs, opts...)
}

// endCall ends the span of a call.
func (o *outcome) endCall(span trace.Span, failed bool) {
	if o.answered && span.IsRecording() {
		span.SetAttributes(semconv.RPCResponseStatusCode(o.name(false)))
	}
	o.end(span, failed)
}

// callAttributes returns the attributes of the metrics of calls, and more.
func (o *outcome) callAttributes(name string, failed bool, more ...attribute.KeyValue) []attribute.KeyValue {
	attrs := append(make([]attribute.KeyValue, 0, 6), semconv.RPCSystemNameKey.String(system), semconv.RPCMethod(name))
	if o.answered {
		attrs = append(attrs, semconv.RPCResponseStatusCode(o.name(true)))
	}
	if failed {
		attrs = append(attrs, semconv.ErrorTypeKey.String(o.name(true)))
	}
	return append(attrs, more...)
}

// seconds returns the seconds since start.
func seconds(start time.Time) float64 { return time.Since(start).Seconds() }
