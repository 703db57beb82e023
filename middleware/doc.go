// Package middleware has ready-made middleware: [geminio.Middleware] for SetMiddleware, and one
// [geminio.CallMiddleware] for SetCallMiddleware of the options of client and server.
//
//	Log            logs each call: method, code, duration, sizes
//	Authenticate   refuses calls by their metadata
//	Concurrency    bounds the running calls of each method
//	Deadline       gives handlers a deadline if the caller has set none
//	CallDeadline   gives outgoing calls a deadline if they have none
//	Chain          several middleware as one
//	Only           middleware for some methods
//
// The first middleware of SetMiddleware is the outermost. A usual order is
//
//	opt.SetMiddleware(
//		middleware.Log(logger, nil),          // also logs calls that the others refuse
//		middleware.Authenticate(check),       // before a stranger can use up a limit
//		middleware.Concurrency(limits),
//		middleware.Deadline(10*time.Second),  // the time of the handler alone
//	)
//
// A value may be used for any number of Ends. The calls of all its Ends share the limits of one
// Concurrency.
package middleware
