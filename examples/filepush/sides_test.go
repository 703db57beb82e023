package main

// Tests of one side of the program against another that misbehaves, of the
// verdict, and of the flags.

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
)

func TestVerdict(t *testing.T) {
	good := func() *result {
		sum := strings.Repeat("ab", 32)
		return &result{offer: offer{"x", 3}, sent: tally{3, sum}, received: tally{3, sum}, took: time.Second}
	}
	require.NoError(t, good().verdict())
	assert.Contains(t, good().String(), "identical")
	for name, spoil := range map[string]func(*result){
		"corrupted": func(r *result) { r.received.SHA256 = strings.Repeat("ac", 32) },
		"no sum":    func(r *result) { r.sent.SHA256 = "" },
		"truncated": func(r *result) { r.received.Size-- },
		"too long":  func(r *result) { r.received.Size++ },
		"grown":     func(r *result) { r.Size-- },
	} {
		r := good()
		spoil(r)
		require.Error(t, r.verdict(), name)
		assert.Contains(t, r.String(), r.verdict().Error())
	}
}

// badServer accepts one client and does something to it.
func badServer(t *testing.T, do func(geminio.End)) (addr string) {
	l, err := listen("127.0.0.1:0", nil, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	over := make(chan struct{})
	t.Cleanup(func() {
		l.Close()
		<-over
	})
	go func() {
		defer close(over)
		end, err := l.AcceptEnd()
		if assert.NoError(t, err) {
			defer end.Close()
			do(end)
		}
	}()
	return l.Addr().String()
}

// offerSome opens a stream with that meta and writes data to it.
func offerSome(t *testing.T, end geminio.End, meta, data string) geminio.Stream {
	opt := options.OpenStream()
	opt.SetMeta([]byte(meta))
	s, err := end.OpenStream(opt)
	if assert.NoError(t, err) && data != "" {
		_, err = io.WriteString(s, data)
		assert.NoError(t, err)
	}
	return s
}

func TestConnectToBadServer(t *testing.T) {
	const meta = `{"name":"evil","size":5}`
	answer := func(t *testing.T, s geminio.Stream, sent tally) {
		err := s.Register(context.Background(), methodSum, answerSum(sent, make(chan tally, 1)))
		assert.NoError(t, err)
		assert.NoError(t, s.(halfCloser).CloseWrite())
		io.Copy(io.Discard, s)
	}
	for name, c := range map[string]struct {
		want string
		do   func(*testing.T, geminio.End)
	}{
		"corrupts": {"the copy differs: sent " + sumOf([]byte("12345")), func(t *testing.T, end geminio.End) {
			answer(t, offerSome(t, end, meta, "12354"), tally{5, sumOf([]byte("12345"))})
		}},
		"loses": {"5 bytes were sent, 4 were received", func(t *testing.T, end geminio.End) {
			answer(t, offerSome(t, end, meta, "1234"), tally{5, sumOf([]byte("12345"))})
		}},
		"sends less": {"of 5 bytes 4 were sent", func(t *testing.T, end geminio.End) {
			answer(t, offerSome(t, end, meta, "1234"), tally{4, sumOf([]byte("1234"))})
		}},
		"has no sum": {"no such rpc: sum", func(t *testing.T, end geminio.End) {
			s := offerSome(t, end, meta, "12345")
			assert.NoError(t, s.(halfCloser).CloseWrite())
			io.Copy(io.Discard, s)
		}},
		"offers nothing": {"the meta of the stream", func(t *testing.T, end geminio.End) {
			io.Copy(io.Discard, offerSome(t, end, "", ""))
		}},
		"is silent": {"left before it pushed", func(*testing.T, geminio.End) {}},
	} {
		t.Run(name, func(t *testing.T) {
			addr := badServer(t, func(end geminio.End) { c.do(t, end) })
			dir := t.TempDir()
			var out, errs bytes.Buffer
			code := run([]string{"-connect", addr, "-o", filepath.Join(dir, "copy")}, &out, &errs)
			assert.Equal(t, 1, code)
			assert.Contains(t, errs.String(), c.want)
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			assert.Empty(t, left, "nothing may be left of a bad copy")
		})
	}
}

func TestConnectKeepsOldFileUntilVerified(t *testing.T) {
	addr := badServer(t, func(end geminio.End) { offerSome(t, end, `{"name":"x","size":5}`, "1234") })
	path := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
	require.Equal(t, 1, run([]string{"-connect", addr, "-o", path}, io.Discard, io.Discard))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "old", string(got))
}

func TestConnectRefusesDevice(t *testing.T) {
	var errs bytes.Buffer
	assert.Equal(t, 1, run([]string{"-connect", "127.0.0.1:1", "-o", os.DevNull}, io.Discard, &errs))
	assert.Contains(t, errs.String(), "not a regular file")
	assert.Equal(t, 1, run([]string{"-connect", "127.0.0.1:1", "-o", t.TempDir()}, io.Discard, io.Discard))
}

// lines is a writer that hands on what is printed.
type lines struct{ c chan string }

func (l lines) Write(p []byte) (int, error) {
	l.c <- string(p)
	return len(p), nil
}

