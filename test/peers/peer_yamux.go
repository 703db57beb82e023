package main

import (
	"errors"
	"io"
	"net"

	"github.com/hashicorp/yamux"
)

func yamuxPeer() *peer {
	return &peer{
		name: "yamux", role: other, module: "github.com/hashicorp/yamux",
		setup:   "hashicorp/yamux over TCP, MaxStreamWindowSize 1 MiB; a stream for each caller",
		overTCP: true,
		start: func(svc *service) (server, error) {
			return startTCP(svc, func(c, s net.Conn) (link, error) { return joinYamux(c, s, svc) })
		},
	}
}

func joinYamux(c, s net.Conn, svc *service) (link, error) {
	config := yamux.DefaultConfig()
	config.MaxStreamWindowSize = 1 << 20
	config.LogOutput = io.Discard
	client, err := yamux.Client(c, config)
	if err != nil {
		return nil, err
	}
	server, err := yamux.Server(s, config)
	if err != nil {
		return nil, err
	}
	return newStreamLink(session{
		open:   func() (io.ReadWriteCloser, error) { return client.OpenStream() },
		accept: func() (io.ReadWriteCloser, error) { return server.AcceptStream() },
		end:    func() error { return errors.Join(client.Close(), server.Close()) },
	}, svc), nil
}
