package e2e

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// Streams, Ends and connections in memory pass the test suite for implementations of net.Conn.
//
// The suite has to stay out of the tests of packages that other modules import: "go mod tidy" of
// these modules would add its module to their go.sum.

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

func TestNetConnInMemory(t *testing.T) {
	t.Run("geminiotest", func(t *testing.T) {
		nettest.TestConn(t, func() (near, far net.Conn, stop func(), err error) {
			n := geminiotest.NewNetwork(t)
			l := n.Listen()
			if near, err = n.Dial(); err != nil {
				return nil, nil, nil, err
			}
			far, err = l.Accept()
			return near, far, func() { near.Close(); far.Close() }, err
		})
	})
	t.Run("kit", func(t *testing.T) {
		nettest.TestConn(t, func() (near, far net.Conn, stop func(), err error) {
			near, far = kit.NewLink(kit.Path{Rate: 1 << 30, Queue: 1 << 20}).Pipe()
			return near, far, func() { near.Close(); far.Close() }, nil
		})
	})
}
