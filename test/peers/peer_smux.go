package main

import (
	"errors"
	"io"
	"net"

	"github.com/xtaci/smux"
)

func smuxPeer() *peer {
	return &peer{
		name: "smux", role: other, module: "github.com/xtaci/smux",
		setup:   "xtaci/smux, protocol version 2, over TCP, frames of up to 64 KiB, MaxReceiveBuffer 16 MiB, MaxStreamBuffer 1 MiB; a stream for each caller",
		overTCP: true,
		start: func(svc *service) (server, error) {
			return startTCP(svc, func(c, s net.Conn) (link, error) { return joinSmux(c, s, svc) })
		},
	}
}

func joinSmux(c, s net.Conn, svc *service) (link, error) {
	config := smux.DefaultConfig()
	config.Version = 2
	config.MaxFrameSize = 65535
	config.MaxReceiveBuffer = 16 << 20
	config.MaxStreamBuffer = 1 << 20
	client, err := smux.Client(c, config)
	if err != nil {
		return nil, err
	}
	server, err := smux.Server(s, config)
	if err != nil {
		return nil, err
	}
	return newStreamLink(session{
		open:   func() (io.ReadWriteCloser, error) { return client.OpenStream() },
		accept: func() (io.ReadWriteCloser, error) { return server.AcceptStream() },
		end:    func() error { return errors.Join(client.Close(), server.Close()) },
	}, svc), nil
}
