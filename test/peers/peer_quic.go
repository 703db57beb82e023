package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"

	"github.com/quic-go/quic-go"
)

func quicPeer() *peer {
	return &peer{
		name: "quic", role: other, module: "github.com/quic-go/quic-go",
		setup: "quic-go over UDP and with TLS 1.3, as QUIC always is; stream windows of 4 to 16 MiB, connection windows of 8 to 32 MiB; a stream for each caller",
		start: startQUIC,
	}
}

type quicServer struct {
	listener       *quic.Listener
	client, server *quic.Transport // one UDP socket each, as quic-go recommends
	clientTLS      *tls.Config
	service        *service
}

func quicConfig() *quic.Config {
	return &quic.Config{
		InitialStreamReceiveWindow:     4 << 20,
		MaxStreamReceiveWindow:         16 << 20,
		InitialConnectionReceiveWindow: 8 << 20,
		MaxConnectionReceiveWindow:     32 << 20,
		MaxIncomingStreams:             1 << 20,
	}
}

func startQUIC(svc *service) (server, error) {
	// The socket buffers have the largest size that the system allows. Without this
	// setting a warning would be printed into the report.
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	t, err := newSecurity()
	if err != nil {
		return nil, err
	}
	s := &quicServer{service: svc, clientTLS: t.client}
	for _, q := range []**quic.Transport{&s.client, &s.server} {
		socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		*q = &quic.Transport{Conn: socket}
	}
	s.listener, err = s.server.Listen(t.server, quicConfig())
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *quicServer) close() error {
	var errs []error
	if s.listener != nil {
		errs = append(errs, s.listener.Close())
	}
	for _, t := range []*quic.Transport{s.client, s.server} {
		if t != nil {
			errs = append(errs, t.Close(), t.Conn.Close())
		}
	}
	return errors.Join(errs...)
}

func (s *quicServer) dial() (link, error) {
	ctx := context.Background()
	client, err := s.client.Dial(ctx, s.listener.Addr(), s.clientTLS, quicConfig())
	if err != nil {
		return nil, err
	}
	accepted, err := s.listener.Accept(ctx)
	if err != nil {
		client.CloseWithError(0, "")
		return nil, err
	}
	return newStreamLink(session{
		open:    func() (io.ReadWriteCloser, error) { return client.OpenStreamSync(ctx) },
		accept:  func() (io.ReadWriteCloser, error) { return accepted.AcceptStream(ctx) },
		end:     func() error { return errors.Join(client.CloseWithError(0, ""), accepted.CloseWithError(0, "")) },
		preface: true,
		settle:  toEOF,
	}, s.service), nil
}

// toEOF reads the end of a stream, since QUIC and gRPC keep the stream until then.
func toEOF(s io.ReadWriteCloser) error {
	var p [1]byte
	if _, err := io.ReadFull(s, p[:]); err != io.EOF {
		return errors.Join(errUnexpected, err)
	}
	return nil
}
