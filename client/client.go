package client

import (
	"context"
	"net"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/conn"
)

// NewEnd connects to an address, as net.Dial does, and returns an End. The error is that of
// net.Dial or of NewEndWithConn.
func NewEnd(network, address string, opts ...*EndOptions) (geminio.End, error) {
	opt := MergeEndOptions(opts...)
	cc, ac, err := opt.resolve()
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: cc.HandshakeTimeout}
	begin := time.Now()
	nc, err := d.Dial(network, address)
	if err != nil {
		ac.Observer.HandshakeFailed(geminio.InitiatorSide, nil, begin, err)
		return nil, err
	}
	return opt.newEnd(begin, nc, cc, ac)
}

// NewEndWithDialer returns an End over a connection that dialer makes. It calls dialer once.
// The error is that of dialer or of NewEndWithConn. The dialer of SetContextDialer takes the place
// of dialer, which may be nil then.
func NewEndWithDialer(dialer Dialer, opts ...*EndOptions) (geminio.End, error) {
	opt := MergeEndOptions(opts...)
	cc, ac, err := opt.resolve()
	if err != nil {
		return nil, err
	}
	d, err := opt.dialing(dialer, cc.HandshakeTimeout)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	nc, err := d.dial(context.Background(), cc.Log)
	if err != nil {
		ac.Observer.HandshakeFailed(geminio.InitiatorSide, nil, begin, err)
		return nil, err
	}
	return opt.newEnd(begin, nc, cc, ac)
}

// NewEndWithConn returns an End over nc. The End owns nc from now on. If NewEndWithConn
// returns an error, nc is closed. The error is a *geminio.RefusedError if the server refuses
// the client. It matches geminio.ErrHandshakeTimeout if the server does not answer within the
// time of SetHandshakeTimeout, and geminio.ErrVersion if the server speaks only wire 1 and
// SetRefuseWireV1 is set. NewEndWithConn waits for the methods of SetWaitRemoteRPCs without a
// time limit, until the connection ends.
func NewEndWithConn(nc net.Conn, opts ...*EndOptions) (geminio.End, error) {
	opt := MergeEndOptions(opts...)
	cc, ac, err := opt.resolve()
	if err != nil {
		conn.Discard(nc)
		return nil, err
	}
	return opt.newEnd(time.Now(), nc, cc, ac)
}

// newEnd is shakeHands that reports a failure to the Observer. begin is the time at which the client
// began to connect.
func (o *EndOptions) newEnd(begin time.Time, nc net.Conn, cc *conn.Config, ac *application.Config) (geminio.End, error) {
	e, err := o.shakeHands(nc, cc, ac)
	if err != nil {
		ac.Observer.HandshakeFailed(geminio.InitiatorSide, conn.RemoteAddr(cc.Log, nc), begin, err)
	}
	return e, err
}

// shakeHands shakes hands over nc and starts an End.
func (o *EndOptions) shakeHands(nc net.Conn, cc *conn.Config, ac *application.Config) (geminio.End, error) {
	cc.Resume = nil // no other connection can be made
	var err error
	if ac.Methods, err = application.NewMethods(cc.Log, ac); err != nil {
		conn.Discard(nc)
		return nil, err
	}
	cc.Methods = ac.Methods.All
	var e *application.End
	cc.Prepare = func(c *conn.Conn, over <-chan struct{}) (err error) {
		e, err = application.Prepare(c, ac)
		if err == nil && o.PrepareFunc != nil {
			err = (*application.Control)(e).Prepare(o.PrepareFunc, over)
		}
		return err
	}
	if _, err := conn.Client(nc, cc); err != nil {
		if e != nil {
			(*application.Control)(e).Abandon(err)
		}
		return nil, err
	}
	if err := (*application.Control)(e).BeginAndExchange(context.Background()); err != nil {
		return nil, err
	}
	return e, nil
}
