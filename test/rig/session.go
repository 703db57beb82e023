package rig

import (
	"net"

	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// JoinSession returns a Pair whose session is resumed when the connection breaks: its client is
// a *client.RetryEnd, and its server is an End of a Listener, which ends with the Pair. dial
// makes both ends of each transport. Pair.ClientConn and Pair.ServerConn are those of the first
// one.
func JoinSession(dial func() (cc, sc net.Conn, err error), co *client.EndOptions, so *server.EndOptions) (*Pair, error) {
	p := &Pair{}
	pipes := kit.NewPipeListener()
	l, err := server.NewListener(pipes, so)
	if err != nil {
		return nil, err
	}
	p.listener = l
	end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) {
		cc, sc, err := dial()
		if err != nil {
			return nil, err
		}
		if p.ClientConn == nil {
			p.ClientConn, p.ServerConn = cc, sc
		}
		return cc, pipes.Give(sc)
	}, co)
	if err != nil {
		l.Close()
		return nil, err
	}
	p.Client = end
	if p.Server, err = l.AcceptEnd(); err != nil {
		p.Client.Close()
		l.Close()
		return nil, err
	}
	return p, nil
}
