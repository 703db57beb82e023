package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/leak"
)

// binary is the path of the program.
var binary string

func TestMain(m *testing.M) {
	binaries, cleanup, err := proc.Build([]string{"."}, proc.RaceFlags()...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = binaries[0]
	code := leak.Run(m)
	cleanup()
	os.Exit(code)
}

// hop is a process of the chain, which can be started again.
type hop struct {
	*proc.Process
	t        *testing.T
	role     string
	flags    []string
	addr     string // of -listen; empty if it joins
	nextAddr string // of -listen-next
}

// startHop starts a hop. The addresses that it listens on are chosen for it.
func startHop(t *testing.T, role string, flags ...string) *hop {
	t.Helper()
	h := &hop{t: t, role: role, flags: flags, addr: "127.0.0.1:0", nextAddr: "127.0.0.1:0"}
	if slices.Contains(flags, "-join") {
		h.addr = ""
	}
	h.start()
	h.ready()
	return h
}

// start starts the hop on its present addresses.
func (h *hop) start() {
	h.t.Helper()
	args := append([]string{h.role}, h.flags...)
	if h.addr != "" {
		args = append(args, "-listen", h.addr)
	}
	if h.role == roleRelayOut {
		args = append(args, "-listen-next", h.nextAddr)
	}
	h.Process = proc.Start(h.t, binary, args...)
}

// ready waits until the hop accepts connections. A hop that dials others connects with them before.
func (h *hop) ready() {
	h.t.Helper()
	if h.role == roleRelayOut {
		h.nextAddr = h.Expect(`listens for the next hop on (\S+)`)[1]
	}
	if h.addr != "" {
		h.addr = h.Expect(h.role + ` listens on (\S+)`)[1]
	} else {
		h.Expect(`is connected with the previous hop`)
	}
}

// chain is a list of hops, which begins with an in, and the target of the last hop.
type chain struct {
	t      *testing.T
	hops   []*hop
	target *net.TCPListener
}

// shapes start the chains that the tests use. Each starts a hop before the hops that dial it.
var shapes = map[string]func(t *testing.T, target string, flags func(role string) []string) []*hop{
	"in, out": func(t *testing.T, target string, flags func(role string) []string) []*hop {
		out := startHop(t, roleOut, append(flags(roleOut), "-target", target)...)
		in := startHop(t, roleIn, append(flags(roleIn), "-next", out.addr)...)
		return []*hop{in, out}
	},
	"in, relay_in, relay_in, out": func(t *testing.T, target string, flags func(role string) []string) []*hop {
		out := startHop(t, roleOut, append(flags(roleOut), "-target", target)...)
		second := startHop(t, roleRelayIn, append(flags(roleRelayIn), "-next", out.addr)...)
		first := startHop(t, roleRelayIn, append(flags(roleRelayIn), "-next", second.addr)...)
		in := startHop(t, roleIn, append(flags(roleIn), "-next", first.addr)...)
		return []*hop{in, first, second, out}
	},
	"in, relay_out, out": func(t *testing.T, target string, flags func(role string) []string) []*hop {
		relay := startHop(t, roleRelayOut, flags(roleRelayOut)...)
		out := startHop(t, roleOut, append(flags(roleOut), "-join", relay.nextAddr, "-target", target)...)
		in := startHop(t, roleIn, append(flags(roleIn), "-next", relay.addr)...)
		return []*hop{in, relay, out}
	},
	"in, relay_out, relay_in, out": func(t *testing.T, target string, flags func(role string) []string) []*hop {
		out := startHop(t, roleOut, append(flags(roleOut), "-target", target)...)
		relay := startHop(t, roleRelayOut, flags(roleRelayOut)...)
		inner := startHop(t, roleRelayIn, append(flags(roleRelayIn), "-join", relay.nextAddr, "-next", out.addr)...)
		in := startHop(t, roleIn, append(flags(roleIn), "-next", relay.addr)...)
		return []*hop{in, relay, inner, out}
	},
}

// startChain starts a chain and gives the flags to each hop.
func startChain(t *testing.T, shape string, flags ...string) *chain {
	t.Helper()
	return startChainWith(t, shape, func(string) []string { return slices.Clip(flags) })
}

// startChainWith starts a chain and gives each hop the flags of its role.
func startChainWith(t *testing.T, shape string, flags func(role string) []string) *chain {
	t.Helper()
	target := listen(t)
	return &chain{t, shapes[shape](t, target.Addr().String(), flags), target}
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// dial connects to the first hop of the chain.
func (c *chain) dial() *net.TCPConn {
	c.t.Helper()
	conn, err := net.Dial("tcp", c.hops[0].addr)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(proc.Forever))
	return conn.(*net.TCPConn)
}

// pair makes a connection through the chain, exchanges a text in both directions, and returns
// both sides.
func (c *chain) pair() (client, target *net.TCPConn) {
	c.t.Helper()
	client = c.dial()
	c.target.SetDeadline(time.Now().Add(proc.Forever))
	conn, err := c.target.Accept()
	require.NoError(c.t, err)
	c.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(proc.Forever))
	exchange(c.t, client, conn)
	exchange(c.t, conn, client)
	return client, conn.(*net.TCPConn)
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

// send sends n random bytes and ends the direction. It returns their sum.
func send(t *testing.T, w *net.TCPConn, n int, seed int) (sum [32]byte) {
	t.Helper()
	h := sha256.New()
	_, err := io.CopyN(io.MultiWriter(w, h), rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}), int64(n))
	assert.NoError(t, err)
	assert.NoError(t, w.CloseWrite())
	return [32]byte(h.Sum(nil))
}

// receive reads until the end, and returns the sum and the number of bytes.
func receive(t *testing.T, r io.Reader) (sum [32]byte, n int64) {
	t.Helper()
	h := sha256.New()
	n, err := io.Copy(h, r)
	assert.NoError(t, err)
	return [32]byte(h.Sum(nil)), n
}

// answerSums makes the target read each connection to its end, and answer with the checksum of
// the bytes and with size bytes more.
func (c *chain) answerSums(size int) {
	c.target.SetDeadline(time.Time{})
	go func() {
		for {
			conn, err := c.target.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				h := sha256.New()
				if _, err := io.Copy(h, conn); err == nil {
					conn.Write(append(h.Sum(nil), bytes.Repeat([]byte("answer"), size/6)...))
				}
			}()
		}
	}()
}

// ask sends n bytes to a target that answers checksums, and checks the answer.
func (c *chain) ask(n, answer, seed int) error {
	conn, err := net.Dial("tcp", c.hops[0].addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(proc.Forever))
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(conn, h), rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}), int64(n)); err != nil {
		return err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if want := append(h.Sum(nil), bytes.Repeat([]byte("answer"), answer/6)...); !bytes.Equal(want, got) {
		return fmt.Errorf("the answer differs: %d bytes instead of %d", len(got), len(want))
	}
	return nil
}
