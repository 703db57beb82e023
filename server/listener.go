package server

import (
	"net"
	"reflect"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/nilarg"
)

// Listener returns an End for each client. All methods are safe for concurrent use, and may
// be called from within callbacks and handlers. The concrete type of those that [Listen] and
// [NewListener] return is *[Server].
type Listener interface {
	// AcceptEnd returns the next End whose handshake is done. A client that is slow or
	// silent, breaks the rules or is refused does not delay other clients, and gets no
	// End. If a client closes its End in an orderly way before AcceptEnd is called,
	// AcceptEnd returns its End all the same: the End has everything that the client has
	// sent, and then io.EOF.
	//
	// After Close and Shutdown AcceptEnd returns net.ErrClosed. If the underlying listener
	// fails with a permanent error, AcceptEnd returns the Ends of the clients that
	// connected before, and then that error. Temporary errors, such as too many open
	// files, are logged, and the Listener tries again after a pause of 5 ms to one second.
	AcceptEnd() (geminio.End, error)
	// Accept is AcceptEnd.
	Accept() (net.Conn, error)
	// Close closes the underlying listener, the Ends that AcceptEnd has not returned, and
	// the connections whose handshake is not done. Ends that AcceptEnd has returned stay
	// open as long as they have their connection: no session can be resumed any more (see
	// SetResumeKeep). Close returns within the time of SetLinger. It does not wait for callbacks: if
	// a callback that decides about a client returns later, the client is refused. The
	// error is that of the underlying listener. A second Close returns nil.
	Close() error
	// Addr returns the listener's address.
	Addr() net.Addr
}

// Listen listens on an address, as net.Listen does, and returns a *Server for that listener. See
// NewListener.
func Listen(network, address string, opts ...*EndOptions) (Listener, error) {
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return NewListener(l, opts...)
}

// NewListener returns a *Server that serves l, whose connections may be of any kind, such as TLS.
// The Server owns l from now on. It may serve further listeners. When the last of its listeners
// has failed, AcceptEnd returns that listener's error, and the Server takes no more clients.
func NewListener(l net.Listener, opts ...*EndOptions) (Listener, error) {
	if isNil(l) {
		return nil, nilarg.New("server", "net.Listener")
	}
	srv := New(opts...)
	srv.failsWithListeners = true
	served, err := srv.add(l)
	if err != nil {
		l.Close()
		return nil, err
	}
	go srv.accept(served)
	return srv, nil
}

// isNil tells whether l is nil or a nil pointer.
func isNil(l net.Listener) bool {
	v := reflect.ValueOf(l)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}
