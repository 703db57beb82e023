package otel_test

import (
	"context"
	"fmt"
	"log"

	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/otel"
	"github.com/singchia/geminio/server"
)

// A call has a span at both sides. This program prints the spans; others have an exporter.
func Example() {
	exporter := tracetest.NewInMemoryExporter()
	options := &otel.Options{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter)),
		Propagator:     propagation.TraceContext{},
	}
	so := server.NewEndOptions()
	otel.Instrument(so, options)
	so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "greet", RPC: func(ctx context.Context, req geminio.Request, resp geminio.Response) {
		resp.SetData(fmt.Appendf(nil, "hello, %s", req.Data())) // calls with ctx would belong to the trace
	}})
	l, err := server.Listen("tcp", "127.0.0.1:0", so)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	co := client.NewEndOptions()
	otel.Instrument(co, options)
	end, err := client.NewEnd("tcp", l.Addr().String(), co)
	if err != nil {
		log.Fatal(err)
	}
	defer end.Close()
	if _, err := end.Call(context.Background(), "greet", end.NewRequest([]byte("Ada"))); err != nil {
		log.Fatal(err)
	}
	spans := exporter.GetSpans()
	for _, span := range spans {
		fmt.Println(span.Name, span.SpanKind)
	}
	fmt.Println("same trace:", spans[0].SpanContext.TraceID() == spans[1].SpanContext.TraceID())
	// Output:
	// greet server
	// greet client
	// same trace: true
}

// The work that a message causes belongs to its trace.
func ExampleInstrumentation_Context() {
	opt := client.NewEndOptions()
	instrumentation := otel.Instrument(opt, nil)
	end, err := client.NewEnd("tcp", "127.0.0.1:7000", opt)
	if err != nil {
		return
	}
	defer end.Close()
	for {
		m, err := end.Receive(context.Background())
		if err != nil {
			return
		}
		ctx := instrumentation.Context(context.Background(), m)
		if _, err := end.Call(ctx, "store", end.NewRequest(m.Data())); err != nil {
			m.Error(err) // ends the span of the message
			continue
		}
		m.Done()
	}
}
