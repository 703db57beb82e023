package otel

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// The names of the operations of messages.
const (
	publishName = "publish"
	receiveName = "receive" // of messages without an answer
	processName = "process" // from Receive to the answer
)

// publish is the PublishMiddleware.
func (i *Instrumentation) publish(s geminio.Stream, next geminio.Publisher) geminio.Publisher {
	return func(ctx context.Context, msg geminio.Message, opts ...*options.PublishOptions) error {
		topic := msg.Topic()
		if !i.observes(ctx, Publish, topic) {
			return next(i.inject(ctx), msg, opts...)
		}
		start := time.Now()
		ctx, span := i.startMessage(ctx, producerKind, publishName, semconv.MessagingOperationTypeSend, s, msg)
		err := next(i.inject(ctx), msg, opts...)
		o := returned(err)
		o.end(span, o.failed())
		attrs := o.messageAttributes(i, publishName, topic, serverOf(s)...)
		i.sent.AddSet(ctx, 1, attribute.NewSet(attrs...))
		i.operation.RecordSet(ctx, seconds(start), attribute.NewSet(append(attrs, semconv.MessagingOperationTypeSend)...))
		return err
	}
}

// receive is the ReceiveMiddleware.
func (i *Instrumentation) receive(s geminio.Stream, next geminio.Receiver) geminio.Receiver {
	return func(ctx context.Context) (geminio.Message, error) {
		msg, err := next(ctx)
		if err != nil || !i.observes(ctx, Receive, msg.Topic()) {
			return msg, err
		}
		return i.received(ctx, s, msg), nil
	}
}

// received begins the span of a message.
func (i *Instrumentation) received(ctx context.Context, s geminio.Stream, msg geminio.Message) *message {
	ctx, links := i.extract(ctx, received(metadata.From(msg)), true)
	name, operation := processName, semconv.MessagingOperationTypeProcess
	if msg.Cnss() == options.CnssAtMostOnce {
		name, operation = receiveName, semconv.MessagingOperationTypeReceive
	}
	m := &message{Message: msg, i: i, start: time.Now()}
	m.ctx, m.span = i.startMessage(ctx, consumerKind, name, operation, s, msg, links...)
	i.consumed.AddSet(ctx, 1, attribute.NewSet((&outcome{}).messageAttributes(i, name, msg.Topic())...))
	if name == receiveName {
		m.ended.Store(true)
		m.span.End()
	}
	return m
}

// message is a received message with a span.
type message struct {
	geminio.Message
	i     *Instrumentation
	ctx   context.Context // with the span and the baggage
	span  trace.Span
	start time.Time
	ended atomic.Bool // the span is ended
}

// Stream implements geminio.StreamOwned.
func (m *message) Stream() geminio.Stream {
	s, _ := geminio.StreamOf(m.Message)
	return s
}

// Metadata implements metadata.Carrier.
func (m *message) Metadata() metadata.MD { return metadata.From(m.Message) }

// Context returns a context that is derived from ctx, and has the span and the baggage of the message.
// Dispatcher of package typed calls it for the context of the handler.
func (m *message) Context(ctx context.Context) context.Context {
	return trace.ContextWithSpan(baggage.ContextWithBaggage(ctx, baggage.FromContext(m.ctx)), m.span)
}

// Done implements geminio.Message. It ends the span.
func (m *message) Done() error { return m.answer(nil, m.Message.Done) }

// Error implements geminio.Message. It ends the span.
func (m *message) Error(err error) error {
	return m.answer(err, func() error { return m.Message.Error(err) })
}

// answer answers the message, and ends the span.
func (m *message) answer(why error, answer func() error) error {
	if m.ended.Swap(true) {
		return answer()
	}
	o := outcome{local: codeNames[geminio.CodePanic], text: "the answer panicked"}
	defer func() {
		o.end(m.span, o.failed())
		if m.i.process.Enabled(m.ctx) {
			m.i.process.RecordSet(m.ctx, seconds(m.start), attribute.NewSet(o.messageAttributes(m.i, processName, m.Topic())...))
		}
	}()
	err := answer()
	if err != nil {
		o = returned(err)
	} else {
		o = answeredWith(why)
	}
	return err
}

// startMessage begins the span of a message.
func (i *Instrumentation) startMessage(ctx context.Context, kind trace.SpanStartOption, name string, operation attribute.KeyValue,
	s geminio.Stream, msg geminio.Message, opts ...trace.SpanStartOption,
) (context.Context, trace.Span) {
	attrs := append(make([]attribute.KeyValue, 0, 8),
		semconv.MessagingSystemKey.String(system), semconv.MessagingOperationName(name), operation,
		semconv.MessagingMessageID(strconv.FormatUint(msg.ID(), 10)), semconv.MessagingMessageBodySize(len(msg.Data())))
	if topic := msg.Topic(); topic != "" {
		attrs = append(attrs, semconv.MessagingDestinationName(valid(topic)))
		if i.topics[topic] {
			name += " " + valid(topic)
		}
	}
	return i.start(ctx, kind, name, s, attrs, opts...)
}

// messageAttributes returns the attributes of the metrics of messages, and more.
func (o *outcome) messageAttributes(i *Instrumentation, name, topic string, more ...attribute.KeyValue) []attribute.KeyValue {
	attrs := append(make([]attribute.KeyValue, 0, 7), semconv.MessagingSystemKey.String(system), semconv.MessagingOperationName(name))
	if i.topics[topic] {
		attrs = append(attrs, semconv.MessagingDestinationName(valid(topic)))
	}
	if o.failed() {
		attrs = append(attrs, semconv.ErrorTypeKey.String(o.name(true)))
	}
	return append(attrs, more...)
}
