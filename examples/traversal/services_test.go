package main

// These tests carry HTTP and SSH.

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// webServer answers with its name and the body of the request.
func webServer(t *testing.T, name string) (addr string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s %s %s\n", name, r.Method, r.URL.Path)
		w.Write(body)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// post posts, and checks the answer.
func post(client *http.Client, addr, name, body string) error {
	resp, err := client.Post("http://"+addr+"/path", "text/plain", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if want := name + " POST /path\n" + body; want != string(got) {
		return fmt.Errorf("%s: the answer has %d bytes instead of %d, and begins with %.60q", resp.Status, len(got), len(want), got)
	}
	return nil
}

func httpClient(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestHTTP(t *testing.T) {
	token := tokenFile(t, "the secret")
	s := startServer(t, token, []string{"inside/web"})
	startNode(t, token, s.addr, "inside", "-service", "web="+webServer(t, "web"))
	client := httpClient(t)
	assert.NoError(t, post(client, s.public[0], "web", ""))
	assert.NoError(t, post(client, s.public[0], "web", strings.Repeat("large ", 1<<20)))
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() { assert.NoError(t, post(client, s.public[0], "web", strings.Repeat("x", 1000*i))) })
	}
	wg.Wait()
}

func TestTwoNodes(t *testing.T) {
	token := tokenFile(t, "the secret")
	s := startServer(t, token, []string{"one/web", "two/web", "two/admin"}, "-keep", "0s")
	one := startNode(t, token, s.addr, "one", "-service", "web="+webServer(t, "web of one"))
	startNode(t, token, s.addr, "two", "-service", "web="+webServer(t, "web of two"), "-service", "admin="+webServer(t, "admin of two"))
	client := httpClient(t)
	for i, name := range []string{"web of one", "web of two", "admin of two"} {
		assert.NoError(t, post(client, s.public[i], name, "question"))
	}
	one.Kill()
	s.Expect("one is gone")
	assert.NoError(t, post(client, s.public[1], "web of two", "question"))
}

// sshConfig makes the configuration of an SSH server that accepts one user.
func sshConfig(t *testing.T) (conf *ssh.ServerConfig, hostKey ssh.PublicKey) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	conf = &ssh.ServerConfig{PasswordCallback: func(c ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		if c.User() != "ada" || string(password) != "lovelace" {
			return nil, fmt.Errorf("not you")
		}
		return nil, nil
	}}
	conf.AddHostKey(signer)
	return conf, signer.PublicKey()
}

// sshServer accepts one user. Its only command is cat.
func sshServer(t *testing.T) (addr string, hostKey ssh.PublicKey) {
	t.Helper()
	conf, hostKey := sshConfig(t)
	l := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveSSH(c, conf)
		}
	}()
	return l.Addr().String(), hostKey
}

func serveSSH(c net.Conn, conf *ssh.ServerConfig) {
	defer c.Close()
	_, channels, requests, err := ssh.NewServerConn(c, conf)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for nc := range channels {
		ch, requests, err := nc.Accept()
		if err != nil {
			return
		}
		go func() {
			defer ch.Close()
			for r := range requests {
				var command struct{ Text string }
				if r.Type != "exec" || ssh.Unmarshal(r.Payload, &command) != nil {
					r.Reply(false, nil)
					continue
				}
				r.Reply(true, nil)
				status := uint32(0)
				if command.Text == "cat" {
					io.Copy(ch, ch)
				} else {
					fmt.Fprintf(ch.Stderr(), "%s: not found", command.Text)
					status = 127
				}
				ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
				return
			}
		}()
	}
}

func TestSSH(t *testing.T) {
	token := tokenFile(t, "the secret")
	addr, hostKey := sshServer(t)
	s := startServer(t, token, []string{"inside/ssh"})
	startNode(t, token, s.addr, "inside", "-service", "ssh="+addr)
	client, err := ssh.Dial("tcp", s.public[0], &ssh.ClientConfig{
		User: "ada", Auth: []ssh.AuthMethod{ssh.Password("lovelace")}, HostKeyCallback: ssh.FixedHostKey(hostKey),
	})
	require.NoError(t, err)
	defer client.Close()

	var wg sync.WaitGroup
	for i := range 3 { // several sessions at a time
		wg.Go(func() {
			session, err := client.NewSession()
			if !assert.NoError(t, err) {
				return
			}
			defer session.Close()
			text := bytes.Repeat([]byte{byte(i)}, 1<<20)
			session.Stdin = bytes.NewReader(text)
			out, err := session.Output("cat")
			assert.NoError(t, err)
			assert.True(t, bytes.Equal(text, out), "%d bytes came back", len(out))
		})
	}
	wg.Wait()

	session, err := client.NewSession()
	require.NoError(t, err)
	defer session.Close()
	out, err := session.CombinedOutput("nonsense")
	var exit *ssh.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 127, exit.ExitStatus())
	assert.Equal(t, "nonsense: not found", string(out))
}
