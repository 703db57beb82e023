package otel

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/typed"
)

// publish publishes a message without waiting for the answer.
func (p *observed) publish(ctx context.Context, t *testing.T, topic string, cnss options.Cnss) <-chan *geminio.Publish {
	opt := options.NewMessage()
	opt.SetTopic(topic)
	opt.SetCnss(cnss)
	done, err := p.client.PublishAsync(ctx, p.client.NewMessage([]byte("data"), opt), nil)
	require.NoError(t, err)
	return done.Done
}

// A message has a span at the publisher, and one at the receiver from Receive to the answer.
func TestMessage(t *testing.T) {
	in(t, setup{}, func(t *testing.T, p *observed) {
		ctx, root := p.tracer.Start(t.Context(), "root")
		published := p.publish(ctx, t, "listed", options.CnssAtLeastOnce)
		m, err := p.server.Receive(t.Context())
		require.NoError(t, err)
		assert.Empty(t, p.taken(), "a span has ended before the answer")
		require.NoError(t, m.Done())
		require.NoError(t, (<-published).Error)
		require.Equal(t, geminio.ErrAnswered, m.Done())
		root.End()
		spans := make(map[string]int)
		all := p.taken()
		require.Len(t, all, 3)
		for i, span := range all {
			spans[span.Name] = i
		}
		pub, proc := all[spans["publish listed"]], all[spans["process listed"]]
		assert.Equal(t, trace.SpanKindProducer, pub.SpanKind)
		assert.Equal(t, trace.SpanKindConsumer, proc.SpanKind)
		assert.Equal(t, root.SpanContext().SpanID(), pub.Parent.SpanID())
		assert.Equal(t, pub.SpanContext.SpanID(), proc.Parent.SpanID())
		require.Len(t, proc.Links, 1)
		assert.Equal(t, pub.SpanContext.SpanID(), proc.Links[0].SpanContext.SpanID())
		for name, want := range map[string]map[string]string{
			"publish listed": {"messaging.operation.name": "publish", "messaging.operation.type": "send"},
			"process listed": {"messaging.operation.name": "process", "messaging.operation.type": "process"},
		} {
			got := attrs(all[spans[name]].Attributes)
			want["messaging.system"] = "geminio"
			want["messaging.destination.name"] = "listed"
			want["messaging.message.body.size"] = "4"
			for key, value := range want {
				assert.Equal(t, value, got[key], "%s: %s", name, key)
			}
			assert.NotEmpty(t, got["messaging.message.id"])
			assert.Equal(t, codes.Unset, all[spans[name]].Status.Code)
		}
		assert.Len(t, p.points(t, "messaging.process.duration"), 1, "the second answer counts")
	})
}

// The wrapped message has the optional methods of a message.
func TestMessageKeepsMethods(t *testing.T) {
	in(t, setup{}, func(t *testing.T, p *observed) {
		b, err := baggage.Parse("tenant=acme")
		require.NoError(t, err)
		ctx := metadata.AppendToOutgoingContext(baggage.ContextWithBaggage(t.Context(), b), "token", "x")
		published := p.publish(ctx, t, "", options.CnssAtLeastOnce)
		m, err := p.server.Receive(t.Context())
		require.NoError(t, err)
		s, ok := geminio.StreamOf(m)
		assert.True(t, ok)
		assert.Equal(t, p.server, s)
		assert.Equal(t, []string{"x"}, metadata.From(m).Get("token"))
		inside := p.serverSide.Context(t.Context(), m)
		assert.Equal(t, "acme", baggage.FromContext(inside).Member("tenant").Value())
		require.NoError(t, p.server.Publish(inside, p.server.NewMessage(nil, atMostOnce())))
		all := p.taken()
		require.Len(t, all, 1)
		require.NoError(t, m.Done())
		<-published
		done := p.taken()
		assert.Equal(t, done[0].SpanContext.SpanID(), all[0].Parent.SpanID(), "what is published for the message belongs to it")
	})
}

// atMostOnce returns the options of a message without an answer.
func atMostOnce() *options.NewMessageOptions {
	opt := options.NewMessage()
	opt.SetCnss(options.CnssAtMostOnce)
	return opt
}

// The error of an answer is that of both spans.
func TestMessageError(t *testing.T) {
	in(t, setup{}, func(t *testing.T, p *observed) {
		published := p.publish(t.Context(), t, "free", options.CnssAtLeastOnce)
		m, err := p.server.Receive(t.Context())
		require.NoError(t, err)
		require.NoError(t, m.Error(errors.New("no luck")))
		require.Error(t, (<-published).Error)
		all := p.taken()
		require.Len(t, all, 2)
		for _, span := range all {
			assert.Equal(t, codes.Error, span.Status.Code, span.Name)
			assert.Equal(t, "no luck", span.Status.Description, span.Name)
			assert.Equal(t, "APPLICATION", attrs(span.Attributes)["error.type"], span.Name)
			assert.Contains(t, []string{"publish", "process"}, span.Name, "a topic that is not listed")
			assert.Equal(t, "free", attrs(span.Attributes)["messaging.destination.name"], span.Name)
		}
	})
}

// An answer that cannot be sent is an error of the receiver.
func TestMessageOfAnEndedConnection(t *testing.T) {
	in(t, setup{}, func(t *testing.T, p *observed) {
		p.publish(t.Context(), t, "", options.CnssAtLeastOnce)
		m, err := p.server.Receive(t.Context())
		require.NoError(t, err)
		p.server.Close()
		require.Error(t, m.Done())
		for _, span := range p.taken() {
			want := map[string]string{"publish": "MAYBE_EXECUTED", "process": "CLOSED"}[span.Name]
			assert.Equal(t, want, attrs(span.Attributes)["error.type"], span.Name)
		}
	})
}

