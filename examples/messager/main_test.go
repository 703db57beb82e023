package main

// These tests build the program and run it as processes.

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/kit"
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

// lines returns the lines of the numbers from first to last.
func lines(first, last int) string {
	var b strings.Builder
	for i := first; i <= last; i++ {
		fmt.Fprintf(&b, "line %d of the file\n", i)
	}
	return b.String()
}

// receive starts a receiver and returns its address.
func receive(t *testing.T, flags ...string) (*proc.Process, string) {
	t.Helper()
	r := proc.Start(t, binary, append([]string{"receive", "-listen", "127.0.0.1:0"}, flags...)...)
	return r, r.Expect(`listening on (\S+)\n`)[1]
}

// stop ends a receiver with a signal.
func stop(t *testing.T, r *proc.Process) {
	t.Helper()
	r.Signal(syscall.SIGTERM)
	assert.Zero(t, r.Wait(), "the receiver's exit code")
}

// content returns the content of a file, and "" if the file does not exist.
func content(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(text)
}

// grown waits until a file has that number of lines.
func grown(t *testing.T, file string, count int) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Count(content(t, file), "\n") >= count },
		proc.Forever, 10*time.Millisecond, "%s has not got %d lines", file, count)
}

// same fails the test if two texts differ, and prints the position.
func same(t *testing.T, want, got string) {
	t.Helper()
	if want == got {
		return
	}
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			t.Fatalf("%d lines instead of %d; line %d is %.80q instead of %.80q", len(g)-1, len(w)-1, i+1, g[i], w[i])
		}
	}
	t.Fatalf("%d lines instead of %d", len(g)-1, len(w)-1)
}

// modes are the ways of publishing: one message after the other, and many at once.
var modes = []string{"0", "256"}

func TestLines(t *testing.T) {
	const count = 20_000
	text := lines(1, count)
	file := filepath.Join(t.TempDir(), "in")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	for _, async := range append(modes, "1") {
		t.Run("async "+async, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			r, addr := receive(t, "-o", out)
			code, said := proc.Run(t, binary, "send", "-connect", addr, "-async", async, file)
			assert.Zero(t, code, said)
			assert.Regexp(t, fmt.Sprintf(`\Aacknowledged %d messages, .* messages/s, .*/s\n\z`, count), said)
			same(t, text, content(t, out)) // acknowledged means written
			stop(t, r)
			assert.Regexp(t, fmt.Sprintf(`(?m)^received %d messages, `, count), r.Output())
		})
	}
}

// Without files the sender reads stdin, and without -o the receiver writes stdout. A
// line arrives as soon as it is typed.
func TestStdinStdout(t *testing.T) {
	r, addr := receive(t)
	s := proc.Start(t, binary, "send", "-connect", addr)
	s.Type("one\n")
	r.Expect(`(?m)^one$`)
	s.Type("\ntwo without an end")
	s.CloseInput()
	assert.Zero(t, s.Wait())
	r.Expect(`one\n\ntwo without an end`)
	s.Expect(`acknowledged 3 messages, 23 bytes`)
	stop(t, r)
}

// Files arrive unchanged, with any size of pieces.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	a, b, out := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "out")
	long := bytes.Repeat([]byte("no line ends here. "), 200_000)
	require.NoError(t, os.WriteFile(a, long, 0o600))
	require.NoError(t, os.WriteFile(b, []byte(lines(1, 10)), 0o600))
	want := string(long) + lines(1, 10)
	for _, flags := range [][]string{{}, {"-chunk", "4096", "-async", "16"}, {"-chunk", "8000000", "-async", "16"}} {
		t.Run(fmt.Sprint(flags), func(t *testing.T) {
			os.Remove(out)
			r, addr := receive(t, "-o", out, "-sync")
			code, said := proc.Run(t, binary, append(append([]string{"send", "-connect", addr}, flags...), a, b)...)
			assert.Zero(t, code, said)
			same(t, want, content(t, out))
			stop(t, r)
		})
	}
}

func TestTLS(t *testing.T) {
	cert, key := proc.Certificate(t)
	out := filepath.Join(t.TempDir(), "out")
	r, addr := receive(t, "-o", out, "-cert", cert, "-key", key)
	s := proc.Start(t, binary, "send", "-connect", addr, "-ca", cert, "-async", "64")
	s.Type(lines(1, 1000))
	s.CloseInput()
	assert.Zero(t, s.Wait())
	same(t, lines(1, 1000), content(t, out))

	code, said := proc.Run(t, binary, "send", "-connect", addr)
	assert.Equal(t, 1, code, "without TLS: %s", said)
	code, said = proc.Run(t, binary, "send", "-connect", addr, "-tls")
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "certificate")
	stop(t, r)
}

