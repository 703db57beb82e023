package main

// These tests build the program and start a process for each side.

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
)

func TestHalfClose(t *testing.T) {
	token, service := tokenFile(t, "the secret"), listen(t)
	s := startServer(t, token, []string{"inside/web"})
	startNode(t, token, s.addr, "inside", "-service", "web="+service.Addr().String())
	for _, reverse := range []bool{false, true} {
		first, second := pair(t, s.public[0], service)
		if reverse {
			first, second = second, first
		}
		require.NoError(t, first.CloseWrite())
		rest, err := io.ReadAll(second)
		assert.NoError(t, err)
		assert.Empty(t, rest)
		exchange(t, second, first)
		exchange(t, second, first)
		require.NoError(t, second.CloseWrite())
		rest, err = io.ReadAll(first)
		assert.NoError(t, err)
		assert.Empty(t, rest)
	}
}

func TestReset(t *testing.T) {
	token, service := tokenFile(t, "the secret"), listen(t)
	s := startServer(t, token, []string{"inside/web"})
	startNode(t, token, s.addr, "inside", "-service", "web="+service.Addr().String())
	for _, reverse := range []bool{false, true} {
		breaks, other := pair(t, s.public[0], service)
		if reverse {
			breaks, other = other, breaks
		}
		require.NoError(t, breaks.SetLinger(0))
		require.NoError(t, breaks.Close())
		_, err := io.ReadAll(other)
		assert.ErrorIs(t, err, syscall.ECONNRESET)
	}
}

// refused expects that a public address resets connections.
func refused(t *testing.T, addr string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err == nil { // otherwise the reset came during the dial
		defer c.Close()
		c.SetDeadline(time.Now().Add(proc.Forever))
		_, err = io.ReadAll(c)
	}
	assert.ErrorIs(t, err, syscall.ECONNRESET)
}

func TestRefusals(t *testing.T) {
	token, service := tokenFile(t, "the secret"), listen(t)
	s := startServer(t, token, []string{"inside/web", "inside/nonsense", "outside/web"}, "-wait", "2s")
	startNode(t, token, s.addr, "inside", "-service", "web="+service.Addr().String())
	s.Expect("inside is connected from")
	pair(t, s.public[0], service)

	refused(t, s.public[1])
	s.Expect(`service=nonsense .*inside has no service`)
	refused(t, s.public[2])
	s.Expect(`node=outside .*outside: not connected`)
	service.Close()
	refused(t, s.public[0])
	s.Expect(`service=web .*connection refused`)
}

func TestWrongToken(t *testing.T) {
	token, service := tokenFile(t, "the secret"), listen(t)
	s := startServer(t, token, []string{"inside/web"})
	startNode(t, token, s.addr, "inside", "-service", "web="+service.Addr().String())
	for _, wrong := range []string{"The secret", "the secret2", "the secre"} {
		code, out := proc.Run(t, program, nodeArgs(tokenFile(t, wrong), s.addr, "inside", "-service", "web="+service.Addr().String())...)
		assert.Equal(t, 1, code)
		assert.Equal(t, "traversal node: the server refuses this node: wrong token\n", out)
	}
	s.Expect(`a node was refused.*node=inside.*wrong token`)
	pair(t, s.public[0], service) // the node that knows the token was not replaced
}

// The token of one node does not admit a node of another name.
func TestTokenOfEachNode(t *testing.T) {
	table := proc.SecretFile(t, "inside = \"the token of inside\"\nother = \"the token of other\"\n")
	inside, service := proc.TokenFile(t, "the token of inside"), listen(t)
	more := []string{"-service", "web=" + service.Addr().String()}
	s := startServerWith(t, []string{"-tokens", table}, []string{"inside/web"})
	startNode(t, inside, s.addr, "inside", more...)
	for _, name := range []string{"other", "third"} {
		code, out := proc.Run(t, program, nodeArgs(inside, s.addr, name, more...)...)
		assert.Equal(t, 1, code)
		assert.Contains(t, out, "wrong token")
	}
	pair(t, s.public[0], service)
}

// The program refuses a token file that others can read, and warns of a token without TLS.
func TestTokenIsSecret(t *testing.T) {
	token := proc.TokenFile(t, "the secret")
	s := proc.Start(t, program, "server", "-listen", "0.0.0.0:0", "-token-file", token, "-map", "127.0.0.1:0=a/b")
	s.Expect(`level=WARN msg="THE TOKEN TRAVELS WITHOUT TLS`)
	s.Expect(`accepting nodes at`)
	code, out := proc.Run(t, program, "node", "-connect", "256.0.0.1:1", "-token-file", token, "-name", "a", "-service", "b=c:1", "-pin", "nonsense")
	assert.Equal(t, 2, code)
	assert.Contains(t, out, "fingerprint")
	node := proc.Start(t, program, "node", "-connect", "256.0.0.1:1", "-token-file", token, "-name", "a", "-service", "b=c:1")
	node.Expect(`level=WARN msg="THE TOKEN TRAVELS WITHOUT TLS`)

	require.NoError(t, os.Chmod(token, 0o640))
	code, out = proc.Run(t, program, "server", "-listen", "127.0.0.1:0", "-token-file", token, "-map", "127.0.0.1:0=a/b")
	assert.Equal(t, 2, code)
	assert.Contains(t, out, "others can read or change")
}

