package main

// Next hops that cannot connect with their target.

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
)

// served accepts connections and answers each with the name.
func served(t *testing.T, l net.Listener, name string) {
	t.Helper()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, name)
			conn.Close()
		}
	}()
}

// askName connects with a hop and returns the name that the target answers.
func askName(t *testing.T, addr string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(proc.Forever))
	name, err := io.ReadAll(conn)
	require.NoError(t, err)
	return string(name)
}

// closedAddr returns an address that refuses connections.
func closedAddr(t *testing.T) string {
	t.Helper()
	l := listen(t)
	defer l.Close()
	return l.Addr().String()
}

// A relay_out tries another next hop if the target of the first one refuses. When that target
// accepts connections again, the relay_out uses its hop again.
func TestRefusingTargetIsSkipped(t *testing.T) {
	for _, shape := range []string{"out", "relay_in, out"} {
		t.Run(shape, func(t *testing.T) {
			good := listen(t)
			served(t, good, "good")
			bad := closedAddr(t)
			relay := startHop(t, roleRelayOut)
			for _, target := range []string{good.Addr().String(), bad} {
				if shape == "out" {
					startHop(t, roleOut, "-join", relay.nextAddr, "-target", target)
					continue
				}
				out := startHop(t, roleOut, "-target", target)
				startHop(t, roleRelayIn, "-join", relay.nextAddr, "-next", out.addr)
			}
			in := startHop(t, roleIn, "-next", relay.addr)
			for range 6 {
				require.Equal(t, "good", askName(t, in.addr))
			}
			relay.Expect(`level=WARN msg="a next hop is skipped for a while" addr=\S+ err=".*connection refused`)
			assert.NotContains(t, in.Output(), "WARN")

			l, err := net.Listen("tcp", bad)
			require.NoError(t, err)
			t.Cleanup(func() { l.Close() })
			served(t, l, "back")
			for deadline := time.Now().Add(proc.Forever); askName(t, in.addr) != "back"; {
				require.True(t, time.Now().Before(deadline), "the next hop does not come back")
				time.Sleep(10 * time.Millisecond)
			}
			relay.Expect("a next hop works again")
		})
	}
}

// The client gets an error when all targets refuse.
func TestAllTargetsRefuse(t *testing.T) {
	relay := startHop(t, roleRelayOut)
	for range 2 {
		startHop(t, roleOut, "-join", relay.nextAddr, "-target", closedAddr(t))
	}
	in := startHop(t, roleIn, "-next", relay.addr)
	for range 3 {
		wantReset(t, in.addr)
	}
	in.Expect(`level=WARN msg=broken .*connection refused`)
}

// A next hop that does not answer within half of -wait is skipped too.
func TestSilentNextHopIsSkipped(t *testing.T) {
	good := listen(t)
	served(t, good, "good")
	relay := startHop(t, roleRelayOut, "-wait", "2s", "-heartbeat", "60s")
	outs := []*hop{
		startHop(t, roleOut, "-join", relay.nextAddr, "-target", good.Addr().String()),
		startHop(t, roleOut, "-join", relay.nextAddr, "-target", good.Addr().String()),
	}
	in := startHop(t, roleIn, "-next", relay.addr)
	outs[1].Freeze()
	for range 4 {
		require.Equal(t, "good", askName(t, in.addr))
	}
	relay.Expect(`skipped for a while`)
}
