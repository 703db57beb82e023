package e2e

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// Streams and Ends pass the test suite for implementations of net.Conn.

func TestNetConn(t *testing.T) {
	for _, network := range kit.Networks("tcp", "pipe") {
		for _, c := range []struct {
			name string
			pipe func(*rig.Pair) (a, b net.Conn, err error)
		}{
			{"stream opened by the client", func(p *rig.Pair) (net.Conn, net.Conn, error) {
				return conns(rig.StreamPair(p.Client, p.Server))
			}},
			{"stream opened by the server", func(p *rig.Pair) (net.Conn, net.Conn, error) {
				return conns(rig.StreamPair(p.Server, p.Client))
			}},
			{"Ends", func(p *rig.Pair) (net.Conn, net.Conn, error) { return p.Client, p.Server, nil }},
		} {
			t.Run(network+"/"+c.name, func(t *testing.T) {
				nettest.TestConn(t, func() (a, b net.Conn, stop func(), err error) {
					cc, sc, err := kit.RawPair(network)
					if err != nil {
						return nil, nil, nil, err
					}
					p, err := rig.JoinPair(cc, sc, nil, nil)
					if err != nil {
						return nil, nil, nil, err
					}
					a, b, err = c.pipe(p)
					if err != nil {
						p.Close()
						return nil, nil, nil, err
					}
					return a, b, p.Close, nil
				})
			})
		}
	}
}

func conns(a, b net.Conn, err error) (net.Conn, net.Conn, error) { return a, b, err }
