package typed

import (
	"context"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// Method describes a method whose calls have a Req and are answered with a Resp. Both sides
// usually share one variable. All methods are safe for concurrent use.
type Method[Req, Resp any] struct {
	// Name is the name of the method.
	Name string
	// Codec encodes requests and responses. Nil stands for JSON. Both sides must use the same.
	Codec Codec
}

// Call calls the method of the peer, and waits for the response. The error is one of those of
// [geminio.RPCer.Call], or a [*DataError] if req cannot be encoded or the response cannot be
// decoded. If the handler cannot decode req, the error is a *geminio.RemoteError with
// geminio.CodeInvalid.
func (m Method[Req, Resp]) Call(ctx context.Context, peer geminio.RPCer, req Req, opts ...*options.CallOptions) (Resp, error) {
	var v Resp
	c := coderOf(m.Codec, m.Name)
	data, err := c.encode(nil, "request", req)
	if err != nil {
		return v, err
	}
	resp, err := peer.Call(c.outgoing(ctx), m.Name, peer.NewRequest(data), opts...)
	if err != nil {
		return v, err
	}
	if err := c.checkOf("response", resp); err != nil {
		return v, err
	}
	err = c.decode("response", resp.Data(), &v)
	return v, err
}

// Register registers the method for the peer: h handles its calls. The error of h is sent to the
// caller with its text and code (see geminio.Coder). Register returns when the peer knows the
// method; its errors are those of [geminio.RPCer.Register].
func (m Method[Req, Resp]) Register(ctx context.Context, peer geminio.RPCer, h func(context.Context, Req) (Resp, error)) error {
	return peer.Register(ctx, m.Name, m.Handler(h).RPC)
}

// Handler returns the method with its handler, for SetRegisterLocalRPCs of the options of client
// and server. The RPC is nil if h is nil.
func (m Method[Req, Resp]) Handler(h func(context.Context, Req) (Resp, error)) *geminio.MethodRPC {
	if h == nil {
		return &geminio.MethodRPC{Method: m.Name}
	}
	c := coderOf(m.Codec, m.Name)
	return &geminio.MethodRPC{Method: m.Name, RPC: func(ctx context.Context, req geminio.Request, resp geminio.Response) {
		data, err := m.handle(ctx, c, req, h)
		if err != nil {
			resp.SetError(err)
			return
		}
		resp.SetData(data)
	}}
}

// handle calls h for a request, and returns the encoded response.
func (m Method[Req, Resp]) handle(ctx context.Context, c coder, req geminio.Request, h func(context.Context, Req) (Resp, error)) ([]byte, error) {
	if err := c.checkRequest(ctx); err != nil {
		return nil, err
	}
	var in Req
	if err := c.decode("request", req.Data(), &in); err != nil {
		return nil, err
	}
	out, err := h(ctx, in)
	if err != nil {
		return nil, err
	}
	c.answer(ctx)
	return c.encode(nil, "response", out)
}
