package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// buffer is a bytes.Buffer that is safe for concurrent use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// result is the outcome of a command.
type result struct {
	status      int
	out, errOut string
}

// command runs a command to its end.
func command(t *testing.T, in string, args ...string) result {
	t.Helper()
	var out, errOut buffer
	status := run(t.Context(), args, strings.NewReader(in), &out, &errOut)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	return result{status, out.String(), errOut.String()}
}

// want requires that a command succeeds, and returns its output.
func want(t *testing.T, in string, args ...string) string {
	t.Helper()
	r := command(t, in, args...)
	require.Zero(t, r.status, "%s: %s", args, r.errOut)
	return r.out
}

// serveAt runs the command serve until the test ends. It returns the address and the output.
func serveAt(t *testing.T, args ...string) (address string, out *buffer) {
	t.Helper()
	address, out, _ = serveLogged(t, args...)
	return address, out
}

// serveLogged is serveAt that returns the log too.
func serveLogged(t *testing.T, args ...string) (address string, out, log *buffer) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, log = &buffer{}, &buffer{}
	done := kit.Start(func() int {
		return run(ctx, append([]string{"serve"}, args...), strings.NewReader(""), out, log)
	})
	t.Cleanup(func() {
		cancel()
		assert.Equal(t, exitOK, kit.Await(t, kit.Forever, "serve", done))
	})
	require.Eventually(t, func() bool {
		_, rest, ok := strings.Cut(log.String(), "listening at ")
		address, _, _ = strings.Cut(rest, "\n")
		return ok && address != ""
	}, kit.Forever, time.Millisecond, "the address")
	return address, out, log
}

// certificate writes a certificate for localhost and its key to files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	c, err := kit.NewCertificate()
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write := func(name, kind string, b []byte) {
		require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600))
	}
	write(cert, "CERTIFICATE", c.Certificate[0])
	write(key, "PRIVATE KEY", der)
	return cert, key
}

// Every command works over every transport.
func TestCommands(t *testing.T) {
	cert, key := certificate(t)
	secure := []string{"--cert", cert, "--key", key}
	for name, test := range map[string]struct {
		url   string // of serve
		flags []string
		serve []string
		to    func(address string) string
	}{
		"tcp":  {url: "127.0.0.1:0", to: func(a string) string { return a }},
		"unix": {url: "unix://" + filepath.Join(t.TempDir(), "s"), to: func(a string) string { return "unix://" + a }},
		"tls":  {url: "tls://127.0.0.1:0", serve: secure, flags: []string{"--ca", cert}, to: func(a string) string { return "tls://" + a }},
		"ws":   {url: "ws://127.0.0.1:0/g", to: func(a string) string { return "ws://" + a + "/g" }},
		"wss":  {url: "wss://127.0.0.1:0/g", serve: secure, flags: []string{"--ca", cert}, to: func(a string) string { return "wss://" + a + "/g" }},
	} {
		t.Run(name, func(t *testing.T) {
			address, messages := serveAt(t, append(test.serve, test.url)...)
			url := test.to(address)
			with := func(args ...string) []string { return append(args, test.flags...) }
			require.Equal(t, "hello", want(t, "", with("call", url, "any", "hello")...))
			require.Equal(t, "from the input", want(t, "from the input", with("call", url, "any", "-")...))
			require.Equal(t, "through a stream", want(t, "through a stream", with("pipe", url)...))
			want(t, "", with("publish", url, "topic", "a message")...)
			require.Equal(t, "a message\n", messages.String())
			out := want(t, "", with("ping", url, "-c", "2", "-i", "1ms")...)
			require.Contains(t, out, "round trip 2: ")
			out = want(t, "", with("bench", url, "any", "-d", "50ms", "-n", "2", "-c", "3", "-q")...)
			require.Regexp(t, `^\d+ operations in .*, 0 failed\n 50\.0 % `, out)
			out = want(t, "", with("bench", url, "any", "-d", "50ms", "--publish")...)
			require.Regexp(t, `^\d+ operations in .*, 0 failed\n`, out)
		})
	}
}

// serve answers calls with the output of a command, and reports its failure.
func TestServeExec(t *testing.T) {
	address, _ := serveAt(t, "127.0.0.1:0", "--exec", "cat -s --")
	r := command(t, "data", "call", address, "/dev/null")
	require.Zero(t, r.status, r.errOut)
	r = command(t, "data", "call", address, "/does/not/exist")
	require.Equal(t, exitError, r.status)
	require.Contains(t, r.errOut, "No such file")
}

// receive prints and acknowledges the messages of a server.
func TestReceive(t *testing.T) {
	l, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	published := kit.Start(func() error {
		end, err := l.AcceptEnd()
		if err != nil {
			return err
		}
		defer end.Close()
		for range 2 {
			m := end.NewMessage([]byte("news"))
			m.SetTopic("t")
			if err := end.Publish(context.Background(), m); err != nil {
				return err
			}
		}
		return nil
	})
	out := want(t, "", "receive", l.Addr().String(), "-n", "2", "--json", "--id", "7")
	require.NoError(t, kit.Await(t, kit.Forever, "publish", published))
	require.Equal(t, strings.Repeat(`{"topic":"t","client":7,"data":"bmV3cw=="}`+"\n", 2), out)
}

// tokenDelegate accepts clients whose handshake has a token.
type tokenDelegate struct {
	*delegate.UnimplementedDelegate
}