// TLS needs one flag on each side: the receiver creates a certificate, which the sender pins.
func TestSelfSigned(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir()) // elsewhere than on Linux
	r, addr := receive(t, "-tls")
	fingerprint := r.Expect(`certificate (sha256:[0-9a-f]{64})\n`)[1]
	p := kit.NewProxy(t, addr)
	send := func(pin string) (int, string) {
		return proc.Run(t, binary, "send", "-connect", p.Addr, "-pin", pin)
	}
	for i, pin := range []string{fingerprint, "first", "first"} {
		code, said := send(pin)
		assert.Zero(t, code, said)
		isNew := strings.Contains(said, "is trusted from now on by its certificate "+fingerprint)
		assert.Equal(t, i == 1, isNew, "only the first time: %s", said)
	}
	code, said := proc.Run(t, binary, "send", "-connect", p.Addr)
	assert.Equal(t, 1, code, "without TLS: %s", said)

	// A sender detects another certificate, also if it was connected before.
	s := proc.Start(t, binary, "send", "-connect", p.Addr, "-pin", "first")
	s.Type("one\n")
	r.Expect(`(?m)^one$`)
	stop(t, r)
	r, addr = receive(t, "-tls", "-tls-file", filepath.Join(t.TempDir(), "other.pem"))
	p.SetTarget(addr)
	s.Expect(`level=WARN msg="THE CERTIFICATE OF \S+ IS NOT THE ONE THAT IT SHOULD BE`)
	code, said = send("first")
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "IS NOT THE ONE THAT IT SHOULD BE")
	stop(t, r)
}

// With -tokens each sender has a token of its own.
func TestTokens(t *testing.T) {
	ada, shared := proc.TokenFile(t, "the token of ada"), proc.TokenFile(t, "the token of all")
	table := proc.SecretFile(t, "ada = \"the token of ada\"\nbob = \"the token of bob\"\n")
	r, addr := receive(t, "-tokens", table, "-token-file", shared)
	for _, c := range []struct {
		flags []string
		code  int
	}{
		{[]string{"-name", "ada", "-token-file", ada}, 0},
		{[]string{"-name", "eve", "-token-file", shared}, 0},
		{[]string{"-token-file", shared}, 0},
		{[]string{"-name", "bob", "-token-file", ada}, 1},
		{[]string{"-name", "bob", "-token-file", shared}, 1},
		{[]string{"-token-file", ada}, 1},
		{nil, 1},
	} {
		code, said := proc.Run(t, binary, append([]string{"send", "-connect", addr}, c.flags...)...)
		assert.Equal(t, c.code, code, "%v: %s", c.flags, said)
		assert.Equal(t, code != 0, strings.Contains(said, "wants another token"), "%v: %s", c.flags, said)
	}
	r.Expect(`level=WARN msg="a client was refused" name=bob`)

	// A sender whose token is no longer valid ends when it reconnects.
	p := kit.NewProxy(t, addr)
	s := proc.Start(t, binary, "send", "-connect", p.Addr, "-token-file", shared)
	s.Type("one\n")
	r.Expect(`(?m)^one$`)
	stop(t, r)
	r, addr = receive(t, "-tokens", table)
	p.SetTarget(addr)
	assert.Equal(t, 1, s.Wait())
	s.Expect(`wants another token`)
	stop(t, r)

	open := proc.SecretFile(t, "readable by all")
	require.NoError(t, os.Chmod(open, 0o644))
	code, said := proc.Run(t, binary, "send", "-connect", addr, "-token-file", open)
	assert.Equal(t, 2, code)
	assert.Contains(t, said, "others can read or change "+open)
	r = proc.Start(t, binary, "receive", "-listen", "0.0.0.0:0", "-token-file", shared)
	r.Expect(`level=WARN msg="THE TOKEN TRAVELS WITHOUT TLS`)
}

func TestNoReceiver(t *testing.T) {
	r, addr := receive(t)
	r.Kill()
	code, said := proc.Run(t, binary, "send", "-connect", addr)
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "connection refused")

	// With -wait it waits for a receiver.
	p := kit.NewProxy(t, "")
	s := proc.Start(t, binary, "send", "-connect", p.Addr, "-wait", "-v", "info")
	s.Type("patient\n")
	s.Expect("not connected")
	r, addr = receive(t)
	p.SetTarget(addr)
	r.Expect(`(?m)^patient$`)
	s.CloseInput()
	assert.Zero(t, s.Wait())
	stop(t, r)
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		text string
	}{
		{"-h", 0, "messager send"},
		{"send -h", 0, "-async"},
		{"receive -h", 0, "-cert"},
		{"", 2, "messager send"},
		{"fetch", 2, `no command "fetch"`},
		{"send -async -1", 2, "-async is from 0"},
		{"send -chunk 1000000000", 2, "-chunk is from 0"},
		{"send -insecure -ca x", 2, "contradict"},
		{"receive -sync", 2, "-sync goes with -o"},
		{"receive something", 2, `unexpected argument "something"`},
		{"send /does/not/exist", 1, "no such file"},
	} {
		code, said := proc.Run(t, binary, strings.Fields(c.args)...)
		assert.Equal(t, c.code, code, "messager %s: %s", c.args, said)
		assert.Contains(t, said, c.text, "messager %s", c.args)
	}
}
