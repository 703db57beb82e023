// Package delegate has the interfaces of the callbacks that report the beginning and the end
// of connections and streams. Some of them decide: they choose the id of a client, or refuse a
// client or a stream.
//
// An implementation of [ClientDelegate] or [ServerDelegate] embeds *[UnimplementedDelegate] and
// has methods for the callbacks that it needs:
//
//	type watcher struct {
//		*delegate.UnimplementedDelegate
//	}
//
//	func (watcher) ConnOnline(conn delegate.ConnDescriber) error { ... }
//
// # Order
//
// On both sides, ConnOnline is the first callback of an End and ConnOffline the last one.
// Each is called once. DialogueOnline and DialogueOffline are called once for each stream
// except the default stream, at both sides. When a connection ends, DialogueOffline is called
// for every open stream before ConnOffline. After ConnOnline, the callbacks of one End are
// called one at a time, in the order of their events. Callbacks of different Ends may run
// concurrently.
//
// # Blocking
//
// A callback may block, and may use its own End and others. A callback that blocks delays the
// later callbacks of its End and its own decision: ConnOnline delays the handshake, and
// DialogueOnline the opening of the stream. Calls, messages and bytes are not delayed.
//
// # Errors
//
// If a callback refuses a client or a stream with an error, the other side gets the text and
// the code of that error (geminio.Coder). If a callback panics, or ends its goroutine by
// runtime.Goexit, the library logs the stack. If the callback decides about a client or a
// stream, that is refused with geminio.CodePanic.
package delegate
