package application

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/packet"
)

// wrapper wraps the handlers of an End in the middleware of the user. A nil wrapper leaves them
// as they are. It is read-only.
type wrapper struct {
	all []geminio.Middleware // the outermost first
	log *slog.Logger
}

// newWrapper returns a wrapper, or nil if there is no middleware.
func newWrapper(log *slog.Logger, all []geminio.Middleware) *wrapper {
	if len(all) == 0 {
		return nil
	}
	return &wrapper{all, log}
}

// wrap wraps rpc, the handler of a method. what names it in errors.
func (w *wrapper) wrap(what string, rpc geminio.RPC) (geminio.RPC, error) {
	if w == nil {
		return rpc, nil
	}
	for i := len(w.all) - 1; i >= 0; i-- {
		var err error
		next := &nextRPC{rpc: rpc, entered: stage(i) + stageEntered, log: w.log}
		guard.Run(w.log, "a middleware", func() { rpc = w.all[i](next.call) }, func(failed error) { err = failed })
		if err == nil && rpc == nil {
			err = fmt.Errorf("middleware %d returned a nil RPC for %s", i, what)
		}
		if err != nil {
			return nil, err
		}
	}
	return rpc, nil
}

// wrapHijack is wrap for a hijack. It returns nil if there is no middleware.
func (w *wrapper) wrapHijack(hijack geminio.HijackRPC) (geminio.RPC, error) {
	if w == nil || hijack == nil {
		return nil, nil
	}
	return w.wrap("a hijack", func(ctx context.Context, req geminio.Request, resp geminio.Response) {
		hijack(ctx, req.Method(), req, resp)
	})
}

// stage says how far a call has got through the middleware of its handler: the number of entered
// middleware, counted from stageEntered, and whether the call is over or next was misused.
type stage = uint32

const (
	// stageNone: there is no middleware. Nothing leaves this stage.
	stageNone stage = 0
	// stageEntered: the outermost middleware is entered. Each call of next adds 1.
	stageEntered stage = 1
	// stageOver: a middleware or the handler has returned, so no next may be called any more.
	stageOver stage = 1 << 30
	// stageMisused: a middleware has called next a second time.
	stageMisused stage = 1 << 31
)

// nextRPC is the RPC that one middleware gets: the next middleware, or the handler. Its method
// call may be called once in each call, while the middleware runs.
type nextRPC struct {
	rpc     geminio.RPC
	entered stage // the stage in which next may be called
	log     *slog.Logger
}

// call implements geminio.RPC.
func (n *nextRPC) call(ctx context.Context, req geminio.Request, resp geminio.Response) {
	v := servingOf(ctx, resp)
	if v == nil { // neither is that of the handler
		n.rpc(ctx, req, resp)
		return
	}
	if !v.stage.CompareAndSwap(n.entered, n.entered+1) {
		v.stage.Or(stageMisused)
		n.log.Error("a middleware has called next twice, or after it had returned",
			"method", v.req.method, "client", v.req.clientID, "stream", v.req.streamID)
		return
	}
	defer v.stage.Or(stageOver)
	n.rpc(ctx, req, resp)
}

// servingOf returns the request to which a response or a context belongs. A middleware may have
// replaced one of them. If it has replaced both, the result is nil.
func servingOf(ctx context.Context, resp geminio.Response) *serving {
	if r, ok := resp.(*response); ok && r.v != nil {
		return r.v
	}
	v, _ := ctx.Value(servingKey{}).(*serving)
	return v
}

// servingKey is the key of the *serving in the context of a handler.
type servingKey struct{}

// misused ends the part of a call that runs middleware. It returns why the call has failed if a
// middleware has called next twice, and a zero Reason otherwise.
func misused(s *atomic.Uint32, method string) packet.Reason {
	if s.Load() == stageNone || s.Or(stageOver)&stageMisused == 0 {
		return packet.Reason{}
	}
	return packet.Reason{
		Code: uint32(geminio.CodePanic), Text: fmt.Sprintf("a middleware of %q has called next twice", method),
	}
}