// A node whose token is no longer valid ends when it reconnects.
func TestTokenChanges(t *testing.T) {
	token, service := tokenFile(t, "the secret"), listen(t)
	s := startServer(t, token, []string{"inside/web"})
	node := startNode(t, token, s.addr, "inside", "-service", "web="+service.Addr().String())
	s.Kill()
	require.NoError(t, os.WriteFile(token, []byte("another secret"), 0o600))
	s.start()
	assert.Equal(t, 1, node.Wait())
	assert.Contains(t, node.Output(), "wrong token")
}

func TestTLS(t *testing.T) {
	token, service := tokenFile(t, "the secret"), listen(t)
	cert, key := proc.Certificate(t)
	s := startServer(t, token, []string{"inside/web"}, "-cert", cert, "-key", key, "-client-ca", cert)
	more := []string{"-service", "web=" + service.Addr().String(), "-cert", cert, "-key", key}
	startNode(t, token, s.addr, "inside", append(more, "-ca", cert)...)
	client, served := pair(t, s.public[0], service)
	require.NoError(t, client.CloseWrite())
	_, err := io.ReadAll(served)
	assert.NoError(t, err)
	exchange(t, served, client)

	other := proc.Start(t, program, nodeArgs(token, s.addr, "other", append(more, "-tls")...)...)
	other.Expect("no connection with the server.*certificate")
	other.Signal(syscall.SIGTERM)
	assert.Zero(t, other.Wait())
}

// A node waits for a server that is started later.
func TestNodeFirst(t *testing.T) {
	token, service := tokenFile(t, "the secret"), listen(t)
	l := listen(t)
	addr := l.Addr().String()
	l.Close()
	node := proc.Start(t, program, nodeArgs(token, addr, "inside", "-service", "web="+service.Addr().String())...)
	node.Expect("no connection with the server")
	s := &serverProcess{
		t: t, flags: []string{"-token-file", token}, goals: []string{"inside/web"}, addr: addr, public: []string{"127.0.0.1:0"},
	}
	s.start()
	pair(t, s.public[0], service)
}

func TestNodeKilled(t *testing.T) {
	token, service := tokenFile(t, "the secret"), listen(t)
	s := startServer(t, token, []string{"inside/web"}, "-wait", "60s", "-keep", "0s")
	start := func() *proc.Process {
		return startNode(t, token, s.addr, "inside", "-service", "web="+service.Addr().String())
	}
	node := start()
	for range 3 {
		client, _ := pair(t, s.public[0], service)
		half, served := pair(t, s.public[0], service)
		require.NoError(t, half.CloseWrite())
		_, err := io.ReadAll(served)
		require.NoError(t, err)
		node.Kill()
		_, err = io.ReadAll(client)
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = io.ReadAll(half)
		assert.ErrorIs(t, err, syscall.ECONNRESET)

		early := dial(t, s.public[0]) // waits for the node
		node = start()
		c, err := service.Accept()
		require.NoError(t, err)
		exchange(t, early, c)
		exchange(t, c, early)
		c.Close()
		pair(t, s.public[0], service)
	}
}

func TestServerKilled(t *testing.T) {
	token, service := tokenFile(t, "the secret"), listen(t)
	s := startServer(t, token, []string{"inside/web"}, "-keep", "0s")
	node := startNode(t, token, s.addr, "inside", "-service", "web="+service.Addr().String())
	_, served := pair(t, s.public[0], service)
	s.Kill()
	_, err := io.ReadAll(served)
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	s.start()
	node.Expect("inside is connected again")
	pair(t, s.public[0], service)
}

// The server uses the last process that has connected with the name of a node.
func TestReplaced(t *testing.T) {
	token, first, second := tokenFile(t, "the secret"), listen(t), listen(t)
	s := startServer(t, token, []string{"inside/web"})
	old := startNode(t, token, s.addr, "inside", "-service", "web="+first.Addr().String())
	client, _ := pair(t, s.public[0], first)
	startNode(t, token, s.addr, "inside", "-service", "web="+second.Addr().String())
	assert.Equal(t, 1, old.Wait())
	assert.Contains(t, old.Output(), "traversal node: another node of this name has connected with the server\n")
	_, err := io.ReadAll(client)
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	pair(t, s.public[0], second)
	pair(t, s.public[0], second)
}

