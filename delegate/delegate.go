package delegate

import (
	"net"

	"github.com/singchia/geminio"
)

// ConnDescriber describes a connection to the callbacks about it. Its methods
// may be called at any time, also after the connection has ended.
type ConnDescriber interface {
	// ClientID is the number of the client, the same on both sides.
	ClientID() uint64
	// Meta is what the client set, on both sides. It must not be changed.
	Meta() []byte
	// LocalAddr is the connection's address on this side.
	LocalAddr() net.Addr
	// RemoteAddr is the connection's address on the other side.
	RemoteAddr() net.Addr
	// Side is InitiatorSide at the client and RecipientSide at the server.
	Side() geminio.Side
}

// ClientConnDelegate follows connections from the client's side.
type ClientConnDelegate interface {
	// ConnOnline is called once when the handshake is done and before any other
	// callback of the End. An error closes the connection; on the server it
	// refuses the client, which gets the error's text.
	ConnOnline(ConnDescriber) error
	// ConnOffline is called once when the connection has ended, after every
	// other callback of the End. Its error is logged and changes nothing.
	ConnOffline(ConnDescriber) error
}

// ConnInterruptedDelegate is an optional interface of a delegate. It follows the
// interruptions of an End whose session can be resumed. Its callbacks are not ordered with
// the other callbacks of the End, apart from ConnOffline, which comes after them. They must
// not wait for the End, which may be without a connection.
type ConnInterruptedDelegate interface {
	// ConnInterrupted is called when the End has lost its connection and its session
	// is kept: ConnResumed follows when the peer is back, or ConnOffline when the
	// session has ended.
	ConnInterrupted(ConnDescriber)
}

// ConnResumedDelegate is an optional interface of a delegate, as ConnInterruptedDelegate is.
type ConnResumedDelegate interface {
	// ConnResumed is called when a client resumes the session of an End. At the
	// server it is called before the client gets the answer, after GetClientID. An
	// error refuses this attempt of the client, which gets the error's text; the
	// session stays interrupted. At the client ConnResumed is called when the session
	// is resumed, and the error is logged and changes nothing. ConnResumed may come
	// without a ConnInterrupted before it: the client may notice the loss of a
	// connection before the server does.
	ConnResumed(ConnDescriber) error
}

// ServerConnDelegate follows connections from the server's side, and gives
// clients their numbers.
type ServerConnDelegate interface {
	ClientConnDelegate

	// Heartbeat is called for each heartbeat that arrives from the client. Its
	// error is logged and changes nothing.
	Heartbeat(ConnDescriber) error

	// GetClientID chooses the number of a client that connects, before its
	// ConnOnline. wantedID is what the client asked for, 0 when it asked for
	// none, and meta what it set. Answering 0 leaves the choice to the library,
	// which grants wantedID unless it has chosen that id for another client.
	// Answering wantedID grants it to any client that asks for it, which may
	// replace the connection that has the id. An error refuses the client, which
	// gets the error's text.
	GetClientID(wantedID uint64, meta []byte) (uint64, error)
}

// DialogueDescriber describes a stream to the callbacks about it. Its methods
// may be called at any time, also after the stream has ended.
type DialogueDescriber interface {
	// NegotiatingID is the number under which the opener asked for the stream.
	NegotiatingID() uint64
	// ClientID is the number of the client whose connection carries the stream.
	ClientID() uint64
	// DialogueID is the stream's number, the same on both sides.
	DialogueID() uint64
	// Meta is what the stream's opener set. It must not be changed.
	Meta() []byte
	// Side is InitiatorSide at the opener and RecipientSide at the acceptor.
	Side() geminio.Side
}

// ClientDialogueDelegate follows streams, except the default one.
type ClientDialogueDelegate interface {
	// DialogueOnline is called once for each stream that opens, at opener and
	// acceptor. An error closes the stream; at the acceptor it refuses the
	// stream, and the opener gets the error's text.
	DialogueOnline(DialogueDescriber) error
	// DialogueOffline is called once for each stream whose DialogueOnline was
	// called, when it has ended. Its error is logged and changes nothing.
	DialogueOffline(DialogueDescriber) error
}

// ServerDialogueDelegate follows streams from the server's side, as
// ClientDialogueDelegate does from the client's.
type ServerDialogueDelegate interface {
	ClientDialogueDelegate
}

// ClientDescriber names the client that a callback is about.
type ClientDescriber interface {
	// ClientID is the number of the client.
	ClientID() uint64
}

// ApplicationDelegate follows what the peer offers.
type ApplicationDelegate interface {
	// RemoteRegistration is called after each method that the peer registers,
	// with the client and the stream it was registered on.
	RemoteRegistration(method string, clientID uint64, streamID uint64)
}

// ClientDelegate is what a client's options take.
type ClientDelegate interface {
	ClientConnDelegate
	ClientDialogueDelegate
	ApplicationDelegate

	// EndReOnline is called when an End that reconnects by itself has a new
	// connection.
	EndReOnline(ClientDescriber)
}

// ServerDelegate is what a server's options take.
type ServerDelegate interface {
	ServerConnDelegate
	ServerDialogueDelegate
	ApplicationDelegate
}

// Delegate is the union of all callbacks, for an implementation that serves both
// sides.
type Delegate interface {
	ClientDelegate
	ServerDelegate
}
