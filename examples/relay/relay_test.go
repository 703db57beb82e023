package main

// These tests build the program and start a process for each hop.

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
)

func TestBothDirections(t *testing.T) {
	for shape := range shapes {
		t.Run(shape, func(t *testing.T) {
			c := startChain(t, shape)
			client, target := c.pair()
			var wg sync.WaitGroup
			var sent, got, sentBack, gotBack [32]byte
			wg.Go(func() { sent = send(t, client, 8<<20+1, 1) })
			wg.Go(func() { got, _ = receive(t, target) })
			wg.Go(func() { sentBack = send(t, target, 5<<20+3, 2) })
			wg.Go(func() { gotBack, _ = receive(t, client) })
			wg.Wait()
			assert.Equal(t, sent, got)
			assert.Equal(t, sentBack, gotBack)
			for _, h := range c.hops {
				h.Signal(syscall.SIGTERM)
				assert.Zero(t, h.Wait())
				assert.NotContains(t, h.Output(), "msg=broken")
			}
		})
	}
}

// One side ends its direction, and the other direction continues.
func TestHalfClose(t *testing.T) {
	for shape := range shapes {
		t.Run(shape, func(t *testing.T) {
			c := startChain(t, shape)
			for range 2 {
				client, target := c.pair()
				require.NoError(t, client.CloseWrite())
				_, n := receive(t, target)
				assert.Zero(t, n)
				exchange(t, target, client)
				exchange(t, target, client)
				require.NoError(t, target.CloseWrite())
				_, n = receive(t, client)
				assert.Zero(t, n)

				client, target = c.pair()
				require.NoError(t, target.CloseWrite())
				_, n = receive(t, client)
				assert.Zero(t, n)
				exchange(t, client, target)
				exchange(t, client, target)
				require.NoError(t, client.CloseWrite())
				_, n = receive(t, target)
				assert.Zero(t, n)
			}
		})
	}
}

func TestReset(t *testing.T) {
	c := startChain(t, "in, relay_in, relay_in, out")
	for _, reverse := range []bool{false, true} {
		breaks, other := c.pair()
		if reverse {
			breaks, other = other, breaks
		}
		_, err := io.WriteString(breaks, "last words")
		require.NoError(t, err)
		words := make([]byte, 10)
		_, err = io.ReadFull(other, words)
		require.NoError(t, err)
		require.NoError(t, breaks.SetLinger(0))
		require.NoError(t, breaks.Close())
		rest, err := io.ReadAll(other)
		assert.Empty(t, rest)
		assert.ErrorIs(t, err, syscall.ECONNRESET)
	}
	c.pair() // other connections work
}

func TestManyConnections(t *testing.T) {
	const connections, size, answer = 200, 100_000, 60_000
	for _, shape := range []string{"in, out", "in, relay_out, relay_in, out"} {
		t.Run(shape, func(t *testing.T) {
			c := startChain(t, shape)
			c.answerSums(answer)
			var wg sync.WaitGroup
			for i := range connections {
				wg.Go(func() { assert.NoError(t, c.ask(size+i, answer, i)) })
			}
			wg.Wait()
		})
	}
}

// A target that does not read delays its own client, and no other connection.
func TestBackpressure(t *testing.T) {
	const most = 256 << 20
	c := startChain(t, "in, relay_in, relay_in, out")
	client, target := c.pair()
	var written int
	var err error
	for chunk := make([]byte, 1<<20); err == nil && written < most; {
		client.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		var n int
		n, err = client.Write(chunk)
		written += n
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the chain accepted %d bytes that the target has not read", written)

	exchange(t, target, client) // the other direction
	c.pair()                    // other connections
	client.CloseWrite()
	_, n := receive(t, target)
	assert.EqualValues(t, written, n)
}

// wantReset expects that the hop at addr resets a connection.
func wantReset(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err == nil { // otherwise the reset came during the dial
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(proc.Forever))
		_, err = io.ReadAll(conn)
	}
	assert.ErrorIs(t, err, syscall.ECONNRESET)
}

func TestTargetRefuses(t *testing.T) {
	c := startChain(t, "in, relay_in, relay_in, out")
	c.target.Close()
	wantReset(t, c.hops[0].addr)
	c.hops[0].Expect(`level=WARN .*` + c.target.Addr().String() + `: connect: connection refused`)
}

func TestNoNextHop(t *testing.T) {
	relay := startHop(t, roleRelayOut, "-wait", "50ms")
	in := startHop(t, roleIn, "-next", relay.addr)
	wantReset(t, in.addr)
	in.Expect("no next hop has joined")
}

