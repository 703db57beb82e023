package main

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/libp2p/go-yamux/v5"
)

func goYamuxPeer() *peer {
	return &peer{
		name: "go-yamux", role: other, module: "github.com/libp2p/go-yamux/v5",
		setup:   "libp2p/go-yamux v5 over TCP, its defaults: windows of up to 16 MiB, writes collected for up to 100 µs; a stream for each caller",
		overTCP: true,
		start: func(svc *service) (server, error) {
			return startTCP(svc, func(c, s net.Conn) (link, error) { return joinGoYamux(c, s, svc) })
		},
	}
}

func joinGoYamux(c, s net.Conn, svc *service) (link, error) {
	config := yamux.DefaultConfig()
	config.MaxIncomingStreams = 1 << 20
	config.LogOutput = io.Discard
	client, err := yamux.Client(c, config, nil)
	if err != nil {
		return nil, err
	}
	server, err := yamux.Server(s, config, nil)
	if err != nil {
		return nil, err
	}
	return newStreamLink(session{
		open:   func() (io.ReadWriteCloser, error) { return client.OpenStream(context.Background()) },
		accept: func() (io.ReadWriteCloser, error) { return server.AcceptStream() },
		end:    func() error { return errors.Join(client.Close(), server.Close()) },
	}, svc), nil
}
