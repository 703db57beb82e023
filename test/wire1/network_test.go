package wire1

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/oldpeer"
)

// Peers of wire 1 are served over every transport, even one that delivers a byte at a time.
func TestNetworks(t *testing.T) {
	for _, network := range []string{"tcp", "unix", "tls", "pipe", "bytes"} {
		t.Run(network, func(t *testing.T) {
			for _, role := range []string{"client", "server"} {
				t.Run(role, func(t *testing.T) { testNetwork(t, network, role == "server") })
			}
		})
	}
}

func testNetwork(t *testing.T, network string, asServer bool) {
	cc, sc, err := kit.RawPair(network)
	require.NoError(t, err)
	cfg := oldpeer.Config{Handle: echo, Raw: func(s *oldpeer.Session, b []byte) { s.Write(b) }}
	type result struct {
		p   *oldpeer.Peer
		err error
	}
	peers := make(chan result, 1)
	var end geminio.End
	if asServer {
		go func() { p, err := oldpeer.Dial(cc, cfg); peers <- result{p, err} }()
		end, err = server.NewEndWithConn(sc)
	} else {
		go func() { p, err := oldpeer.Accept(sc, cfg); peers <- result{p, err} }()
		end, err = client.NewEndWithConn(cc)
	}
	require.NoError(t, err)
	r := <-peers
	require.NoError(t, r.err)
	p := r.p
	data := make([]byte, 100_000)
	resp, err := end.Call(t.Context(), "same", end.NewRequest(data))
	require.NoError(t, err)
	assert.Equal(t, data, resp.Data())
	require.NoError(t, end.Publish(t.Context(), end.NewMessage(data)))
	s, err := end.OpenStream()
	require.NoError(t, err)
	go s.Write(data)
	_, err = io.ReadFull(s, data)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, end.Close())
	<-p.Over()
	assert.Equal(t, io.EOF, p.Err())
	p.Cut()
}
