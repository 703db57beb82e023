package kit

import (
	"crypto/tls"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestTLS(t *testing.T) {
	near, far := TCPPair(t)
	exchange(t, tls.Client(near, ClientTLS()), tls.Server(far, ServerTLS()))
}

func TestTLSInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		exchange(t, tls.Client(near, ClientTLS()), tls.Server(far, ServerTLS()))
	})
}

func TestClientTLSRefusesOthers(t *testing.T) {
	other, err := NewCertificate()
	require.NoError(t, err)
	near, far := TCPPair(t)
	server := Start(tls.Server(far, &tls.Config{Certificates: []tls.Certificate{other}}).Handshake)
	var unknown *tls.CertificateVerificationError
	require.ErrorAs(t, tls.Client(near, ClientTLS()).Handshake(), &unknown)
	require.Error(t, <-server)
}
