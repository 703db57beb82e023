package geminio

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

// Interceptors are the middleware of an End. The options of client and server embed them. A setter
// adds to what earlier calls have set, and merged options have the middleware of all of them in
// their order. The first one is the outermost. A constructor returns an error that names a
// middleware that is nil.
type Interceptors struct {
	Middleware []Middleware `merge:"append"`
}

// SetMiddleware adds middleware around all handlers of the End: methods and hijacks, those of the
// options and those that are registered later, on the End and on all its streams.
func (i *Interceptors) SetMiddleware(m ...Middleware) { i.Middleware = append(i.Middleware, m...) }
