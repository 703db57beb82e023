// Package geminio connects two programs as equals over one connection.
//
// Each side has an [End]. Both sides can, at any time and concurrently,
//
//   - call methods of the other side ([RPCer]),
//   - publish messages that the other side acknowledges ([Messager]),
//   - exchange raw bytes ([Raw]),
//   - open further streams ([Multiplexer]), which can do all of this and do not
//     delay each other.
//
// This package contains interfaces, a few plain types and errors. Package client
// makes the Ends of clients (NewEnd and others). Package server makes those of
// servers (Listen, then AcceptEnd). Package options has the options of single
// operations, and package delegate the callbacks for the life of Ends and streams.
//
// The Ends, streams and listeners have further methods, such as Shutdown and
// CloseWrite, that the interfaces do not name. Interfaces of their own name them:
// [Shutdowner], [HalfCloser], [Resetter], [ErrorCloser], [Causer] and [Doner].
//
// # Stats and snapshots
//
// [Stats] has functions that are called with the events of an End, for metrics. SetStats of the
// options of client and server sets them. [SnapshotOf], [StreamSnapshotOf] and [CallsOf] return the
// present state of an End, a stream and the calls in flight, and [Ping] measures the round trip.
//
// # Concurrency
//
// All methods of an End, a Stream and a Listener are safe for concurrent use. A
// Request, a Response and a Message are not, with the exception of Message.Done
// and Message.Error. Their setters are for the time before they are passed to the
// library.
//
// # Nil arguments
//
// Nil options are skipped. A nil context, request, message, function, dialer,
// connection or listener causes an error that names the argument.
package geminio
