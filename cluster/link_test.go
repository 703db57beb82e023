package cluster_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/cluster/embed"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/test/kit"
)

// linkAddr returns the address of a node for direct connections.
func (h *host) linkAddr() string {
	for _, n := range h.Nodes() {
		if n.ID == h.ID() {
			return n.Addr
		}
	}
	h.t.Fatal("the node does not know itself")
	return ""
}

// certificate returns a certificate with a name.
func certificate(t *testing.T, name string) tls.Certificate {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

// TestAStrangerIsNotANode connects to the address for direct connections as clients do, and with the
// name of a node and another key.
func TestAStrangerIsNotANode(t *testing.T) {
	a, b, _ := three(t)
	opt := client.NewEndOptions()
	opt.SetHandshakeTimeout(time.Second)
	opt.SetRefuseWireV1()
	_, err := client.NewEnd("tcp", a.linkAddr(), opt)
	assert.Error(t, err, "a client")
	for _, name := range []string{"", "stranger", a.ID(), b.ID(), "a.b > *"} {
		nc, err := tls.Dial("tcp", a.linkAddr(), &tls.Config{
			InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate(t, name)},
		})
		if err == nil { // in TLS 1.3 a client learns of the refusal later
			_, err = client.NewEndWithConn(nc, opt)
		}
		assert.Error(t, err, "a stranger with the name %q", name)
	}
	nc, err := tls.Dial("tcp", a.linkAddr(), &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		_, err = client.NewEndWithConn(nc, opt)
	}
	assert.Error(t, err, "a stranger without a certificate")
}

// TestAClientDoesNotSpeakAsANode has a client call the methods of direct connections at a listener for
// clients.
func TestAClientDoesNotSpeakAsANode(t *testing.T) {
	a, _, _ := three(t)
	end := a.dial(7, echo)
	for _, method := range []string{"request", "answer"} {
		_, err := end.Call(within(t), method, end.NewRequest(nil))
		assert.Equal(t, geminio.CodeNoMethod, geminio.CodeOf(err))
	}
}

// TestANodeDoesNotSpeakToAStranger has another process listen at the address of a node.
func TestANodeDoesNotSpeakToAStranger(t *testing.T) {
	s := natsServer(t, embed.Options{})
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate(t, "stranger")}})
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			nc.(*tls.Conn).Handshake()
			nc.Close()
		}
	}()
	a := join(t, connect(t, s), cluster.Options{Advertise: l.Addr().String()})
	b := join(t, connect(t, s), cluster.Options{})
	a.dial(7, echo)
	settled(t, 7, a, b)
	_, err = b.Call(within(t), 7, "echo", make([]byte, 1<<20))
	assert.ErrorIs(t, err, cluster.ErrNodeLost)
	assert.ErrorIs(t, err, geminio.ErrNotExecuted)
	_, err = b.Call(within(t), 7, "echo", nil)
	assert.NoError(t, err, "small calls take NATS")
}

// TestDataBeyondTheLimit calls with more than the limits of the node and of the client.
func TestDataBeyondTheLimit(t *testing.T) {
	s := natsServer(t, embed.Options{})
	a := join(t, connect(t, s), cluster.Options{})
	b := join(t, connect(t, s), cluster.Options{MaxMessageSize: 1 << 20})
	a.dial(7, echo)
	settled(t, 7, a, b)
	_, err := b.Call(within(t), 7, "echo", make([]byte, 1<<20+1))
	assert.ErrorIs(t, err, geminio.ErrTooLarge)
	_, err = b.Call(within(t), 7, "echo", make([]byte, 1<<20))
	assert.NoError(t, err)
}

// TestAnAnswerBeyondTheLimit gets an answer that exceeds the limit of the nodes, for a request over NATS and
// over the direct connection.
func TestAnAnswerBeyondTheLimit(t *testing.T) {
	s := natsServer(t, embed.Options{})
	const limit = 2 << 20
	a, b := join(t, connect(t, s), cluster.Options{MaxMessageSize: limit}), join(t, connect(t, s), cluster.Options{MaxMessageSize: limit})
	a.dial(7, &geminio.MethodRPC{Method: "more", RPC: func(_ context.Context, req geminio.Request, resp geminio.Response) {
		resp.SetData(make([]byte, limit+int(req.Custom()[0])))
	}})
	settled(t, 7, a, b)
	for _, size := range []int{0, 100 << 10} {
		for more := range byte(2) {
			opt := options.NewRequest()
			opt.SetCustom([]byte{more})
			resp, err := b.Call(within(t), 7, "more", make([]byte, size), opt)
			if more == 0 {
				require.NoError(t, err)
				assert.Len(t, resp.Data, limit)
				continue
			}
			_, ok := errors.AsType[*geminio.RemoteError](err)
			assert.True(t, ok, err)
			assert.Equal(t, geminio.CodeTooLarge, geminio.CodeOf(err))
		}
	}
}

// TestADirectConnectionIsMadeAgain cuts the direct connection.
func TestADirectConnectionIsMadeAgain(t *testing.T) {
	s := natsServer(t, embed.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	listen := l.Addr().String()
	l.Close()
	proxy := kit.NewProxy(t, listen)
	a := join(t, connect(t, s), cluster.Options{Listen: listen, Advertise: proxy.Addr})
	b := join(t, connect(t, s), cluster.Options{})
	a.dial(7, echo)
	settled(t, 7, a, b)
	for range 3 {
		_, err := b.Call(within(t), 7, "echo", make([]byte, 1<<20))
		require.NoError(t, err)
		assert.Equal(t, 1, proxy.Cut())
	}
}
