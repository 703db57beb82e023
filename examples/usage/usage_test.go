package usage_test

// These tests build the programs and run them as processes.

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/leak"
)

// kinds are the examples, with regular expressions for the output of their programs.
var kinds = []struct{ name, server, client string }{
	{
		name:   "message",
		server: `received "hello"\nreceived "world"\n`,
		client: `published "hello": <nil>\npublished "": an empty message\npublished "world": <nil>\n`,
	},
	{
		name:   "rpc",
		server: `client 127\.0\.0\.1:\d+\n`,
		client: `greet "Ada": hello, Ada\ngreet "" failed: no name given\n`,
	},
	{
		name:   "brpc",
		server: `the client is Ada\n`,
		client: `the server asks for the name\nthe server says: good morning, Ada\n`,
	},
	{
		name:   "multiplexer",
		client: `the server says: welcome, 127\.0\.0\.1:\d+\nthe server echoes: ping\n`,
	},
}

// binaries are the programs, as "message/server".
var binaries = map[string]string{}

func TestMain(m *testing.M) {
	var dirs []string
	for _, kind := range kinds {
		dirs = append(dirs, kind.name+"/server", kind.name+"/client")
	}
	built, cleanup, err := proc.Build(dirs, proc.RaceFlags()...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for i, dir := range dirs {
		binaries[dir] = built[i]
	}
	code := leak.Run(m)
	cleanup()
	os.Exit(code)
}

// serve starts a server and returns its address.
func serve(t *testing.T, kind string, flags ...string) (*proc.Process, string) {
	t.Helper()
	s := proc.Start(t, binaries[kind+"/server"], append([]string{"-listen", "127.0.0.1:0"}, flags...)...)
	return s, s.Expect(`listening on (\S+)\n`)[1]
}

func TestUsage(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			s, addr := serve(t, kind.name)
			for range 2 { // two clients
				code, out := proc.Run(t, binaries[kind.name+"/client"], "-addr", addr)
				assert.Zero(t, code, out)
				assert.Regexp(t, `\A`+kind.client+`\z`, out)
			}
			s.Expect(`\Alistening on \S+\n(` + kind.server + `){2}\z`)
			s.Signal(syscall.SIGTERM)
			assert.Zero(t, s.Wait())
		})
	}
}

func TestTLS(t *testing.T) {
	cert, key := proc.Certificate(t)
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			s, addr := serve(t, kind.name, "-cert", cert, "-key", key)
			code, out := proc.Run(t, binaries[kind.name+"/client"], "-addr", addr, "-ca", cert)
			assert.Zero(t, code, out)
			assert.Regexp(t, `\A`+kind.client+`\z`, out)

			code, out = proc.Run(t, binaries[kind.name+"/client"], "-addr", addr)
			assert.Equal(t, 1, code, "without TLS: %s", out)
			s.Signal(os.Interrupt)
			assert.Zero(t, s.Wait())
		})
	}
}

// If the server is killed, its clients fail with an error that names the cause.
func TestNoServer(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			s, addr := serve(t, kind.name)
			s.Kill()
			code, out := proc.Run(t, binaries[kind.name+"/client"], "-addr", addr)
			assert.Equal(t, 1, code)
			assert.Contains(t, out, "connection refused")
		})
	}
}

func TestFlags(t *testing.T) {
	for name, binary := range binaries {
		t.Run(name, func(t *testing.T) {
			code, out := proc.Run(t, binary, "-h")
			assert.Zero(t, code)
			assert.Contains(t, out, "127.0.0.1:1208")
			code, out = proc.Run(t, binary, "-nothing")
			assert.Equal(t, 2, code, out)
			code, out = proc.Run(t, binary, "something")
			assert.Equal(t, 2, code, out)
		})
	}
}

// The programs are short: a file has at most 40 lines.
func TestShort(t *testing.T) {
	for dir := range binaries {
		text, err := os.ReadFile(dir + "/main.go")
		require.NoError(t, err)
		assert.LessOrEqual(t, strings.Count(string(text), "\n"), 40, dir)
	}
}
