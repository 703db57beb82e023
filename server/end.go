package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/packet"
)

// ServerEnd is the End of a server: see [geminio.End].
type ServerEnd struct {
	*end
	sessionFunc atomic.Pointer[func()] // see SetSessionFunc; nil if there is none
}

// end is the embedded type of a ServerEnd, whose method End would otherwise be hidden.
type end = application.End

var _ geminio.End = (*ServerEnd)(nil)

// control returns the End with the methods that its users do not have.
func (e *ServerEnd) control() *application.Control { return (*application.Control)(e.end) }

// Replace ends the End as a connection that takes over its client id does: the client gets
// geminio.ErrReplaced. A session without a connection ends too, and cannot be resumed. It is for
// programs in which several servers share the ids of clients. Replace does not wait.
func (e *ServerEnd) Replace() {
	if e.control().Conn().Expire(geminio.ErrReplaced) {
		return
	}
	e.control().CloseWith(geminio.ErrReplaced, packet.Reason{
		Code: uint32(geminio.CodeReplaced), Text: geminio.ErrReplaced.Error(),
	})
}

// SetSessionFunc has f called whenever the connection of the End was lost while its session is kept, and
// whenever the session continues on another connection. f must not block. geminio.SnapshotOf returns the
// state at that moment, which may have changed again. A second SetSessionFunc replaces f, and nil removes
// it. An End whose session cannot be resumed does not call f.
func (e *ServerEnd) SetSessionFunc(f func()) {
	if f == nil {
		e.sessionFunc.Store(nil)
		return
	}
	e.sessionFunc.Store(&f)
}

// sessionChanged calls the function of SetSessionFunc. e may be nil.
func (e *ServerEnd) sessionChanged() {
	if e == nil {
		return
	}
	if f := e.sessionFunc.Load(); f != nil {
		(*f)()
	}
}

// NewEndWithConn shakes hands with the client at the other side of nc, and returns an End. The
// End owns nc from now on. If NewEndWithConn returns an error, nc is closed. Within the time
// of SetHandshakeTimeout the client must shake hands, register the methods of
// SetWaitRemoteRPCs, and confirm those of SetRegisterLocalRPCs. The error matches
// geminio.ErrHandshakeTimeout, geminio.ErrVersion or the error of the delegate. If the client
// closes its End in an orderly way meanwhile, NewEndWithConn returns no error: the End has
// everything that the client has sent, and then io.EOF.
//
// Unlike a Listener, the End has no state about other connections of the client. It replaces
// no earlier connection, and a message that the client sends again is handed out again.
func NewEndWithConn(nc net.Conn, opts ...*EndOptions) (geminio.End, error) {
	opt := MergeEndOptions(opts...)
	cc, ac, err := opt.resolve()
	if err != nil {
		conn.Discard(nc)
		return nil, err
	}
	cc.Resume = nil // a client that comes back has no way to the End
	var e *ServerEnd
	cc.Prepare = func(c *conn.Conn, over <-chan struct{}) (err error) {
		e, err = opt.prepare(c, ac, over)
		return err
	}
	begin := time.Now()
	cc.Methods = func() []string { return e.control().Methods() }
	if _, err = conn.Server(nc, cc); err != nil {
		e.abandon(err)
		ac.Observer.HandshakeFailed(geminio.RecipientSide, conn.RemoteAddr(cc.Log, nc), begin, err)
		return nil, err
	}
	e.control().Announce()
	e.control().Begin()
	if err := e.exchangeMethods(cc, ac); err != nil {
		ac.Observer.HandshakeFailed(geminio.RecipientSide, e.RemoteAddr(), begin, err)
		return nil, err
	}
	return e, nil
}

// prepare makes the End over c, whose handshake is under way, and calls the function of
// SetPrepareFunc. An error refuses the client; the End may not be nil then.
func (o *EndOptions) prepare(c *conn.Conn, ac *application.Config, over <-chan struct{}) (*ServerEnd, error) {
	e := &ServerEnd{}
	ac.User = func(inner *application.End) geminio.End {
		e.end = inner
		return e
	}
	if _, err := application.Prepare(c, ac); err != nil {
		return nil, err
	}
	if o.PrepareFunc == nil {
		return e, nil
	}
	return e, e.control().Prepare(o.PrepareFunc, over)
}

// abandon ends an End whose handshake has failed. e may be nil.
func (e *ServerEnd) abandon(cause error) {
	if e != nil {
		e.control().Abandon(cause)
	}
}

// exchangeMethods exchanges the methods of both sides. On an error it closes the End. It returns
// no error if the client leaves: the End still returns everything that the client sent before.
func (e *ServerEnd) exchangeMethods(cc *conn.Config, ac *application.Config) error {
	ctx := context.Background()
	if len(ac.RemoteMethods) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cc.HandshakeTimeout)
		defer cancel()
	}
	err := e.control().ExchangeMethods(ctx)
	if err == nil || e.clientLeft(err) {
		return nil
	}
	e.Close()
	return fmt.Errorf("client %d: %w", e.ClientID(), err)
}

// clientLeft tells whether exchangeMethods has ended with err because the client leaves: it
// has closed the connection, it wants no new work, or another connection has taken its id
// over. Everything that it sent before is complete.
func (e *ServerEnd) clientLeft(err error) bool {
	var closed *geminio.RemoteError
	cause := e.control().Conn().Cause()
	return cause == io.EOF || cause == geminio.ErrReplaced || errors.As(cause, &closed) ||
		cause == nil && errors.Is(err, geminio.ErrGoingAway)
}
