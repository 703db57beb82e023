package tunnel

import (
	"context"
	"time"

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
	if deadline, ok := ctx.Deadline(); ok {
		opt.SetTimeout(max(time.Until(deadline), time.Nanosecond))
	}
	type result struct {
		stream geminio.Stream
		err    error
	}
	opened := make(chan result, 1)
	go func() { // ctx may end before its deadline
		s, err := end.OpenStream(opt)
		opened <- result{s, err}
	}()
	var leg *streamLeg
	select {
	case r := <-opened:
		if r.err != nil {
			return nil, r.err
		}
		leg = newStreamLeg(r.stream)
	case <-ctx.Done():
		go func() {
			if r := <-opened; r.err == nil {
				Stream(r.stream).Abort(ctx.Err())
			}
		}()
		return nil, ctx.Err()
	}
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
