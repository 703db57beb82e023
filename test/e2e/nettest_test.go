package e2e

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"
)

// Streams and Ends are connections like any other: they pass the suite that
// net's own pass.

func TestNetConn(t *testing.T) {
	for _, network := range []string{"tcp", "pipe"} {
		for _, c := range []struct {
			name string
			pipe func(*pair) (a, b net.Conn, err error)
		}{
			{"stream opened by the client", func(p *pair) (net.Conn, net.Conn, error) {
				return conns(streamPair(p.client, p.server))
			}},
			{"stream opened by the server", func(p *pair) (net.Conn, net.Conn, error) {
				return conns(streamPair(p.server, p.client))
			}},
			{"Ends", func(p *pair) (net.Conn, net.Conn, error) { return p.client, p.server, nil }},
		} {
			t.Run(network+"/"+c.name, func(t *testing.T) {
				nettest.TestConn(t, func() (a, b net.Conn, stop func(), err error) {
					cc, sc, err := rawPair(network)
					if err != nil {
						return nil, nil, nil, err
					}
					p, err := joinPair(cc, sc, nil, nil)
					if err != nil {
						return nil, nil, nil, err
					}
					a, b, err = c.pipe(p)
					if err != nil {
						p.close()
						return nil, nil, nil, err
					}
					return a, b, p.close, nil
				})
			})
		}
	}
}

func conns(a, b net.Conn, err error) (net.Conn, net.Conn, error) { return a, b, err }
