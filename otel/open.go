package otel

import (
	"context"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
	"go.opentelemetry.io/otel/attribute"
)

// openName is the name of the spans of the opening of streams.
const openName = "open stream"

// open is the OpenMiddleware.
func (i *Instrumentation) open(e geminio.End, next geminio.Opener) geminio.Opener {
	return func(ctx context.Context, opts ...*options.OpenStreamOptions) (geminio.Stream, error) {
		peer := ""
		if p := options.MergeOpenStreamOptions(opts...).Peer; p != nil {
			peer = *p
		}
		if !i.observes(ctx, Open, peer) {
			return next(i.inject(ctx), opts...)
		}
		ctx, span := i.start(ctx, clientKind, openName, e, []attribute.KeyValue{streamPeerKey.String(valid(peer))})
		s, err := next(i.inject(ctx), opts...)
		o := returned(err)
		if err == nil && s != nil {
			span.SetAttributes(streamKey.Int64(int64(s.StreamID())))
		}
		o.end(span, o.failed())
		return s, err
	}
}