// Several next hops take turns.
func TestSeveralJoin(t *testing.T) {
	c := startChain(t, "in, relay_out, out", "-v", "info", "-keep", "0s")
	second := listen(t)
	other := startHop(t, roleOut, "-join", c.hops[1].nextAddr, "-target", second.Addr().String())
	c.hops[1].Expect(`(?s)has joined.*has joined`)
	accepted := make(chan string, 2)
	for name, l := range map[string]*net.TCPListener{"first": c.target, "second": second} {
		go func() {
			if conn, err := l.Accept(); err == nil {
				accepted <- name
				conn.Close()
			}
		}()
	}
	for range 2 {
		receive(t, c.dial()) // returns at the end
	}
	assert.ElementsMatch(t, []string{"first", "second"}, []string{<-accepted, <-accepted})

	other.Kill()
	c.hops[1].Expect(`has left`)
	c.pair()
	c.pair()
}

// Both sides of a connection between hops have a certificate.
func TestTLS(t *testing.T) {
	cert, key := proc.Certificate(t)
	c := startChainWith(t, "in, relay_out, relay_in, out", func(role string) []string {
		flags := []string{"-dial-ca", cert, "-dial-cert", cert, "-dial-key", key}
		if role != roleIn {
			flags = append(flags, "-cert", cert, "-key", key, "-client-ca", cert)
		}
		return flags
	})
	c.answerSums(100_000)
	assert.NoError(t, c.ask(1<<20, 100_000, 1))

	for _, flags := range [][]string{{"-dial-ca", cert}, {"-dial-tls", "-dial-cert", cert, "-dial-key", key}} {
		h := proc.Start(t, binary, append([]string{roleIn, "-listen", "127.0.0.1:0", "-next", c.hops[1].addr}, flags...)...)
		h.Expect("no connection with the next hop.*certificate")
		h.Signal(syscall.SIGTERM)
		assert.Zero(t, h.Wait())
	}
}

// Hops that listen create certificates. Hops that dial pin the certificates and send a token.
func TestTokens(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir()) // used on systems other than Linux
	token, wrong := proc.TokenFile(t, "the token of all"), proc.TokenFile(t, "another token")
	c := startChainWith(t, "in, relay_out, relay_in, out", func(role string) []string {
		flags := []string{"-dial-pin", "first", "-dial-token-file", token}
		if role != roleIn {
			flags = append(flags, "-tls", "-token-file", token)
		}
		return flags
	})
	c.answerSums(100_000)
	assert.NoError(t, c.ask(1<<20, 100_000, 1))
	c.hops[1].Expect(`certificate sha256:[0-9a-f]{64}\n`)

	for _, flags := range [][]string{{"-dial-pin", "first"}, {"-dial-pin", "first", "-dial-token-file", wrong}} {
		h := proc.Start(t, binary, append([]string{roleIn, "-listen", "127.0.0.1:0", "-next", c.hops[1].addr}, flags...)...)
		h.Expect("no connection with the next hop.*wants another token")
		h.Signal(syscall.SIGTERM)
		assert.Zero(t, h.Wait())
	}
	h := proc.Start(t, binary, roleIn, "-listen", "127.0.0.1:0", "-next", "256.0.0.1:1", "-dial-token-file", token)
	h.Expect(`level=WARN msg="THE TOKEN TRAVELS WITHOUT TLS`)
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "relay out "},
		{[]string{"nonsense"}, 2, `there is no command "nonsense"`},
		{[]string{"-h"}, 0, "relay relay_out -listen ADDR -listen-next ADDR"},
		{[]string{"out", "-h"}, 0, "-target ADDR"},
		{[]string{"in", "-next", "x:1"}, 2, "-listen is missing"},
		{[]string{"in", "-listen", "x:1"}, 2, "-next is missing"},
		{[]string{"relay_out", "-listen", "x:1"}, 2, "-listen-next is missing"},
		{[]string{"out", "-listen", "x:1", "-join", "x:1", "-target", "x:1"}, 2, "exactly one of -listen and -join"},
		{[]string{"in", "-next", "x:1", "-maps", "nothing"}, 2, "nothing: no such file"},
		{[]string{"out", "-listen", "x:1", "-targets", "nothing"}, 2, "nothing: no such file"},
		{[]string{"out", "-listen", "x:1", "-target", "x:1", "-proxy-protocol", "3"}, 2, "not a version of the PROXY protocol"},
		{[]string{"out", "-target", "x:1"}, 2, "exactly one of -listen and -join"},
		{[]string{"out", "-listen", "x:1", "-target", "x:1", "more"}, 2, `"more"`},
		{[]string{"in", "-listen", "x:1", "-next", "x:1", "-wait", "0s"}, 2, "-wait"},
		{[]string{"in", "-listen", "x:1", "-next", "x:1", "-dial-cert", "a"}, 2, "-dial-..."},
		{[]string{"out", "-listen", "127.0.0.1:0", "-cert", "nothing", "-key", "nothing", "-target", "x:1"}, 2, "nothing"},
		{[]string{"out", "-listen", "256.0.0.1:0", "-target", "x:1"}, 1, "256.0.0.1"},
	} {
		code, out := proc.Run(t, binary, test.args...)
		assert.Equal(t, test.code, code, "%q: %s", test.args, out)
		assert.Contains(t, out, test.want, "%q", test.args)
	}
}
