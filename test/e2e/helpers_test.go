package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// forever is how long a test waits for what has no bound of its own before it
// calls it a hang.
const forever = 30 * time.Second

// networks are the transports that newPair knows.
var networks = []string{"tcp", "unix", "tls", "pipe"}

// pair is two Ends with a connection between them.
type pair struct {
	client, server      geminio.End
	clientConn, srvConn net.Conn // the transport; closing one breaks the connection
}

// newPair makes a pair over a network, and closes it when the test is over.
func newPair(t testing.TB, network string, co *client.EndOptions, so *server.EndOptions) *pair {
	t.Helper()
	cc, sc, err := rawPair(network)
	require.NoError(t, err)
	p, err := joinPair(cc, sc, co, so)
	require.NoError(t, err)
	t.Cleanup(p.close)
	return p
}

// joinPair makes a pair over two ends of a transport.
func joinPair(cc, sc net.Conn, co *client.EndOptions, so *server.EndOptions) (*pair, error) {
	p := &pair{clientConn: cc, srvConn: sc}
	var serr error
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.server, serr = server.NewEndWithConn(sc, so)
	}()
	var err error
	p.client, err = client.NewEndWithConn(cc, co)
	<-done
	if err == nil && serr == nil {
		return p, nil
	}
	if err == nil {
		p.client.Close()
		return nil, serr
	}
	if serr == nil {
		p.server.Close()
	}
	return nil, err
}

// close closes both Ends.
func (p *pair) close() {
	var wg sync.WaitGroup
	wg.Go(func() { p.client.Close() })
	wg.Go(func() { p.server.Close() })
	wg.Wait()
}

// openStream opens a stream from one End to the other and returns both sides.
func openStream(t testing.TB, from, to geminio.End, opts ...*options.OpenStreamOptions) (opener, acceptor geminio.Stream) {
	t.Helper()
	opener, acceptor, err := streamPair(from, to, opts...)
	require.NoError(t, err)
	return opener, acceptor
}

func streamPair(from, to geminio.End, opts ...*options.OpenStreamOptions) (opener, acceptor geminio.Stream, err error) {
	if opener, err = from.OpenStream(opts...); err != nil {
		return nil, nil, err
	}
	if acceptor, err = to.AcceptStream(); err != nil {
		return nil, nil, err
	}
	return opener, acceptor, nil
}

// rawPair makes both ends of a transport.
func rawPair(network string) (c, s net.Conn, err error) {
	address := "127.0.0.1:0"
	switch network {
	case "pipe":
		c, s = net.Pipe()
		return c, s, nil
	case "tls":
		c, s, err = rawPair("tcp")
		if err != nil {
			return nil, nil, err
		}
		return tls.Client(c, clientTLS()), tls.Server(s, serverTLS()), nil
	case "unix":
		dir, err := os.MkdirTemp("", "e2e")
		if err != nil {
			return nil, nil, err
		}
		defer os.RemoveAll(dir)
		address = filepath.Join(dir, "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if c, err = net.Dial(network, l.Addr().String()); err != nil {
		return nil, nil, err
	}
	if s, err = l.Accept(); err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, s, nil
}

// certificate is for localhost and signs itself.
var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
})

func serverTLS() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{certificate()}} }

func clientTLS() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(certificate().Leaf)
	return &tls.Config{RootCAs: roots, ServerName: "localhost"}
}

// within runs f and fails the test if it takes longer than d.
func within(t testing.TB, d time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	await(t, d, what, done)
}

// await waits for a channel to have something, or to be closed.
func await[T any](t testing.TB, d time.Duration, what string, ch <-chan T) T {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		t.Fatalf("%s: not within %v\n\n%s", what, d, stacks)
		panic("unreachable")
	}
}

// start runs f in a goroutine and returns where its result will be.
func start[T any](f func() T) <-chan T {
	ch := make(chan T, 1)
	go func() { ch <- f() }()
	return ch
}

// bytesOf returns n bytes that look random and depend on seed alone.
func bytesOf(n int, seed uint64) []byte {
	p := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	src.Read(p)
	return p
}

// deadline returns a context of the test that ends when it must have hung.
func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), forever)
	t.Cleanup(cancel)
	return ctx
}

// echo answers with what it got.
func echo(_ context.Context, req geminio.Request, resp geminio.Response) {
	resp.SetData(req.Data())
	resp.SetCustom(req.Custom())
}

// hang waits for its context to end.
func hang(ctx context.Context, _ geminio.Request, resp geminio.Response) {
	<-ctx.Done()
	resp.SetError(ctx.Err())
}

// answerAll says Done to all messages of a stream until it ends.
func answerAll(s geminio.Messager) error {
	for {
		m, err := s.Receive(context.Background())
		if err != nil {
			return err
		}
		if err := m.Done(); err != nil {
			return err
		}
	}
}
