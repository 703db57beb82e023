package main

// Tests of the program as its users run it: built, and in processes of its own.

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/test/leak"
)

// forever is when a test calls it a hang.
const forever = 20 * time.Second

// binary is the program.
var binary string

func TestMain(m *testing.M) {
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// testMain builds the program, runs the tests, and looks for goroutines that
// they have left.
func testMain(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "filepush-test-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "filepush")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return leak.Run(m), nil
}

func TestLocal(t *testing.T) {
	for _, size := range []int{0, 1, 5<<20 + 13} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			path, data := newFile(t, size)
			out := succeed(t, path)
			assert.Contains(t, out, `pushed "some file.bin" over 127.0.0.1:`)
			assert.Contains(t, out, fmt.Sprintf("(%d bytes)", size))
			assert.Contains(t, out, "sent      SHA-256 "+sumOf(data))
			assert.Contains(t, out, "received  SHA-256 "+sumOf(data))
			assert.Contains(t, out, "verdict   identical")
		})
	}
}

func TestLocalOwnExecutable(t *testing.T) {
	own, err := os.ReadFile(binary)
	require.NoError(t, err)
	out := succeed(t)
	assert.Contains(t, out, "own executable")
	assert.Equal(t, 2, strings.Count(out, sumOf(own)))
}

func TestLocalBadPath(t *testing.T) {
	dir := t.TempDir()
	assert.Contains(t, fail(t, 1, filepath.Join(dir, "nothing")), "nothing")
	assert.Contains(t, fail(t, 1, dir), "not a regular file")
}

func TestServeConnect(t *testing.T) {
	cert, key := newCertificate(t)
	for name, flags := range map[string]struct{ server, client []string }{
		"plain":    {nil, nil},
		"tls":      {[]string{"-cert", cert, "-key", key}, []string{"-ca", cert}},
		"insecure": {[]string{"-cert", cert, "-key", key}, []string{"-insecure"}},
	} {
		t.Run(name, func(t *testing.T) {
			path, data := newFile(t, 3<<20+1)
			server := startServer(t, append(flags.server, path)...)

			const clients = 3
			dir := t.TempDir()
			var all sync.WaitGroup
			for i := range clients {
				all.Go(func() {
					copied := filepath.Join(dir, fmt.Sprint(i))
					args := append([]string{"-connect", server.addr, "-o", copied}, flags.client...)
					code, out, errs := filepush(t, args...)
					assert.Zero(t, code, errs)
					assert.Contains(t, out, `received "some file.bin" from `+server.addr)
					assert.Equal(t, 2, strings.Count(out, sumOf(data)), out)
					got, err := os.ReadFile(copied)
					assert.NoError(t, err)
					assert.True(t, bytes.Equal(data, got), "the copy differs")
				})
			}
			all.Wait()
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			assert.Len(t, left, clients, "something beside the copies is left")

			out := succeed(t, append([]string{"-connect", server.addr}, flags.client...)...)
			assert.Contains(t, out, "identical")

			out = server.stop(t)
			assert.Equal(t, clients+1, strings.Count(out, `pushed "some file.bin" to `), out)
			assert.Equal(t, clients+1, strings.Count(out, "identical"), out)
			assert.Empty(t, server.stderr.String())
		})
	}
}

func TestServeTLSMismatch(t *testing.T) {
	cert, key := newCertificate(t)
	other, _ := newCertificate(t)
	path, _ := newFile(t, 100)
	server := startServer(t, "-cert", cert, "-key", key, path)
	copied := filepath.Join(t.TempDir(), "copy")

	errs := fail(t, 1, "-connect", server.addr, "-ca", other, "-o", copied)
	assert.Contains(t, errs, "certificate")
	errs = fail(t, 1, "-connect", server.addr, "-o", copied)
	assert.Contains(t, errs, "connecting to "+server.addr)

	left, err := os.ReadDir(filepath.Dir(copied))
	require.NoError(t, err)
	assert.Empty(t, left)
	assert.NotContains(t, server.stop(t), "pushed")
}

