package main

import (
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/kit"
)

// operator signs the accounts of a NATS server, as an operator of NATS does.
type operator struct {
	t    *testing.T
	keys nkeys.KeyPair
}

// keysOf makes keys and returns them with their public one.
func (o operator) keysOf(make func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	o.t.Helper()
	keys, err := make()
	require.NoError(o.t, err)
	public, err := keys.PublicKey()
	require.NoError(o.t, err)
	return keys, public
}

// account makes an account, and returns its keys and its signed claims.
func (o operator) account(change func(*jwt.AccountClaims)) (keys nkeys.KeyPair, public, token string) {
	o.t.Helper()
	keys, public = o.keysOf(nkeys.CreateAccount)
	claims := jwt.NewAccountClaims(public)
	change(claims)
	token, err := claims.Encode(o.keys)
	require.NoError(o.t, err)
	return keys, public, token
}

// credentials makes a user of an account, and returns the file with the credentials.
func (o operator) credentials(account nkeys.KeyPair) (file string) {
	o.t.Helper()
	keys, public := o.keysOf(nkeys.CreateUser)
	token, err := jwt.NewUserClaims(public).Encode(account)
	require.NoError(o.t, err)
	seed, err := keys.Seed()
	require.NoError(o.t, err)
	text, err := jwt.FormatUserConfig(token, seed)
	require.NoError(o.t, err)
	return proc.SecretFile(o.t, string(text))
}

// secureNATS starts a NATS server with TLS, which wants credentials. It returns its URL, the file with its
// certificate, and files with credentials that are right, and with those of an account that it does not know.
func secureNATS(t *testing.T) (url, ca, creds, strange string) {
	t.Helper()
	cert, key := proc.Certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	o := operator{t: t}
	var public string
	o.keys, public = o.keysOf(nkeys.CreateOperator)
	account, id, token := o.account(func(c *jwt.AccountClaims) {
		c.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	})
	stranger, _, _ := o.account(func(*jwt.AccountClaims) {})
	_, system, systemToken := o.account(func(*jwt.AccountClaims) {})
	accounts := &server.MemAccResolver{}
	require.NoError(t, accounts.Store(id, token))
	require.NoError(t, accounts.Store(system, systemToken))
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
		TLS: true, TLSTimeout: proc.Forever.Seconds(), TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
		TrustedOperators: []*jwt.OperatorClaims{jwt.NewOperatorClaims(public)}, SystemAccount: system, AccountResolver: accounts,
	})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(t, s.ReadyForConnections(proc.Forever))
	return "tls://" + s.Addr().String(), cert, o.credentials(account), o.credentials(stranger)
}

// A node uses a NATS server with TLS and credentials, and none that it does not trust or that does not
// trust it.
func TestSecureNATS(t *testing.T) {
	url, ca, creds, strange := secureNATS(t)
	n := startNode(t, "a", "-nats", url, "-nats-ca", ca, "-nats-creds", creds)
	other := startNode(t, "b", "-nats", url, "-nats-ca", ca, "-nats-creds", creds)
	n.connect(7)
	other.knows(7, "a")
	code, answer := other.ask(http.MethodPost, "/clients/7/call/upper", "ab")
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "AB", answer)
	for _, test := range []struct{ flags, why string }{
		{"-nats-creds " + creds, "certificate"},
		{"-nats-ca " + ca, "Authorization Violation"},
		{"-nats-ca " + ca + " -nats-creds " + strange, "Authorization Violation"},
		{"-nats-ca " + filepath.Join(t.TempDir(), "none") + " -nats-creds " + creds, "no such file"},
		{"-nats-ca " + ca + " -nats-creds " + filepath.Join(t.TempDir(), "none"), "no such file"},
	} {
		args := "node -listen 127.0.0.1:0 -http 127.0.0.1:0 -join-timeout 4s -nats " + url + " " + test.flags
		code, text := proc.Run(t, program, strings.Fields(args)...)
		assert.Equal(t, 1, code, "%s: %s", test.flags, text)
		assert.Contains(t, text, test.why, test.flags)
	}
	n.stop()
	other.stop()
}

