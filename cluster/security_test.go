package cluster_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/cluster/embed"
	"github.com/singchia/geminio/test/kit"
)

// pool returns a pool with a certificate, which is its own authority.
func pool(c tls.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.Leaf)
	return p
}

// natsOptions starts a NATS server with settings that package embed does not have, and returns its address.
func natsOptions(t *testing.T, o *natsserver.Options) string {
	t.Helper()
	o.Host, o.Port, o.NoSigs, o.JetStream, o.StoreDir = "127.0.0.1", -1, true, true, t.TempDir()
	s, err := natsserver.NewServer(o)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(t, s.ReadyForConnections(patience))
	return "nats://" + s.Addr().String()
}

// works joins a cluster with two nodes, whose NATS connections have some options, and calls a client.
func works(t *testing.T, url string, opts ...nats.Option) {
	t.Helper()
	connect := func() *nats.Conn {
		nc, err := nats.Connect(url, append(opts, nats.MaxReconnects(-1))...)
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		return nc
	}
	a, b := join(t, connect(), cluster.Options{}), join(t, connect(), cluster.Options{})
	a.dial(7, echo)
	settled(t, 7, a, b)
	for _, size := range []int{1, 100 << 10} {
		_, err := b.Call(within(t), 7, "echo", make([]byte, size))
		require.NoError(t, err)
	}
}

// refused returns the error of a connection that NATS refuses.
func refused(t *testing.T, url string, opts ...nats.Option) error {
	t.Helper()
	nc, err := nats.Connect(url, opts...)
	if !assert.Error(t, err) {
		nc.Close()
	}
	return err
}

// TestTLSOfNATS connects nodes to a NATS server that demands TLS, and certificates of its clients.
func TestTLSOfNATS(t *testing.T) {
	serverCert, err := kit.NewCertificate()
	require.NoError(t, err)
	clientCert, err := kit.NewCertificate()
	require.NoError(t, err)
	ca := &tls.Config{RootCAs: pool(serverCert)}

	s := natsServer(t, embed.Options{Listen: "127.0.0.1:-1", TLS: &tls.Config{Certificates: []tls.Certificate{serverCert}}})
	works(t, s.URL(), nats.Secure(ca))
	var unknown x509.UnknownAuthorityError
	assert.ErrorAs(t, refused(t, s.URL()), &unknown)
	assert.ErrorAs(t, refused(t, s.URL(), nats.Secure(&tls.Config{RootCAs: pool(clientCert)})), &unknown)
	join(t, connect(t, s), cluster.Options{}) // within the process

	s = natsServer(t, embed.Options{Listen: "127.0.0.1:-1", Username: "u", Password: "p", TLS: &tls.Config{
		Certificates: []tls.Certificate{serverCert}, ClientCAs: pool(clientCert), ClientAuth: tls.RequireAndVerifyClientCert,
	}})
	mutual := &tls.Config{RootCAs: ca.RootCAs, Certificates: []tls.Certificate{clientCert}}
	works(t, s.URL(), nats.Secure(mutual))
	assert.ErrorContains(t, refused(t, s.URL(), nats.Secure(ca)), "tls") // the alert of the server may come too late
	stranger := &tls.Config{RootCAs: ca.RootCAs, Certificates: []tls.Certificate{serverCert}}
	assert.ErrorContains(t, refused(t, s.URL(), nats.Secure(stranger)), "tls")
	assert.ErrorIs(t, refused(t, "tls://u:wrong@"+s.Addr(), nats.Secure(mutual)), nats.ErrAuthorization)
}

// TestNkeyOfNATS connects nodes with the key of a user.
func TestNkeyOfNATS(t *testing.T) {
	keyOf := func(k nkeys.KeyPair) nats.Option {
		public, err := k.PublicKey()
		require.NoError(t, err)
		return nats.Nkey(public, k.Sign)
	}
	user, err := nkeys.CreateUser()
	require.NoError(t, err)
	stranger, err := nkeys.CreateUser()
	require.NoError(t, err)
	public, err := user.PublicKey()
	require.NoError(t, err)
	url := natsOptions(t, &natsserver.Options{Nkeys: []*natsserver.NkeyUser{{Nkey: public}}})
	works(t, url, keyOf(user))
	assert.ErrorIs(t, refused(t, url, keyOf(stranger)), nats.ErrAuthorization)
	assert.ErrorIs(t, refused(t, url), nats.ErrAuthorization)
}

