package server

import (
	"context"
	"fmt"
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

// NewEndWithConn shakes hands with the client at the other side of nc, which
// belongs to the End from now on, also if an error is returned: then it is
// closed. Within the handshake's timeout the client must have done its part and
// registered the methods of SetWaitRemoteRPCs, and taken note of this side's. The error matches
// geminio.ErrHandshakeTimeout, geminio.ErrVersion or the delegate's error. What a
// Listener knows of all its clients, an End by itself does not: it replaces no former
// connection of the client, and takes a message that is sent again for a new one.
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

// introduce exchanges the methods of both sides.
func (e *ServerEnd) introduce(cc *conn.Config, ac *application.Config) error {
	ctx := context.Background()
	if len(ac.RemoteMethods)+len(ac.LocalMethods) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cc.HandshakeTimeout)
		defer cancel()
	}
	if err := e.Introduce(ctx); err != nil {
		return fmt.Errorf("client %d: %w", e.ClientID(), err)
	}
	return nil
}