// A node joins no longer than the time of -join-timeout.
func TestJoinTimeout(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it never answers
	require.NoError(t, err)
	defer silent.Close()
	code, text := proc.Run(t, program, "node", "-listen", "127.0.0.1:0", "-http", "127.0.0.1:0", "-join-timeout", "100ms", "-nats", "nats://"+silent.Addr().String())
	assert.Equal(t, 1, code, text)
	assert.Contains(t, text, "-nats: no server accepts this node: context deadline exceeded")
}

// freeAddress returns an address at which nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// The other nodes use the address of -node-advertise, and a node listens for them at that of -node-listen.
func TestAddressesOfNodes(t *testing.T) {
	_, nats := natsForTest(t)
	listen := freeAddress(t)
	proxy := kit.NewProxy(t, listen)
	a := startNode(t, "a", append(nats, "-node-listen", listen, "-node-advertise", proxy.Addr)...)
	b := startNode(t, "b", nats...)
	a.connect(7)
	b.knows(7, "a")
	large := strings.Repeat("ab", 100_000) // so that it does not take NATS
	code, answer := b.ask(http.MethodPost, "/clients/7/call/upper", large)
	assert.Equal(t, http.StatusOK, code)
	assert.True(t, answer == strings.ToUpper(large))
	assert.NotZero(t, proxy.Cut(), "the direct connection")
	a.stop()
	b.stop()
}

// Nodes with other names of -cluster are other clusters, also on the same NATS server.
func TestTwoClusters(t *testing.T) {
	_, nats := natsForTest(t)
	a, b := startNode(t, "a", append(nats, "-cluster", "one")...), startNode(t, "b", append(nats, "-cluster", "two")...)
	a.connect(7)
	a.knows(7, "a")
	for _, n := range []*nodeUnderTest{a, b} {
		var nodes []nodeAt
		n.get("/nodes", &nodes)
		assert.Len(t, nodes, 1)
	}
	assert.Equal(t, http.StatusNotFound, b.fails(http.MethodPost, "/clients/7/call/upper", "").Status)
	a.stop()
	b.stop()
}

// With -nats-dir the NATS server within a node keeps its files, and without it they are removed.
func TestFilesOfNATS(t *testing.T) {
	dir, temp := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	for _, flags := range [][]string{{"-nats-dir", dir}, {}} {
		n := startNode(t, "solo", flags...)
		code, text := n.ask(http.MethodPut, "/groups/room/7", "")
		assert.Equal(t, http.StatusNoContent, code, text)
		n.stop()
		n = startNode(t, "solo", flags...)
		code, text = n.ask(http.MethodGet, "/groups/room", "")
		assert.Equal(t, http.StatusOK, code)
		assert.Equal(t, len(flags) > 0, text == "[7]", "%v: %s", flags, text)
		n.stop()
	}
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// Devices use TLS with -cert and -key, and end with the standard input of a node with -with-stdin.
func TestSecureDevices(t *testing.T) {
	cert, key := proc.Certificate(t)
	n := startNode(t, "solo", "-cert", cert, "-key", key, "-with-stdin")
	d := proc.Start(t, program, "devices", "-v", "info", "-n", "1", "-connect", n.devices, "-tls")
	d.Expect(`not connected.*certificate`)
	d.Kill()
	d = proc.Start(t, program, "devices", "-n", "2", "-connect", n.devices, "-ca", cert)
	d.Expect(`2 devices are connected\n`)
	n.knows(2, "solo")
	n.CloseInput()
	assert.Zero(t, n.Wait())
	d.Kill()
}

// With -tokens a device gets only the id that its token is for.
func TestTokenOfEach(t *testing.T) {
	table := proc.SecretFile(t, "1 = \"token of device 1\"\n2 = \"token of device 2\"\n")
	n := startNode(t, "solo", "-tokens", table)
	token := proc.TokenFile(t, "token of device 1")
	d := proc.Start(t, program, "devices", "-n", "1", "-connect", n.devices, "-token-file", token)
	d.Expect(`1 devices are connected\n`)
	code, text := proc.Run(t, program, "devices", "-n", "1", "-first", "2", "-connect", n.devices, "-token-file", token)
	assert.Equal(t, 1, code, text)
	assert.Contains(t, text, "another token")
	d.Kill()
	n.stop()
}
