package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/conn"
)

// ServerEnd is the End of a server.
type ServerEnd struct {
	*application.End
}

var _ geminio.End = (*ServerEnd)(nil)

// control returns the methods of the End that its users do not have.
func (e *ServerEnd) control() *application.Control { return (*application.Control)(e.End) }

// NewEndWithConn shakes hands with the client at the other side of nc, which
// belongs to the End from now on, also if an error is returned: then it is
// closed. Within the handshake's timeout the client must have done its part and
// registered the methods of SetWaitRemoteRPCs, and taken note of this side's. The error matches
// geminio.ErrHandshakeTimeout, geminio.ErrVersion or the delegate's error. It is no error if
// the client closes its End in an orderly way meanwhile: then the End gives what came before,
// and io.EOF. What a Listener knows of all its clients, an End by itself does not: it
// replaces no former connection of the client, and takes a message that is sent again for a
// new one.
func NewEndWithConn(nc net.Conn, opts ...*EndOptions) (geminio.End, error) {
	opt := MergeEndOptions(opts...)
	cc, ac, err := opt.resolve()
	if err != nil {
		conn.Discard(nc)
		return nil, err
	}
	c, err := conn.Server(nc, cc)
	if err != nil {
		return nil, err
	}
	e := &ServerEnd{application.Start(c, ac)}
	if err := e.introduce(cc, ac); err != nil {
		return nil, err
	}
	return e, nil
}

// introduce exchanges the methods of both sides. On an error it closes the End. That the
// client leaves is none: the End gives what came before.
func (e *ServerEnd) introduce(cc *conn.Config, ac *application.Config) error {
	ctx := context.Background()
	if len(ac.RemoteMethods)+len(ac.LocalMethods) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cc.HandshakeTimeout)
		defer cancel()
	}
	err := e.control().Introduce(ctx)
	if err == nil || e.leaves(err) {
		return nil
	}
	e.Close()
	return fmt.Errorf("client %d: %w", e.ClientID(), err)
}

// leaves tells whether it is because the client leaves that the introduction has ended
// with err: it has closed the connection or wants no new work, or another connection has
// taken its id over. What it has said before is complete.
func (e *ServerEnd) leaves(err error) bool {
	var closed *geminio.RemoteError
	cause := e.control().Conn().Cause()
	return cause == io.EOF || cause == geminio.ErrReplaced || errors.As(cause, &closed) ||
		cause == nil && errors.Is(err, geminio.ErrGoingAway)
}
