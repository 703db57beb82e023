package main

// These tests build the program and run it as processes.

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/internal/auth"
	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/leak"
)

// binary is the path of the built program.
var binary string

func TestMain(m *testing.M) {
	built, cleanup, err := proc.Build([]string{"."}, proc.RaceFlags()...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = built[0]
	code := leak.Run(m)
	cleanup()
	os.Exit(code)
}

// newFile makes a file of that size.
func newFile(t *testing.T, size int) (path string, data []byte) {
	t.Helper()
	data = make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(data)
	path = filepath.Join(t.TempDir(), "some file.bin")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path, data
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// serve starts a server and returns its address.
func serve(t *testing.T, args ...string) (*proc.Process, string) {
	t.Helper()
	s := proc.Start(t, binary, append([]string{"serve", "-listen", "127.0.0.1:0"}, args...)...)
	return s, s.Expect(`serving ".*" on (\S+)\n`)[1]
}

// stop ends a server with a signal and expects the exit code 0.
func stop(t *testing.T, s *proc.Process) {
	t.Helper()
	s.Signal(syscall.SIGTERM)
	assert.Zero(t, s.Wait(), s.Output())
}

// receiveFrom runs a client to its end.
func receiveFrom(t *testing.T, addr string, flags ...string) (code int, said string) {
	t.Helper()
	return proc.Run(t, binary, append([]string{"receive", "-connect", addr}, flags...)...)
}

// same fails the test if a file has other content.
func same(t *testing.T, want []byte, file string) {
	t.Helper()
	got, err := os.ReadFile(file)
	assert.NoError(t, err)
	assert.True(t, bytes.Equal(want, got), "the copy differs")
}

// only fails the test if there is anything else in a directory.
func only(t *testing.T, dir string, want ...string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := []string{}
	for _, entry := range left {
		names = append(names, entry.Name())
	}
	assert.ElementsMatch(t, want, names)
}

func TestDemo(t *testing.T) {
	for _, size := range []int{0, 1, 5<<20 + 13} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			path, data := newFile(t, size)
			code, said := proc.Run(t, binary, "demo", path)
			assert.Zero(t, code, said)
			assert.Contains(t, said, `pushed "some file.bin" over 127.0.0.1:`)
			assert.Contains(t, said, fmt.Sprintf("(%d bytes)", size))
			assert.Contains(t, said, "sent      SHA-256 "+sumOf(data))
			assert.Contains(t, said, "received  SHA-256 "+sumOf(data))
			assert.Contains(t, said, "verdict   identical")
		})
	}
}

func TestDemoOwnExecutable(t *testing.T) {
	own, err := os.ReadFile(binary)
	require.NoError(t, err)
	code, said := proc.Run(t, binary)
	assert.Zero(t, code, said)
	assert.Contains(t, said, "own executable")
	assert.Equal(t, 2, strings.Count(said, sumOf(own)))
}

func TestServe(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir()) // elsewhere than on Linux
	cert, key := proc.Certificate(t)
	token := proc.TokenFile(t, "the token of all")
	for name, flags := range map[string]struct{ server, client []string }{
		"plain":    {nil, nil},
		"tls":      {[]string{"-cert", cert, "-key", key}, []string{"-ca", cert}},
		"insecure": {[]string{"-cert", cert, "-key", key}, []string{"-insecure"}},
		"pinned":   {[]string{"-tls"}, []string{"-pin", "first"}},
		"token":    {[]string{"-token-file", token}, []string{"-token-file", token}},
	} {
		t.Run(name, func(t *testing.T) {
			path, data := newFile(t, 3<<20+1)
			s, addr := serve(t, append(flags.server, path)...)
			const clients = 3
			dir := t.TempDir()
			copies := make([]string, clients)
			var all sync.WaitGroup
			for i := range clients {
				copies[i] = fmt.Sprint(i)
				all.Go(func() {
					copied := filepath.Join(dir, copies[i])
					code, said := receiveFrom(t, addr, append([]string{"-o", copied}, flags.client...)...)
					assert.Zero(t, code, said)
					assert.Contains(t, said, `received "some file.bin" from `+addr)
					assert.Equal(t, 2, strings.Count(said, sumOf(data)), said)
					same(t, data, copied)
				})
			}
			all.Wait()
			only(t, dir, copies...)

			code, said := receiveFrom(t, addr, flags.client...)
			assert.Zero(t, code, said)
			assert.Contains(t, said, "identical")
			stop(t, s)
			assert.Equal(t, clients+1, strings.Count(s.Output(), `pushed "some file.bin" to `), s.Output())
			assert.Equal(t, clients+1, strings.Count(s.Output(), "identical"), s.Output())
			assert.NotContains(t, s.Output(), "level=")
		})
	}
}