// A node that is silent for too long counts as lost. It reconnects when it runs again.
func TestSilence(t *testing.T) {
	token, service := tokenFile(t, "the secret"), listen(t)
	s := startServer(t, token, []string{"inside/web"}, "-heartbeat", "1s", "-keep", "0s")
	node := startNode(t, token, s.addr, "inside", "-service", "web="+service.Addr().String(), "-heartbeat", "1s")
	client, _ := pair(t, s.public[0], service)
	node.Freeze()
	s.Expect("inside is gone")
	_, err := io.ReadAll(client)
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	node.Signal(syscall.SIGCONT)
	pair(t, s.public[0], service)
}

// A side that gets SIGTERM waits until its connections have ended.
func TestStop(t *testing.T) {
	token, service := tokenFile(t, "the secret"), listen(t)
	for _, side := range []string{"server", "node"} {
		t.Run(side, func(t *testing.T) {
			s := startServer(t, token, []string{"inside/web"}, "-grace", "60s")
			node := startNode(t, token, s.addr, "inside", "-service", "web="+service.Addr().String(), "-grace", "60s")
			p := map[string]*proc.Process{"server": s.Process, "node": node}[side]
			client, served := pair(t, s.public[0], service)
			p.Signal(syscall.SIGTERM)
			p.Expect("stopping")
			exchange(t, client, served)
			require.NoError(t, client.CloseWrite())
			_, err := io.ReadAll(served)
			require.NoError(t, err)
			exchange(t, served, client)
			require.NoError(t, served.Close())
			rest, err := io.ReadAll(client)
			assert.NoError(t, err)
			assert.Empty(t, rest)
			assert.Zero(t, p.Wait())
			assert.NotContains(t, p.Output(), "WARN")
		})
	}
}

// A side that gets SIGTERM breaks connections after -grace.
func TestStopBreaks(t *testing.T) {
	token, service := tokenFile(t, "the secret"), listen(t)
	for _, side := range []string{"server", "node"} {
		t.Run(side, func(t *testing.T) {
			s := startServer(t, token, []string{"inside/web"}, "-grace", "100ms")
			node := startNode(t, token, s.addr, "inside", "-service", "web="+service.Addr().String(), "-grace", "100ms")
			p := map[string]*proc.Process{"server": s.Process, "node": node}[side]
			client, served := pair(t, s.public[0], service)
			p.Signal(syscall.SIGTERM)
			_, err := io.ReadAll(served)
			assert.ErrorIs(t, err, syscall.ECONNRESET)
			_, err = io.ReadAll(client)
			assert.ErrorIs(t, err, syscall.ECONNRESET)
			assert.Zero(t, p.Wait())
		})
	}
}

func TestCommandLine(t *testing.T) {
	token := tokenFile(t, "the secret")
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, []byte("\nthe secret"), 0o600))
	server := func(more ...string) []string { return append([]string{"server", "-token-file", token}, more...) }
	node := func(more ...string) []string { return append([]string{"node", "-token-file", token}, more...) }
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "traversal server"},
		{[]string{"nonsense"}, 2, `there is no command "nonsense"`},
		{[]string{"--help"}, 0, "-map ADDR=NODE/SERVICE"},
		{[]string{"node", "-h"}, 0, "-service SERVICE=ADDR"},
		{[]string{"server", "-listen", ":1"}, 2, "-token-file is missing"},
		{[]string{"node", "-connect", "x:1", "-name", "x", "-service", "a=b:1", "-token-file", empty}, 2, "has less than 8 characters"},
		{server(), 2, "-listen is missing"},
		{server("-listen", ":1"), 2, "-map is missing"},
		{server("-map", ":1=node"), 2, "ADDR=NODE/SERVICE"},
		{server("-map", ":1=no de/service"), 2, "ADDR=NODE/SERVICE"},
		{server("-listen", ":1", "-map", ":1=a/b", "more"), 2, `"more"`},
		{server("-listen", "127.0.0.1:0", "-map", "256.0.0.1:1=a/b"), 1, "256.0.0.1"},
		{server("-listen", "127.0.0.1:0", "-map", ":0=a/b", "-cert", token, "-key", token), 2, "-cert"},
		{node("-name", "x", "-service", "a=b:1"), 2, "-connect is missing"},
		{node("-connect", "x:1", "-service", "a=b:1"), 2, "-name is missing"},
		{node("-connect", "x:1", "-name", "x"), 2, "-service is missing"},
		{node("-service", "a"), 2, "SERVICE=ADDR"},
		{node("-service", "a=b:1", "-service", "a=b:2"), 2, "two services"},
		{node("-connect", "x:1", "-name", "x", "-service", "a=b:1", "-ca", token), 2, "no certificates"},
	} {
		code, out := proc.Run(t, program, test.args...)
		assert.Equal(t, test.code, code, "%q: %s", test.args, out)
		assert.Contains(t, out, test.want, "%q", test.args)
	}
}
