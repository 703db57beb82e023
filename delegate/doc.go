// Package delegate holds the callbacks through which a program follows, and on
// the server decides about, the life of its Ends and streams.
//
// Implement [ClientDelegate] or [ServerDelegate] by embedding
// *[UnimplementedDelegate] and writing the methods of interest:
//
//	type watcher struct {
//		*delegate.UnimplementedDelegate
//	}
//
//	func (watcher) ConnOnline(conn delegate.ConnDescriber) error { ... }
//
// The order of callbacks of one End is: ConnOnline before any other, ConnOffline
// after all others, each exactly once, on both sides. DialogueOnline and
// DialogueOffline come once each for every stream but the default one, at its
// opener and its acceptor; when the connection ends, every open stream gets its
// DialogueOffline first. All callbacks of one End after ConnOnline come one at a
// time, in the order of what they tell; those of different Ends may run
// concurrently, so an implementation guards its own state.
//
// Callbacks may block and may use their own End and others. One that blocks
// delays the later callbacks of its End, and what it decides: a ConnOnline its
// own handshake, a DialogueOnline the opening of its stream. Calls, messages and
// bytes go on meanwhile.
//
// The error with which a callback refuses a client or stream reaches the other side with
// its text and code (geminio.Coder). A callback that panics, or ends its goroutine with
// runtime.Goexit, is logged with its stack and refuses the client or stream that it
// decides about, with geminio.CodePanic; nothing else happens.
package delegate
