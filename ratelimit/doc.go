// Package ratelimit limits how often the handlers of geminio are called, with the token buckets
// of golang.org/x/time/rate. It is a module of its own, so that the library does not depend on
// that one.
//
//	opts := server.NewEndOptions()
//	opts.SetMiddleware(
//		ratelimit.All(10_000, 1000),    // of all clients together
//		ratelimit.PerClient(100, 20),   // of each client
//	)
//
// A call beyond the limit is not executed. It fails at the caller at once with a RemoteError whose
// Code is geminio.CodeLimit.
package ratelimit
