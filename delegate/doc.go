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
// DialogueOffline first. Between these, callbacks of one End may run
// concurrently, and those of different Ends always may, so an implementation
// guards its own state.
//
// Callbacks may block and may use other Ends. A blocked callback delays only
// what it stands before: a ConnOnline its own handshake, a DialogueOnline the
// opening of its own stream.
package delegate
