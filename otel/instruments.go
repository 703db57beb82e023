package otel

import (
	global "go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/semconv/v1.43.0/messagingconv"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"
)

// instruments are the metrics.
type instruments struct {
	clientCall rpcconv.ClientCallDuration
	serverCall rpcconv.ServerCallDuration
	operation  messagingconv.ClientOperationDuration
	sent       messagingconv.ClientSentMessages
	consumed   messagingconv.ClientConsumedMessages
	process    messagingconv.ProcessDuration
}

// buckets are the bounds of the durations of messages, in seconds. The semantic conventions advise
// the same ones as for calls.
var buckets = metric.WithExplicitBucketBoundaries(
	0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

// newInstruments makes the metrics. One that fails records nothing.
func newInstruments(m metric.Meter) *instruments {
	return &instruments{
		clientCall: made(rpcconv.NewClientCallDuration(m)),
		serverCall: made(rpcconv.NewServerCallDuration(m)),
		operation:  made(messagingconv.NewClientOperationDuration(m, buckets)),
		sent:       made(messagingconv.NewClientSentMessages(m)),
		consumed:   made(messagingconv.NewClientConsumedMessages(m)),
		process:    made(messagingconv.NewProcessDuration(m, buckets)),
	}
}

// made returns i, and reports the error to the error handler of OpenTelemetry.
func made[I any](i I, err error) I {
	if err != nil {
		global.Handle(err)
	}
	return i
}
