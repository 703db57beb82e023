package main

// These tests break the connection between node and server while TCP connections go through it.

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/singchia/geminio/test/kit"
)

// A download and an SSH session continue when the connection of the node is lost and made again.
func TestLostConnection(t *testing.T) {
	const pieces, piece = 10, 400_000
	seed := rand.Uint64()
	random := func() io.Reader {
		var key [32]byte
		key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
		return rand.NewChaCha8(key)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.CopyN(w, random(), pieces*piece)
	}))
	t.Cleanup(web.Close)
	sshAddr, hostKey := sshServer(t)
	for _, tls := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls %t", tls), func(t *testing.T) {
			t.Setenv("XDG_CONFIG_HOME", t.TempDir())
			t.Setenv("HOME", t.TempDir()) // used on systems other than Linux
			var server, node []string
			if tls {
				server, node = []string{"-tls"}, []string{"-pin", "first"}
			}
			token := tokenFile(t, "the secret")
			s := startServer(t, token, []string{"inside/web", "inside/ssh"}, server...)
			p := kit.NewProxy(t, s.addr)
			n := startNode(t, token, p.Addr, "inside", append(node, "-service", "web="+web.Listener.Addr().String(), "-service", "ssh="+sshAddr)...)

			client, err := ssh.Dial("tcp", s.public[1], &ssh.ClientConfig{
				User: "ada", Auth: []ssh.AuthMethod{ssh.Password("lovelace")}, HostKeyCallback: ssh.FixedHostKey(hostKey),
			})
			require.NoError(t, err)
			defer client.Close()
			session, err := client.NewSession()
			require.NoError(t, err)
			defer session.Close()
			in, err := session.StdinPipe()
			require.NoError(t, err)
			out, err := session.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, session.Start("cat"))
			browser := httpClient(t)
			resp, err := browser.Get("http://" + s.public[0] + "/")
			require.NoError(t, err)
			defer resp.Body.Close()
			got := sha256.New()
			for i := range pieces {
				require.NotZero(t, p.Cut())
				_, err := io.CopyN(got, resp.Body, piece)
				require.NoError(t, err)
				line := fmt.Sprintf("line %d\n", i)
				_, err = io.WriteString(in, line)
				require.NoError(t, err)
				assertReads(t, out, line)
			}
			rest, err := io.ReadAll(resp.Body)
			assert.NoError(t, err)
			assert.Empty(t, rest)
			want := sha256.New()
			io.CopyN(want, random(), pieces*piece)
			assert.Equal(t, want.Sum(nil), got.Sum(nil), "seed %d", seed)
			require.NoError(t, in.Close())
			assert.NoError(t, session.Wait())
			assert.NotContains(t, s.Output(), "is gone")
			assert.NotContains(t, n.Output(), "connected again")

			client.Close() // the node waits for open connections
			browser.CloseIdleConnections()
			n.Signal(syscall.SIGTERM)
			assert.Zero(t, n.Wait())
			s.Expect("inside is gone") // without the time of -keep
		})
	}
}