// TestCredentialsFileOfNATS connects nodes with a .creds file to a server in operator mode.
func TestCredentialsFileOfNATS(t *testing.T) {
	pair := func(k nkeys.KeyPair, err error) (nkeys.KeyPair, string) {
		require.NoError(t, err)
		public, err := k.PublicKey()
		require.NoError(t, err)
		return k, public
	}
	operator, operatorID := pair(nkeys.CreateOperator())
	systemID, accountID := "", ""
	_, systemID = pair(nkeys.CreateAccount())
	account, accountID := pair(nkeys.CreateAccount())
	other, _ := pair(nkeys.CreateAccount())

	operatorClaims := jwt.NewOperatorClaims(operatorID)
	operatorClaims.SystemAccount = systemID
	resolver := &natsserver.MemAccResolver{}
	for _, id := range []string{systemID, accountID} {
		c := jwt.NewAccountClaims(id)
		if id == accountID {
			c.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
		}
		text, err := c.Encode(operator)
		require.NoError(t, err)
		require.NoError(t, resolver.Store(id, text))
	}
	url := natsOptions(t, &natsserver.Options{
		TrustedOperators: []*jwt.OperatorClaims{operatorClaims}, SystemAccount: systemID, AccountResolver: resolver,
	})
	file := func(name string, signer nkeys.KeyPair) nats.Option {
		user, id := pair(nkeys.CreateUser())
		text, err := jwt.NewUserClaims(id).Encode(signer)
		require.NoError(t, err)
		seed, err := user.Seed()
		require.NoError(t, err)
		creds, err := jwt.FormatUserConfig(text, seed)
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), name+".creds")
		require.NoError(t, os.WriteFile(path, creds, 0o600))
		return nats.UserCredentials(path)
	}
	works(t, url, file("node", account))
	assert.ErrorIs(t, refused(t, url, file("stranger", other)), nats.ErrAuthorization)
	assert.ErrorIs(t, refused(t, url), nats.ErrAuthorization)
}

// TestJoinSaysWhatIsMissing joins without the permissions that a node needs, and without JetStream.
func TestJoinSaysWhatIsMissing(t *testing.T) {
	permissions := func(publish ...string) *natsserver.Permissions {
		return &natsserver.Permissions{
			Publish:   &natsserver.SubjectPermission{Allow: publish},
			Subscribe: &natsserver.SubjectPermission{Allow: []string{"geminio.>", "_INBOX.>"}},
		}
	}
	users := []*natsserver.User{
		{Username: "node", Permissions: permissions("geminio.>", "$KV.geminio.>", "$KV.geminio_cursors.>", "$JS.API.>", "$JS.FC.KV_geminio.>")},
		{Username: "guest", Permissions: permissions("geminio.>", "$KV.geminio.>")},
	}
	url := natsOptions(t, &natsserver.Options{Users: users})
	refusal := func(url string, opts ...nats.Option) error {
		nc, err := nats.Connect(url, opts...)
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err = cluster.Join(ctx, nc, cluster.Options{Listen: "127.0.0.1:0"})
		assert.ErrorIs(t, err, cluster.ErrNoNATS)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		return err
	}
	works(t, url, nats.UserInfo("node", ""), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		assert.NoError(t, err, "the documented permissions suffice")
	}))
	err := refusal(url, nats.UserInfo("guest", ""), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	assert.ErrorIs(t, err, nats.ErrPermissionViolation)
	assert.ErrorContains(t, err, "$JS.API")

	o := &natsserver.Options{Host: "127.0.0.1", Port: -1, NoSigs: true}
	s, err := natsserver.NewServer(o)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(s.WaitForShutdown)
	t.Cleanup(s.Shutdown)
	require.True(t, s.ReadyForConnections(patience))
	err = refusal(fmt.Sprint("nats://", s.Addr()))
	assert.ErrorContains(t, err, "JetStream is not available")
}
