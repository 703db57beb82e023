package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"time"
)

// security has the configurations of TLS of both sides, which speak TLS 1.3. A nil *security
// stands for connections without TLS.
type security struct {
	client, server *tls.Config
}

// overTLS returns a probe that calls run with TLS over TCP.
func overTLS(run func(context.Context, settings, *peer) (values, error)) func(context.Context, settings, *peer) (values, error) {
	return func(ctx context.Context, s settings, p *peer) (values, error) {
		var err error
		if s.security, err = newSecurity(); err != nil {
			return nil, err
		}
		return run(ctx, s, p)
	}
}

// tlsSuffix ends the name of a probe that runs another probe over TLS.
const tlsSuffix = " over TLS"

// join performs the handshakes of both sides of a connection. It closes both on every error.
func (t *security) join(c, s net.Conn) (client, server net.Conn, err error) {
	if t == nil {
		return c, s, nil
	}
	far := tls.Server(s, t.server)
	result := make(chan error, 1)
	go func() { result <- far.Handshake() }()
	near := tls.Client(c, t.client)
	err = near.Handshake()
	if err != nil {
		c.Close()
	}
	if err = errors.Join(err, <-result); err != nil {
		c.Close()
		s.Close()
	}
	return near, far, err
}

// newSecurity makes a certificate and the configurations for it.
func newSecurity() (*security, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"peer"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	protocols := []string{"peers"} // QUIC requires one
	return &security{
		client: &tls.Config{RootCAs: pool, ServerName: "peer", NextProtos: protocols},
		server: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: protocols},
	}, nil
}
