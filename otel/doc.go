// Package otel makes OpenTelemetry traces and metrics of the calls, messages and stream openings of
// geminio. [Instrument] sets its middleware on the options of a client or a server:
//
//	opt := server.NewEndOptions()
//	otel.Instrument(opt, nil)
//
// Both sides of a connection may do so, or only one of them. The context of a trace travels in the
// metadata of package metadata, by the propagator of the program, such as W3C Trace Context and
// Baggage. The names of spans, metrics and attributes are those of the semantic conventions for RPC
// and messaging; the README lists them.
//
// The package depends on the API of OpenTelemetry only. The program sets up the SDK and the
// exporters, and sets the global providers and the global propagator, or those of [Options].
package otel
