package delegate

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/metadata"
)

// ConnDescriber describes a connection to the callbacks about it. Its methods
// may be called at any time, also after the connection has ended.
type ConnDescriber interface {
	// ClientID returns the id of the client, the same on both sides.
	ClientID() uint64
	// Meta returns the bytes that the client has set with SetMeta, on both sides. They
	// must not be changed.
	Meta() []byte
	// LocalAddr returns the local address of the connection.
	LocalAddr() net.Addr
	// RemoteAddr returns the remote address of the connection.
	RemoteAddr() net.Addr
	// Side returns InitiatorSide at the client and RecipientSide at the server.
	Side() geminio.Side
}

// TLSDescriber is an optional interface of a ConnDescriber; those of this library have it. They
// are also a metadata.Carrier, with the metadata of the peer's handshake.
type TLSDescriber interface {
	// TLS returns the state of the TLS connection that the transport is or contains, with
	// the certificates of the peer. It returns nil without TLS. TLS beneath a net.Conn of
	// another type is found if that type has a method NetConn, as *tls.Conn has.
	TLS() *tls.ConnectionState
}

// ClientConnDelegate has the callbacks of a client for its connections.
type ClientConnDelegate interface {
	// ConnOnline is called once, before all other callbacks of the End, when the
	// handshake is done. At the client an error closes the connection. At the server an
	// error refuses the client, which gets its text.
	ConnOnline(ConnDescriber) error
	// ConnOffline is called once, after all other callbacks of the End, when the
	// connection has ended and its session is not resumed: see SetResumeKeep. Its error is logged and has no other effect.
	ConnOffline(ConnDescriber) error
}

// ConnInterruptedDelegate is an optional interface of a delegate, for the interruptions of an
// End whose session can be resumed (SetResumeKeep). Its callback and that of
// ConnResumedDelegate are called before ConnOffline, and in no order with the other callbacks
// of the End. They must not wait for the End, which may have no connection.
type ConnInterruptedDelegate interface {
	// ConnInterrupted is called when the End has lost its connection and its session
	// is kept. ConnResumed follows when the session is resumed, and ConnOffline when the
	// session has ended or the End was closed.
	ConnInterrupted(ConnDescriber)
}

// ConnResumedDelegate is an optional interface of a delegate, like ConnInterruptedDelegate.
type ConnResumedDelegate interface {
	// ConnResumed is called when a client resumes the session of an End. At the
	// server it is called before the client gets the answer, after Authenticate
	// or GetClientID. An error refuses this attempt of the client, which gets the error's text; the
	// session stays interrupted. At the client it is called when the session is resumed,
	// and the error is logged and has no other effect. ConnResumed may be called without
	// a ConnInterrupted before it, since the client may notice the loss of a connection
	// before the server does. It is not called when a client fetches the last bytes of an
	// End that was closed, for which ConnOffline was called.
	ConnResumed(ConnDescriber) error
}

// ServerConnDelegate has the callbacks of a server for its connections.
type ServerConnDelegate interface {
	ClientConnDelegate

	// Heartbeat is called for each heartbeat that arrives from the client. Heartbeats that
	// arrive faster than the callback returns may be dropped. Its error is logged and has
	// no other effect.
	Heartbeat(ConnDescriber) error

	// GetClientID returns the id of a client that connects. It is called before
	// ConnOnline. wantedID is the id of the client's SetClientID, or 0, and meta has the
	// bytes of its SetMeta.
	//
	// If GetClientID returns 0, the library chooses: it grants wantedID unless it has
	// chosen that id for another client. A GetClientID that returns wantedID grants it to
	// any client that asks for it, and that client may replace the connection which has
	// the id. An error refuses the client, which gets its text. If GetClientID takes more
	// than three quarters of the time of SetHandshakeTimeout, the client is refused.
	//
	// A delegate that is an AuthenticateDelegate has its Authenticate called instead.
	GetClientID(wantedID uint64, meta []byte) (uint64, error)
}

