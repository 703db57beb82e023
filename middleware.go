package geminio

import (
	"context"

	"github.com/singchia/geminio/options"
)

// Middleware wraps the handlers of an End and its streams: registered methods and hijacks. It
// gets the handler, or the next middleware, and returns an RPC that calls it:
//
//	func timed(next geminio.RPC) geminio.RPC {
//		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
//			start := time.Now()
//			next(ctx, req, resp)
//			log.Print(req.Method(), time.Since(start), resp.Error())
//		}
//	}
//
// SetMiddleware of the options of client and server sets the middleware of an End; the first one
// is the outermost. A Middleware is called once for each handler when that is registered, and the
// RPC that it returns for every call. Calls of methods that nobody has registered run no
// middleware.
//
// The RPC may answer a call without next, and may pass on another context, which should be
// derived from its own, another Request and another Response. It calls next at most once and
// returns after next has returned. A second call of next does not run the handler again, and has
// the call fail with [CodePanic]. A call of next after the end of the call has no effect. Both are
// logged. If a middleware panics, its call fails as if the handler had panicked.
//
// If a Middleware panics or returns nil, the registration fails with an error: that of Register,
// Hijack or the constructor. A server refuses the client in that case.
type Middleware func(next RPC) RPC

// A Caller makes a call, as [RPCer.Call] of a stream does.
type Caller func(ctx context.Context, method string, req Request, opts ...*options.CallOptions) (Response, error)

// CallMiddleware wraps the outgoing calls of a stream: Call and CallAsync. It gets the stream and
// the Caller that makes the call, or that of the next middleware, and returns a Caller. It is called
// once for each stream, at the first call.
//
// The Caller may pass on other arguments, call next several times, as for a repetition, or not at
// all. On an End that reconnects, it runs once for each call and not for each attempt. For CallAsync
// it runs in a goroutine of its own, and CallAsync returns when next has begun the call, or when the
// Caller returns. A panic is then the error of the call; otherwise it reaches the caller.
type CallMiddleware func(s Stream, next Caller) Caller

// A Publisher publishes a message, as [Messager.Publish] of a stream does.
type Publisher func(ctx context.Context, msg Message, opts ...*options.PublishOptions) error

// PublishMiddleware wraps the publications of a stream: Publish and PublishAsync. In all else it is
// like a [CallMiddleware].
type PublishMiddleware func(s Stream, next Publisher) Publisher

// A Receiver returns the next message, as [Messager.Receive] of a stream does.
type Receiver func(ctx context.Context) (Message, error)

// ReceiveMiddleware wraps Receive of a stream. It may return another Message in place of the
// received one, for instance one whose Done and Error do more. It may answer a message and call next
// again. It is called once for each stream, at the first Receive.
type ReceiveMiddleware func(s Stream, next Receiver) Receiver

// An Opener opens a stream, as [StreamOpener.OpenStreamContext] of an End does.
type Opener func(ctx context.Context, opts ...*options.OpenStreamOptions) (Stream, error)

// OpenMiddleware wraps OpenStream and OpenStreamContext of an End. It may return another Stream in
// place of the opened one, which should have the optional methods too: those of [HalfCloser] and
// [Resetter]. It is called once for each End, at the first opening.
type OpenMiddleware func(e End, next Opener) Opener

// An Acceptor gets a stream that the peer has opened, and returns the stream for the program.
type Acceptor func(s Stream) (Stream, error)

// AcceptMiddleware wraps the streams that the peer opens, on their way to AcceptStream, Accept or
// the function of SetAcceptStreamFunc. The Acceptor may return another Stream in place of the
// accepted one, which should have the optional methods too, as for an [OpenMiddleware]. If it returns an error or panics, the stream is reset with the text and the code of
// the error (see [Coder]), and the program does not get it. It runs in the goroutine of
// AcceptStream, or that of the function. AcceptMiddleware is called once for each connection, at its
// first stream.
//
// [StreamFrom], [StreamOf] and ListStreams return the stream itself, and not another one that a
// middleware has returned in its place.
type AcceptMiddleware func(e End, next Acceptor) Acceptor

// Interceptors are the middleware of an End. The options of client and server embed them. A setter
// adds to what earlier calls have set, and merged options have the middleware of all of them in
// their order. The first one is the outermost. A constructor returns an error that names a
// middleware that is nil. If a middleware of outgoing calls, messages or streams panics when it is
// called, or returns nil, each operation that it would wrap fails with an error.
type Interceptors struct {
	Middleware        []Middleware        `merge:"append"`
	CallMiddleware    []CallMiddleware    `merge:"append"`
	PublishMiddleware []PublishMiddleware `merge:"append"`
	ReceiveMiddleware []ReceiveMiddleware `merge:"append"`
	OpenMiddleware    []OpenMiddleware    `merge:"append"`
	AcceptMiddleware  []AcceptMiddleware  `merge:"append"`
}

// SetMiddleware adds middleware around all handlers of the End: methods and hijacks, those of the
// options and those that are registered later, on the End and on all its streams.
func (i *Interceptors) SetMiddleware(m ...Middleware) { i.Middleware = append(i.Middleware, m...) }

// SetCallMiddleware adds middleware around the outgoing calls of the End and of all its streams.
func (i *Interceptors) SetCallMiddleware(m ...CallMiddleware) {
	i.CallMiddleware = append(i.CallMiddleware, m...)
}

// SetPublishMiddleware adds middleware around the publications of the End and of all its streams.
func (i *Interceptors) SetPublishMiddleware(m ...PublishMiddleware) {
	i.PublishMiddleware = append(i.PublishMiddleware, m...)
}

// SetReceiveMiddleware adds middleware around Receive of the End and of all its streams.
func (i *Interceptors) SetReceiveMiddleware(m ...ReceiveMiddleware) {
	i.ReceiveMiddleware = append(i.ReceiveMiddleware, m...)
}

// SetOpenMiddleware adds middleware around the opening of streams by the End.
func (i *Interceptors) SetOpenMiddleware(m ...OpenMiddleware) {
	i.OpenMiddleware = append(i.OpenMiddleware, m...)
}

// SetAcceptMiddleware adds middleware around the streams that the peer opens.
func (i *Interceptors) SetAcceptMiddleware(m ...AcceptMiddleware) {
	i.AcceptMiddleware = append(i.AcceptMiddleware, m...)
}