func TestServeGoesOnWithoutFile(t *testing.T) {
	path, data := newFile(t, 1000)
	server := startServer(t, path)
	require.NoError(t, os.Remove(path))
	assert.Contains(t, fail(t, 1, "-connect", server.addr), "left before it pushed")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	assert.Contains(t, succeed(t, "-connect", server.addr), sumOf(data))
	server.stop(t)
	assert.Contains(t, server.stderr.String(), "push failed")
}

// A server that is told to stop has a push under way, which its receiver goes on
// with only when the server has taken note.
func TestServeStopsAfterPush(t *testing.T) {
	skipWithoutSIGTERM(t)
	path, data := newFile(t, 32<<20) // more than fits on the way
	server := startServer(t, path)
	end, err := client.NewEnd("tcp", server.addr)
	require.NoError(t, err)
	defer end.Close()

	stopping := make(chan string, 1)
	slow := &gate{enter: func() {
		require.NoError(t, server.cmd.Process.Signal(syscall.SIGTERM))
		stopping <- server.line(t)
	}}
	r, err := receive(t.Context(), end, slow, io.Discard)
	require.NoError(t, err)
	require.NoError(t, r.verdict())
	assert.Equal(t, sumOf(data), r.received.SHA256)
	assert.Contains(t, <-stopping, "stopping")
	end.Close()

	assert.Contains(t, server.end(t), "identical")
	assert.Empty(t, server.stderr.String())
}

func TestConnectToNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	errs := fail(t, 1, "-connect", addr)
	assert.Contains(t, errs, "connecting to "+addr)
	assert.Contains(t, errs, "refused")
}

func TestServeOnTakenAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	assert.Contains(t, fail(t, 1, "-serve", l.Addr().String()), l.Addr().String())
}

// gate is a writer that calls enter before it takes the first bytes.
type gate struct {
	once  sync.Once
	enter func()
}

func (g *gate) Write(p []byte) (int, error) {
	g.once.Do(g.enter)
	return len(p), nil
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

// command is the program with arguments, which is killed when it hangs.
func command(t *testing.T, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), forever)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, binary, args...)
}

// filepush runs the program to its end.
func filepush(t *testing.T, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	cmd := command(t, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		assert.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// succeed runs the program and returns what it says.
func succeed(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	code, out, errs := filepush(t, args...)
	require.Zero(t, code, errs)
	require.Empty(t, errs)
	return out
}

// fail runs the program, which is to end with that code, and returns the error.
func fail(t *testing.T, want int, args ...string) (stderr string) {
	t.Helper()
	code, out, errs := filepush(t, args...)
	require.Equal(t, want, code, out+errs)
	require.Contains(t, errs, "filepush: ")
	return errs
}

// process is a server.
type process struct {
	cmd    *exec.Cmd
	addr   string
	stdout *bufio.Reader
	stderr bytes.Buffer
}

// startServer starts a server on a free port.
func startServer(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{cmd: command(t, append([]string{"-serve", "127.0.0.1:0"}, args...)...)}
	pipe, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.stdout = bufio.NewReader(pipe)
	p.cmd.Stderr = &p.stderr
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		p.cmd.Process.Kill() // does nothing if the test has waited for its end
		p.cmd.Wait()
	})
	line := p.line(t)
	require.Contains(t, line, "serving ")
	p.addr = line[strings.LastIndex(line, " ")+1:]
	return p
}

// line is the next line that the server prints.
func (p *process) line(t *testing.T) string {
	t.Helper()
	line, err := p.stdout.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSuffix(line, "\n")
}

// stop tells the server to stop, and returns the rest of what it prints.
func (p *process) stop(t *testing.T) (stdout string) {
	t.Helper()
	skipWithoutSIGTERM(t)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	return p.end(t)
}

func skipWithoutSIGTERM(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no SIGTERM")
	}
}

// end waits for the server's end, which is to be a good one.
func (p *process) end(t *testing.T) (stdout string) {
	t.Helper()
	out, err := io.ReadAll(p.stdout)
	require.NoError(t, err)
	require.NoError(t, p.cmd.Wait(), p.stderr.String())
	return string(out)
}
