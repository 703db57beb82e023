package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/leak"
)

// program is the path of the program.
var program string

func TestMain(m *testing.M) {
	binaries, cleanup, err := proc.Build([]string{"."}, proc.RaceFlags()...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = binaries[0]
	code := leak.Run(m)
	cleanup()
	os.Exit(code)
}

// tokenFile makes a file with a token.
func tokenFile(t *testing.T, token string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
	return file
}

// serverProcess is a server that can be restarted.
type serverProcess struct {
	*proc.Process
	t      *testing.T
	flags  []string
	goals  []string // of the -maps: NODE/SERVICE
	addr   string   // for nodes
	public []string // for each goal
}

// startServer starts a server that offers the goals.
func startServer(t *testing.T, token string, goals []string, flags ...string) *serverProcess {
	t.Helper()
	return startServerWith(t, append(slices.Clip(flags), "-token-file", token), goals)
}

// startServerWith starts a server with these flags that offers the goals.
func startServerWith(t *testing.T, flags, goals []string) *serverProcess {
	t.Helper()
	s := &serverProcess{
		t: t, flags: flags, goals: goals, addr: "127.0.0.1:0",
		public: slices.Repeat([]string{"127.0.0.1:0"}, len(goals)),
	}
	s.start()
	return s
}

// start starts the server on its present addresses, and waits until it serves.
func (s *serverProcess) start() {
	s.t.Helper()
	args := append([]string{"server", "-listen", s.addr}, s.flags...)
	for i, goal := range s.goals {
		args = append(args, "-map", s.public[i]+"="+goal)
	}
	s.Process = proc.Start(s.t, program, args...)
	s.addr = s.Expect(`accepting nodes at (\S+)`)[1]
	for i, goal := range s.goals {
		s.public[i] = s.Expect(`(\S+) is ` + goal + `\n`)[1]
	}
}

// nodeArgs are the arguments of a node.
func nodeArgs(token, server, name string, more ...string) []string {
	return append([]string{"node", "-connect", server, "-token-file", token, "-name", name}, more...)
}

// startNode starts a node and waits until it is connected.
func startNode(t *testing.T, token, server, name string, more ...string) *proc.Process {
	t.Helper()
	p := proc.Start(t, program, nodeArgs(token, server, name, more...)...)
	p.Expect(name + ` is connected with`)
	return p
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(proc.Forever))
	return c.(*net.TCPConn)
}

// pair makes a connection to a public address, exchanges a text in both directions, and returns
// both sides.
func pair(t *testing.T, addr string, service *net.TCPListener) (client, served *net.TCPConn) {
	t.Helper()
	client = dial(t, addr)
	service.SetDeadline(time.Now().Add(proc.Forever))
	c, err := service.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(proc.Forever))
	exchange(t, client, c)
	exchange(t, c, client)
	return client, c.(*net.TCPConn)
}

// exchange sends a text from one side to the other.
func exchange(t *testing.T, from, to net.Conn) {
	t.Helper()
	const words = "something"
	_, err := io.WriteString(from, words)
	require.NoError(t, err)
	got := make([]byte, len(words))
	_, err = io.ReadFull(to, got)
	require.NoError(t, err)
	require.Equal(t, words, string(got))
}
