package tunnel

import (
	"context"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// Open opens a stream on an End, for a connection to the named service. It gives up when ctx ends.
// A retry End waits for its next connection if it has none. If the Origin asks for a confirmation,
// Open waits until the other side has connected with the service, and returns the reason if that
// fails.
func Open(ctx context.Context, end geminio.End, service string, o Origin) (Leg, error) {
	opt := options.OpenStream()
	opt.SetPeer(service)
	opt.SetMeta(o.meta())
	stream, err := geminio.OpenStreamContext(ctx, end, opt)
	if err != nil {
		return nil, err
	}
	leg := newStreamLeg(stream)
	if !o.confirm {
		return leg, nil
	}
	select {
	case <-leg.confirmed:
		return leg, nil
	case <-leg.broken:
		leg.Stream.Close()
		return nil, leg.why
	case <-ctx.Done():
		leg.Abort(ctx.Err())
		return nil, ctx.Err()
	}
}