// A client that is refused leaves no file.
func TestNotLetIn(t *testing.T) {
	cert, key := proc.Certificate(t)
	other, _ := proc.Certificate(t)
	ada := proc.TokenFile(t, "the token of ada")
	table := proc.SecretFile(t, "ada = \"the token of ada\"\nbob = \"the token of bob\"\n")
	path, _ := newFile(t, 100)
	s, addr := serve(t, "-cert", cert, "-key", key, "-tokens", table, path)
	copied := filepath.Join(t.TempDir(), "copy")
	for want, flags := range map[string][]string{
		"certificate":              {"-ca", other, "-name", "ada", "-token-file", ada},
		"IS NOT THE ONE":           {"-pin", strings.Repeat("0", 64), "-name", "ada", "-token-file", ada},
		"connecting to " + addr:    {},
		"wants another token":      {"-ca", cert},
		"the server wants another": {"-ca", cert, "-name", "bob", "-token-file", ada},
	} {
		code, said := receiveFrom(t, addr, append([]string{"-o", copied}, flags...)...)
		assert.Equal(t, 1, code, said)
		assert.Contains(t, said, want)
		only(t, filepath.Dir(copied))
	}
	code, said := receiveFrom(t, addr, "-ca", cert, "-name", "ada", "-token-file", ada)
	assert.Zero(t, code, said)
	stop(t, s)
	assert.Equal(t, 1, strings.Count(s.Output(), "pushed"))
}

func TestServeGoesOnWithoutFile(t *testing.T) {
	path, data := newFile(t, 1000)
	s, addr := serve(t, path)
	require.NoError(t, os.Remove(path))
	code, said := receiveFrom(t, addr)
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "connecting to "+addr)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	code, said = receiveFrom(t, addr)
	assert.Zero(t, code)
	assert.Contains(t, said, sumOf(data))
	s.Expect(`level=ERROR msg="push failed".*no such file`)
	stop(t, s)
}

// connectTo connects to a server as a client does, and begins.
func connectTo(t *testing.T, addr string) (geminio.End, geminio.Stream) {
	t.Helper()
	end, err := dial(func() (net.Conn, error) { return net.Dial("tcp", addr) },
		auth.New(program, "", ""), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { end.Close() })
	_, err = begin(t.Context(), end, nowhere())
	require.NoError(t, err)
	stream, err := end.AcceptStream()
	require.NoError(t, err)
	return end, stream
}

// A server gets a signal while a push is under way. The receiver continues only after the
// server has noticed the signal.
func TestServeStopsAfterPush(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no SIGTERM")
	}
	path, data := newFile(t, 32<<20) // more than the buffers on the path
	s, addr := serve(t, path)
	end, stream := connectTo(t, addr)
	s.Signal(syscall.SIGTERM)
	s.Expect("stopping after the pushes")
	sum := sha256.New()
	n, err := io.Copy(sum, stream)
	require.NoError(t, err)
	assert.Equal(t, sumOf(data), hex.EncodeToString(sum.Sum(nil)))
	counted, err := json.Marshal(newTally(n, sum))
	require.NoError(t, err)
	_, err = stream.Call(t.Context(), methodSum, stream.NewRequest(counted))
	require.NoError(t, err)
	stream.Close()
	end.Close()
	assert.Zero(t, s.Wait(), s.Output())
	assert.Contains(t, s.Output(), "identical")
	assert.NotContains(t, s.Output(), "level=")
}

// The server ends a push whose receiver has left.
func TestReceiverLeaves(t *testing.T) {
	path, _ := newFile(t, 32<<20)
	s, addr := serve(t, path)
	end, stream := connectTo(t, addr)
	_, err := io.CopyN(io.Discard, stream, 1000)
	require.NoError(t, err)
	end.Close()
	s.Expect(`level=ERROR msg="push failed".*pushing \\"some file.bin\\": after \d+ of 33554432 bytes: the other side has closed the connection`)
	stop(t, s)
}

func TestCommandLine(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for _, c := range []struct {
		args string
		code int
		text string
	}{
		{"-h", 0, "filepush receive"},
		{"serve -h", 0, "-tokens"},
		{"receive -h", 0, "-o FILE"},
		{"demo -h", 0, "own executable"},
		{"push", 2, `no command "push"`},
		{"serve", 2, "one PATH"},
		{"serve a b", 2, "one PATH"},
		{"serve -cert c a", 2, "go together"},
		{"serve -v loud a", 2, "invalid value"},
		{"receive a", 2, "chooses the PATH"},
		{"receive -ca c -insecure", 2, "contradict"},
		{"receive -ca main.go", 2, "no certificates"},
		{"receive -nothing", 2, "-nothing"},
		{"receive -o", 2, "needs an argument"},
		{"receive -connect 127.0.0.1:1", 1, "connecting to 127.0.0.1:1: dial tcp 127.0.0.1:1: connect"},
		{"receive -o /dev/null", 1, "not a regular file"},
		{"receive -o " + t.TempDir(), 1, "not a regular file"},
		{"demo a b", 2, `"b"`},
		{"demo /does/not/exist", 1, "no such file"},
		{"demo " + t.TempDir(), 1, "not a regular file"},
		{"serve -listen " + l.Addr().String() + " main.go", 1, l.Addr().String()},
	} {
		code, said := proc.Run(t, binary, strings.Fields(c.args)...)
		assert.Equal(t, c.code, code, "filepush %s: %s", c.args, said)
		assert.Contains(t, said, c.text, "filepush %s", c.args)
	}
}