// The span of a message without an answer ends at once, and links to the publisher.
func TestMessageAtMostOnce(t *testing.T) {
	in(t, setup{}, func(t *testing.T, p *observed) {
		published := p.publish(t.Context(), t, "listed", options.CnssAtMostOnce)
		require.NoError(t, (<-published).Error)
		ctx, loop := p.tracer.Start(t.Context(), "loop")
		m, err := p.server.Receive(ctx)
		require.NoError(t, err)
		all := p.taken()
		require.Len(t, all, 2)
		pub, rec := all[0], all[1]
		assert.Equal(t, "receive listed", rec.Name)
		assert.Equal(t, loop.SpanContext().SpanID(), rec.Parent.SpanID(), "the span of the program comes first")
		require.Len(t, rec.Links, 1)
		assert.Equal(t, pub.SpanContext.SpanID(), rec.Links[0].SpanContext.SpanID())
		require.NoError(t, m.Done())
		assert.Empty(t, p.taken())
	})
}

// The receiver ignores foreign metadata, and does not depend on the publisher's instrumentation.
func TestForeignMessages(t *testing.T) {
	in(t, setup{client: func(o *client.EndOptions) { o.PublishMiddleware = nil }}, func(t *testing.T, p *observed) {
		for _, md := range append(foreign, nil) {
			published := p.publish(metadata.NewOutgoingContext(t.Context(), md), t, "\xff", options.CnssAtLeastOnce)
			m, err := p.server.Receive(t.Context())
			require.NoError(t, err)
			require.NoError(t, m.Done())
			require.NoError(t, (<-published).Error)
			all := p.taken()
			require.Len(t, all, 1)
			assert.Equal(t, "\uFFFD", attrs(all[0].Attributes)["messaging.destination.name"])
		}
	})
}

// The handlers of a typed.Dispatcher have the span of their message.
func TestTypedMessage(t *testing.T) {
	in(t, setup{}, func(t *testing.T, p *observed) {
		topic := typed.Topic[int]{Name: "listed"}
		var d typed.Dispatcher
		got := make(chan trace.SpanContext, 1)
		topic.Subscribe(&d, func(ctx context.Context, _ int) error {
			got <- trace.SpanContextFromContext(ctx)
			return nil
		})
		go d.Run(t.Context(), p.server)
		require.NoError(t, topic.Publish(t.Context(), p.client, 1))
		for _, span := range p.taken() {
			if span.SpanKind == trace.SpanKindConsumer {
				assert.Equal(t, (<-got).SpanID(), span.SpanContext.SpanID())
			}
		}
	})
}

// The opening of a stream has a span, and the acceptor finds it.
func TestOpen(t *testing.T) {
	in(t, setup{}, func(t *testing.T, p *observed) {
		ctx, root := p.tracer.Start(t.Context(), "root")
		opt := options.OpenStream()
		opt.SetPeer("files")
		s, err := geminio.OpenStreamContext(ctx, p.client, opt)
		require.NoError(t, err)
		defer s.Close()
		accepted, err := p.server.AcceptStream()
		require.NoError(t, err)
		all := p.taken()
		require.Len(t, all, 1)
		assert.Equal(t, "open stream", all[0].Name)
		assert.Equal(t, trace.SpanKindClient, all[0].SpanKind)
		assert.Equal(t, root.SpanContext().SpanID(), all[0].Parent.SpanID())
		assert.Equal(t, "files", attrs(all[0].Attributes)["geminio.stream.peer"])
		assert.NotEqual(t, "1", attrs(all[0].Attributes)["geminio.stream.id"])
		inside := trace.SpanContextFromContext(p.serverSide.Context(t.Context(), accepted))
		assert.Equal(t, all[0].SpanContext.SpanID(), inside.SpanID())

		p.server.Close()
		_, err = p.client.OpenStream()
		require.Error(t, err)
		assert.Equal(t, "CLOSED", attrs(p.taken()[0].Attributes)["error.type"])
	})
}

// Filtered messages and openings pass on the trace.
func TestFilterMessages(t *testing.T) {
	in(t, setup{options: func(o *Options) {
		o.Filter = func(context.Context, Operation, string) bool { return false }
	}}, func(t *testing.T, p *observed) {
		ctx, root := p.tracer.Start(t.Context(), "root")
		p.publish(ctx, t, "listed", options.CnssAtLeastOnce)
		m, err := p.server.Receive(t.Context())
		require.NoError(t, err)
		assert.Equal(t, root.SpanContext().SpanID(), trace.SpanContextFromContext(p.serverSide.Context(t.Context(), m)).SpanID())
		require.NoError(t, m.Done())
		s, err := geminio.OpenStreamContext(ctx, p.client)
		require.NoError(t, err)
		s.Close()
		accepted, err := p.server.AcceptStream()
		require.NoError(t, err)
		assert.Equal(t, root.SpanContext().SpanID(), trace.SpanContextFromContext(p.serverSide.Context(t.Context(), accepted)).SpanID())
		assert.Empty(t, p.taken())
		for _, name := range []string{"messaging.client.sent.messages", "messaging.process.duration"} {
			points := p.points(t, name)
			assert.Empty(t, points, name)
		}
	})
}
