package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"time"

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
	certificate, pool, err := selfSigned()
	if err != nil {
		return nil, err
	}
	s := &quicServer{service: svc}
	for _, t := range []**quic.Transport{&s.client, &s.server} {
		socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		*t = &quic.Transport{Conn: socket}
	}
	s.clientTLS = &tls.Config{RootCAs: pool, ServerName: "peer", NextProtos: []string{"peers"}}
	serverTLS := &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"peers"}}
	s.listener, err = s.server.Listen(serverTLS, quicConfig())
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

// selfSigned makes a certificate for the name "peer".
func selfSigned() (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"peer"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool, nil
}
