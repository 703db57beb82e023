package client

import (
	"context"
	"net"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/conn"
)

// NewEnd connects to a server's address, as net.Dial does, and returns an End.
// Its error is net.Dial's or NewEndWithConn's.
func NewEnd(network, address string, opts ...*EndOptions) (geminio.End, error) {
	opt := MergeEndOptions(opts...)
	cc, ac, err := opt.resolve()
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: cc.HandshakeTimeout}
	nc, err := d.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return newEnd(nc, cc, ac)
}

// NewEndWithDialer returns an End over a connection that dialer makes. It calls
// dialer once. Its error is dialer's or NewEndWithConn's.
func NewEndWithDialer(dialer Dialer, opts ...*EndOptions) (geminio.End, error) {
	opt := MergeEndOptions(opts...)
	cc, ac, err := opt.resolve()
	if err != nil {
		return nil, err
	}
	nc, err := dial(cc.Log, dialer)
	if err != nil {
		return nil, err
	}
	return newEnd(nc, cc, ac)
}

// NewEndWithConn returns an End over nc. The End owns nc from now on; if NewEndWithConn
// returns an error, nc is closed. The error is a *geminio.RefusedError if the server does
// not want this client. It matches geminio.ErrHandshakeTimeout if the server did not
// answer in time, and geminio.ErrVersion if the server speaks wire 1 alone and
// SetRefuseWireV1 is set. NewEndWithConn waits for the methods of SetWaitRemoteRPCs
// without a time limit, as long as the connection stands.
func NewEndWithConn(nc net.Conn, opts ...*EndOptions) (geminio.End, error) {
	opt := MergeEndOptions(opts...)
	cc, ac, err := opt.resolve()
	if err != nil {
		conn.Discard(nc)
		return nil, err
	}
	return newEnd(nc, cc, ac)
}

func newEnd(nc net.Conn, cc *conn.Config, ac *application.Config) (geminio.End, error) {
	cc.Resume = nil // no other connection can be made
	c, err := conn.Client(nc, cc)
	if err != nil {
		return nil, err
	}
	e, err := application.New(context.Background(), c, ac)
	if err != nil {
		return nil, err
	}
	return e, nil
}