func TestServeCutsOffAfterGrace(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	path, _ := newFile(t, 32<<20)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	printed := lines{make(chan string, 10)}
	a := &app{path: path, serveAddr: "127.0.0.1:0", grace: time.Millisecond,
		stdout: printed, stderr: io.Discard, log: slog.New(slog.DiscardHandler)}
	served := make(chan error, 1)
	go func() { served <- a.serve(ctx) }()
	line := strings.TrimSpace(<-printed.c)

	end, err := client.NewEnd("tcp", line[strings.LastIndex(line, " ")+1:])
	require.NoError(t, err)
	defer end.Close()
	_, err = end.Accept() // and read nothing
	require.NoError(t, err)
	cancel()
	select {
	case err := <-served:
		require.ErrorContains(t, err, "cut off")
	case <-time.After(forever):
		t.Fatal("the server does not stop")
	}
}

// newEnds makes the Ends of both sides.
func newEnds(t *testing.T) (sender, receiver geminio.End) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	l, err := listen("127.0.0.1:0", nil, log)
	require.NoError(t, err)
	defer l.Close()
	receiver, err = dial(t.Context(), l.Addr().String(), nil, log)
	require.NoError(t, err)
	t.Cleanup(func() { receiver.Close() })
	sender, err = l.AcceptEnd()
	require.NoError(t, err)
	t.Cleanup(func() { sender.Close() })
	return sender, receiver
}

// The sender leaves before the end: to the reader that looks like the end.
func TestReceiveFromLeavingSender(t *testing.T) {
	sender, receiver := newEnds(t)
	offerSome(t, sender, `{"name":"x","size":5}`, "1234")
	_, err := receive(t.Context(), receiver, &gate{enter: func() { sender.Close() }}, io.Discard)
	require.ErrorContains(t, err, "4 of 5 bytes")
}

// The receiver leaves before the end: the sender has to notice.
func TestPushToLeavingReceiver(t *testing.T) {
	path, _ := newFile(t, 32<<20)
	sender, receiver := newEnds(t)
	pushed := make(chan error, 1)
	go func() {
		_, err := push(t.Context(), sender, path)
		pushed <- err
	}()
	stream, err := receiver.Accept()
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, stream, 1000)
	require.NoError(t, err)
	require.NoError(t, stream.Close())
	select {
	case err := <-pushed:
		require.ErrorContains(t, err, "some file.bin")
	case <-time.After(forever):
		t.Fatal("the push does not end")
	}
}

func TestRunLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	path, _ := newFile(t, 1<<20+1)
	var out, errs bytes.Buffer
	require.Zero(t, run([]string{path}, &out, &errs), errs.String())
	assert.Contains(t, out.String(), "identical")
}

func TestFlags(t *testing.T) {
	for want, args := range map[string]string{
		"run it twice":      "-serve :0 -connect :0",
		"after the flags":   "file -serve :0",
		"chooses the PATH":  "-connect :0 file",
		"go with -connect":  "-o file",
		"go with -serve":    "-cert c -key k",
		"go together":       "-serve :0 -cert c",
		"contradict":        "-connect :0 -ca c -insecure",
		"-nothing":          "-nothing",
		"invalid value":     "-v loud",
		"needs an argument": "-o",
	} {
		var out, errs bytes.Buffer
		assert.Equal(t, 2, run(strings.Fields(args), &out, &errs), args)
		assert.Contains(t, errs.String(), want, args)
		assert.Empty(t, out.String(), args)
	}
}

func TestHelp(t *testing.T) {
	var out, errs bytes.Buffer
	assert.Zero(t, run([]string{"-h"}, &out, &errs))
	assert.Empty(t, errs.String())
	for _, flag := range []string{"serve", "connect", "o", "cert", "key", "ca", "insecure", "v"} {
		assert.Contains(t, out.String(), "\n  -"+flag)
	}
}

func TestBadCertificates(t *testing.T) {
	cert, key := newCertificate(t)
	path, _ := newFile(t, 1)
	for _, args := range [][]string{
		{"-serve", "127.0.0.1:0", "-cert", key, "-key", cert, path},
		{"-serve", "127.0.0.1:0", "-cert", path, "-key", path, path},
		{"-connect", "127.0.0.1:1", "-ca", key},
		{"-connect", "127.0.0.1:1", "-ca", path + ".nothing"},
	} {
		var errs bytes.Buffer
		assert.Equal(t, 1, run(args, io.Discard, &errs))
		assert.Regexp(t, "-ca: |-cert and -key: ", errs.String())
	}
}

func TestProgressIsQuietWithoutTerminal(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer file.Close()
	for _, w := range []io.Writer{file, io.Discard} {
		bar := newProgress(w, offer{"x", 5})
		require.Nil(t, bar)
		n, err := bar.Write([]byte("12345"))
		require.NoError(t, err)
		require.Equal(t, 5, n)
		bar.end()
	}
}

// newCertificate makes a certificate for the loopback interface and its key.
func newCertificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "filepush test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:        true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)

	dir := t.TempDir()
	write := func(name, kind string, data []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600))
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", pkcs8)
}
