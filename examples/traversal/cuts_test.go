package main

// This test has an SSH session and downloads run over a session whose connection is cut all the
// time. test/e2e does the same with the work that needs no further modules.

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// An SSH session of a hundred cuts, or as many as CUTS says, is still there after them, with all
// its bytes. SSH sessions and downloads begin and end meanwhile.
func TestCutsOfSSH(t *testing.T) {
	cuts := 100 / kit.Slowdown
	if text := os.Getenv("CUTS"); text != "" {
		var err error
		cuts, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	for _, network := range []string{"tcp", "tls"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel() // most of the time passes in pauses before dialing
			cutsOfSSH(t, network == "tls", cuts)
		})
	}
}

func cutsOfSSH(t *testing.T, secure bool, cuts int) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var nl net.Listener = listen(t)
	p := kit.NewProxy(t, nl.Addr().String())
	dialer := func() (net.Conn, error) { return net.Dial("tcp", p.Addr) }
	if secure {
		nl = tls.NewListener(nl, kit.ServerTLS())
		dialer = func() (net.Conn, error) { return tls.Dial("tcp", p.Addr, kit.ClientTLS()) }
	}
	l, err := server.NewListener(nl)
	require.NoError(t, err)
	defer l.Close()
	opt := client.NewEndOptions()
	opt.SetRetryBackoff(time.Millisecond, 20*time.Millisecond)
	end, err := client.NewRetryEndWithDialer(dialer, opt)
	require.NoError(t, err)
	defer end.Close()
	served, err := l.AcceptEnd()
	require.NoError(t, err)

	conf, hostKey := sshConfig(t)
	go func() { // SSH is served at the server
		for {
			s, err := served.AcceptStream()
			if err != nil {
				return
			}
			go serveSSH(s, conf)
		}
	}()
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
		w.Write(bytes.Repeat([]byte{byte(n)}, int(n)))
	})}
	go web.Serve(end) // and HTTP at the client
	defer web.Close()

	stop := make(chan struct{})
	var sessions, lines, downloads atomic.Int64
	until := func(f func() error) func() {
		return func() {
			for ok := true; ok; {
				select {
				case <-stop:
					return
				default:
					ok = assert.NoError(t, f())
				}
			}
		}
	}
	dial := func() *ssh.Client {
		s, err := end.OpenStream()
		require.NoError(t, err)
		c, chans, reqs, err := ssh.NewClientConn(s, "server", &ssh.ClientConfig{
			User: "ada", Auth: []ssh.AuthMethod{ssh.Password("lovelace")}, HostKeyCallback: ssh.FixedHostKey(hostKey),
		})
		require.NoError(t, err)
		return ssh.NewClient(c, chans, reqs)
	}
	long := dial()
	defer long.Close()
	session, err := long.NewSession()
	require.NoError(t, err)
	in, err := session.StdinPipe()
	require.NoError(t, err)
	out, err := session.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, session.Start("cat"))

	var wg sync.WaitGroup
	sent, got := sha256.New(), sha256.New()
	wg.Go(func() {
		until(func() error {
			line := fmt.Appendf(nil, "line %d %x\n", lines.Add(1), rand.Uint64())
			sent.Write(line)
			_, err := in.Write(line)
			time.Sleep(time.Millisecond) // let the other workers run
			return err
		})()
		assert.NoError(t, in.Close())
	})
	wg.Go(func() {
		_, err := io.Copy(got, out)
		assert.NoError(t, err)
	})
	wg.Go(until(func() error {
		s, err := long.NewSession()
		if err != nil {
			return err
		}
		defer s.Close()
		data := kit.BytesOf(rand.IntN(300<<10), rand.Uint64())
		s.Stdin = bytes.NewReader(data)
		back, err := s.Output("cat")
		if err == nil && !bytes.Equal(data, back) {
			err = fmt.Errorf("%d bytes came back of %d, or others", len(back), len(data))
		}
		sessions.Add(1)
		return err
	}))
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return served.OpenStream() }}
	browser := &http.Client{Transport: transport}
	wg.Go(until(func() error {
		n := rand.IntN(500 << 10)
		resp, err := browser.Get(fmt.Sprintf("http://client/?n=%d", n))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && !bytes.Equal(body, bytes.Repeat([]byte{byte(n)}, n)) {
			err = fmt.Errorf("a download of %d bytes, not %d, or others", len(body), n)
		}
		downloads.Add(1)
		return err
	}))

	r := rand.New(rand.NewPCG(seed, 0))
	for done := 0; done < cuts && !t.Failed(); {
		for wait := r.IntN(4) > 0; wait && !t.Failed() && !end.(*client.RetryEnd).Stats().Connected; { // otherwise the cut may come during the handshake
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond) // the moment is what is random
		if r.IntN(8) == 0 {
			done += p.CutNear() // the server does not notice
		} else {
			done += p.CutRandomly(r)
		}
	}
	close(stop)
	kit.Within(t, proc.Forever, "the return of all workers", wg.Wait)
	assert.NoError(t, session.Wait())
	assert.Equal(t, sent.Sum(nil), got.Sum(nil))
	stats := end.(*client.RetryEnd).Stats()
	t.Logf("%d resumes; %d lines, %d further SSH sessions, %d downloads", stats.Resumes, lines.Load(), sessions.Load(), downloads.Load())
	assert.EqualValues(t, 1, stats.Connections)
	assert.NotZero(t, stats.Resumes)
	assert.NoError(t, geminio.Cause(served))
	transport.CloseIdleConnections()
}