// ConnInfo describes a client that connects, to the callback that authenticates it.
//
// Metadata with a key that begins with "http-" comes from the transport and not from the client: a
// net.Conn whose method HandshakeMetadata() metadata.MD returns such keys adds them, and a client
// cannot set them. The module websocket has there the headers of the HTTP request, such as
// "http-cookie".
type ConnInfo struct {
	WantedID   uint64               // the id of the client's SetClientID, or 0
	Meta       []byte               // the bytes of the client's SetMeta; they must not be changed
	Metadata   metadata.MD          // the metadata of the client's SetMetadata; nil if there is none
	LocalAddr  net.Addr             // the local address of the connection
	RemoteAddr net.Addr             // the remote address of the connection
	TLS        *tls.ConnectionState // the state of the TLS connection, as of TLSDescriber; nil without TLS
	Resumes    bool                 // the client has proved that it may resume the session of an End
}

// AuthenticateDelegate is an optional interface of a ServerDelegate, for servers that look a client
// up elsewhere or use its certificate or metadata.
//
// A method Authenticate with other parameters is not called, and every client is accepted. So let
// the compiler check the type of the delegate:
//
//	var _ delegate.AuthenticateDelegate = authenticator{}
type AuthenticateDelegate interface {
	// Authenticate returns the id of a client that connects. It is called instead of
	// GetClientID, before ConnOnline, and also for each connection with which a client
	// resumes a session, before ConnResumed.
	//
	// If Authenticate returns 0, the library chooses as it does after GetClientID, or, for
	// a client that resumes a session, the id of the session. If it returns another id than
	// that of the session, the session ends and the client gets a fresh connection. An error
	// refuses the client, which gets its text and code.
	//
	// ctx ends when three quarters of the time of SetHandshakeTimeout have passed, when a
	// client of this library has gone, and when the listener is closed. After that time the
	// client is refused, whether Authenticate has returned or not: the client gets a
	// RefusedError that matches context.DeadlineExceeded. The connection counts as one whose
	// handshake is under way until Authenticate returns.
	Authenticate(ctx context.Context, info ConnInfo) (clientID uint64, err error)
}

// DialogueDescriber describes a stream to the callbacks about it. Its methods
// may be called at any time, also after the stream has ended.
type DialogueDescriber interface {
	// NegotiatingID returns the number with which the opener has asked for the stream.
	NegotiatingID() uint64
	// ClientID returns the id of the client of the connection.
	ClientID() uint64
	// DialogueID returns the id of the stream, the same on both sides.
	DialogueID() uint64
	// Meta returns the bytes that the opener has set with SetMeta. They must not be
	// changed.
	Meta() []byte
	// Side returns InitiatorSide at the opener and RecipientSide at the acceptor.
	Side() geminio.Side
}

// ClientDialogueDelegate has the callbacks of a client for its streams, except the default
// stream.
type ClientDialogueDelegate interface {
	// DialogueOnline is called once for each stream that opens, at the opener and at the
	// acceptor. At the opener an error resets the stream. At the acceptor an error
	// refuses the stream, and the opener gets its text.
	DialogueOnline(DialogueDescriber) error
	// DialogueOffline is called once for each stream that was not refused, when the
	// stream has ended. Its error is logged and has no other effect.
	DialogueOffline(DialogueDescriber) error
}

// ServerDialogueDelegate has the callbacks of a server for its streams. They are the same
// as those of a client.
type ServerDialogueDelegate interface {
	ClientDialogueDelegate
}

// ClientDescriber describes a client to a callback. The value is the *client.RetryEnd.
type ClientDescriber interface {
	// ClientID returns the id of the client.
	ClientID() uint64
}

// ApplicationDelegate has the callbacks for registrations of the peer.
type ApplicationDelegate interface {
	// RemoteRegistration is called after each registration of a method by the peer, with
	// the ids of the client and of the stream.
	RemoteRegistration(method string, clientID uint64, streamID uint64)
}

// ClientDelegate has the callbacks of a client: see SetDelegate of client.EndOptions. It may also
// be a ConnInterruptedDelegate and a ConnResumedDelegate.
type ClientDelegate interface {
	ClientConnDelegate
	ClientDialogueDelegate
	ApplicationDelegate

	// EndReOnline is called when a *client.RetryEnd has made another connection than its
	// first one. It is not called when a session is resumed.
	EndReOnline(ClientDescriber)
}

// ServerDelegate has the callbacks of a server: see SetDelegate of server.EndOptions. It may also
// be a ConnInterruptedDelegate, a ConnResumedDelegate and an AuthenticateDelegate.
type ServerDelegate interface {
	ServerConnDelegate
	ServerDialogueDelegate
	ApplicationDelegate
}

// Delegate has the callbacks of both sides.
type Delegate interface {
	ClientDelegate
	ServerDelegate
}