func (tokenDelegate) Authenticate(_ context.Context, info delegate.ConnInfo) (uint64, error) {
	if !slices.Equal(info.Metadata.Get("token"), []string{"a=b"}) || !slices.Equal(info.Metadata.Get("zone"), []string{"1", "2"}) {
		return 0, errors.New("no token")
	}
	return 0, nil
}

// A server whose Authenticate needs metadata gets that of --handshake, and that of --metadata only
// with calls.
func TestHandshakeMetadata(t *testing.T) {
	opts := server.NewEndOptions()
	opts.SetDelegate(tokenDelegate{})
	opts.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "token", RPC: func(ctx context.Context, _ geminio.Request, rsp geminio.Response) {
		rsp.SetData([]byte(strings.Join(metadata.ValueFromIncomingContext(ctx, "token"), ",")))
	}})
	l, err := server.Listen("tcp", "127.0.0.1:0", opts)
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			if _, err := l.AcceptEnd(); err != nil {
				return
			}
		}
	}()
	url := l.Addr().String()
	hello := []string{"--handshake", "token=a=b", "--handshake", "zone=1", "--handshake", "zone=2"}
	want(t, "", append([]string{"ping", url, "--count", "1"}, hello...)...)
	require.Empty(t, want(t, "", append([]string{"call", url, "token", ""}, hello...)...))
	r := command(t, "", "call", url, "token", "", "--metadata", "token=a=b")
	require.Equal(t, exitConnect, r.status)
	require.Contains(t, r.errOut, "no token")
}

// The exit status tells the kind of the error, and the message names its cause.
func TestExitStatus(t *testing.T) {
	opts := server.NewEndOptions()
	opts.SetRegisterLocalRPCs(
		&geminio.MethodRPC{Method: "hang", RPC: func(ctx context.Context, _ geminio.Request, _ geminio.Response) { <-ctx.Done() }},
		&geminio.MethodRPC{Method: "fail", RPC: func(_ context.Context, _ geminio.Request, rsp geminio.Response) { rsp.SetError(io.ErrNoProgress) }},
		&geminio.MethodRPC{Method: "escape", RPC: func(_ context.Context, _ geminio.Request, rsp geminio.Response) {
			rsp.SetError(errors.New("\x1b]0;title\a\x1b[31mred \u202e\nline"))
		}},
		&geminio.MethodRPC{Method: "meta", RPC: func(ctx context.Context, _ geminio.Request, rsp geminio.Response) {
			md, _ := metadata.FromIncomingContext(ctx)
			rsp.SetData([]byte(strings.Join(md.Get("tenant"), ",")))
		}},
	)
	l, err := server.Listen("tcp", "127.0.0.1:0", opts)
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			if _, err := l.AcceptEnd(); err != nil {
				return
			}
		}
	}()
	require.Equal(t, "blue", want(t, "", "call", l.Addr().String(), "meta", "", "--metadata", "tenant=blue"))
	url := l.Addr().String()
	for _, test := range []struct {
		status int
		text   string
		args   []string
	}{
		{exitUsage, "unknown flag", []string{"ping", "--none"}},
		{exitUsage, "accepts between 2 and 3 arg", []string{"call", url}},
		{exitUsage, "scheme", []string{"ping", "http://x"}},
		{exitUsage, "want tls://host:port", []string{"ping", "tls://x"}},
		{exitUsage, "Name: value", []string{"ping", url, "-H", "none"}},
		{exitUsage, "want key=value", []string{"call", url, "m", "", "--metadata", "none"}},
		{exitUsage, "handshake \"=x\": want key=value", []string{"ping", url, "--handshake", "=x"}},
		{exitUsage, "a b", []string{"ping", url, "--handshake", "a b=c"}},
		{exitUsage, "no such file", []string{"ping", url, "--ca", "/does/not/exist"}},
		{exitUsage, "must be positive", []string{"bench", url, "m", "-c", "0"}},
		{exitUsage, "--cert", []string{"serve", "tls://127.0.0.1:0"}},
		{exitConnect, "", []string{"ping", "unix:///does/not/exist"}},
		{exitError, "no such rpc", []string{"call", url, "none", ""}},
		{exitError, io.ErrNoProgress.Error(), []string{"call", url, "fail", ""}},
		{exitError, `\x1b]0;title\a\x1b[31mred \u202e` + "\nline", []string{"call", url, "escape", ""}},
		{exitTimeout, "deadline", []string{"call", url, "hang", "", "--timeout", "50ms"}},
		{exitTimeout, "", []string{"call", url, "hang", "", "--timeout", "1ns"}},
		{exitError, "no such rpc", []string{"call", url, "none", "", "--timeout", "20000h"}},
	} {
		r := command(t, "", test.args...)
		assert.Equal(t, test.status, r.status, "%s: %s", test.args, r.errOut)
		assert.Contains(t, r.errOut, test.text, test.args)
		assert.Empty(t, r.out, test.args)
	}
}

// A command that is interrupted ends.
func TestInterrupt(t *testing.T) {
	address, _ := serveAt(t, "127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	var out, errOut buffer
	done := kit.Start(func() int {
		return run(ctx, []string{"receive", address}, strings.NewReader(""), &out, &errOut)
	})
	cancel()
	kit.Await(t, kit.Forever, "receive", done)
}

// The shells get their completions.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		require.Contains(t, want(t, "", "completion", shell), "geminio", shell)
	}
}
