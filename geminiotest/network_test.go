package geminiotest_test

import (
	"context"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/rig"
)

// serve serves the method echo on a listener until the test ends, and returns the server.
func serve(t *testing.T, nl net.Listener) server.Listener {
	t.Helper()
	opt := server.NewEndOptions()
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: rig.Echo})
	opt.SetLinger(time.Second)
	l, err := server.NewListener(nl, opt)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// dial returns a RetryEnd that the test closes at its end.
func dial(t *testing.T, n *geminiotest.Network) *client.RetryEnd {
	t.Helper()
	opt := client.NewEndOptions()
	opt.SetRetryBackoff(time.Second, time.Second)
	opt.SetLinger(time.Second)
	end, err := client.NewRetryEndWithDialer(n.Dial, opt)
	require.NoError(t, err)
	t.Cleanup(func() { end.Close() })
	return end.(*client.RetryEnd)
}

// call requires that a call succeeds, and returns the time that it takes.
func call(t *testing.T, end geminio.End) time.Duration {
	t.Helper()
	start := time.Now()
	_, err := end.Call(t.Context(), "echo", end.NewRequest([]byte("hello")))
	require.NoError(t, err)
	return time.Since(start)
}

func TestReconnect(t *testing.T) {
	for name, cut := range map[string]func(*geminiotest.Network) int{
		"Cut": (*geminiotest.Network).Cut, "CutClients": (*geminiotest.Network).CutClients,
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T) {
				n := geminiotest.NewNetwork(t)
				serve(t, n.Listen())
				end := dial(t, n)
				call(t, end)
				require.Equal(t, 1, cut(n))
				call(t, end)
				assert.EqualValues(t, 1, end.Stats().Resumes, "sessions that were resumed")
			})
		})
	}
}

func TestServerRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := geminiotest.NewNetwork(t)
		l := serve(t, n.Listen())
		end := dial(t, n)
		call(t, end)
		l.Close()
		n.Cut()
		time.Sleep(5 * time.Second)
		require.False(t, end.Stats().Connected, "the server is closed")
		serve(t, n.Listen())
		call(t, end)
	})
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := geminiotest.NewNetwork(t)
		serve(t, n.Listen())
		end := dial(t, n)
		require.Zero(t, call(t, end))
		n.SetDelay(30 * time.Millisecond)
		require.Equal(t, 60*time.Millisecond, call(t, end))
		start := time.Now()
		nc, err := n.Dial()
		require.NoError(t, err)
		require.Equal(t, 60*time.Millisecond, time.Since(start))
		nc.Close()

		client, server := geminiotest.Pair(t, &geminiotest.PairOptions{Network: n})
		require.NoError(t, server.Register(t.Context(), "echo", rig.Echo))
		require.Equal(t, 60*time.Millisecond, call(t, client), "over a connection that is younger than the delay")
	})
	n := geminiotest.NewNetwork(t)
	require.Panics(t, func() { n.SetDelay(-1) })
}

func TestBlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := geminiotest.NewNetwork(t)
		serve(t, n.Listen())
		end := dial(t, n)
		call(t, end)
		n.SetBlackHole(true)
		n.SetBlackHole(true)
		time.AfterFunc(5*time.Second, func() { n.SetBlackHole(false) })
		require.Equal(t, 5*time.Second, call(t, end), "the bytes must arrive when the black hole ends")
		require.EqualValues(t, 1, end.Stats().Connections, "no reconnect in so short a time")

		n.SetBlackHole(true)
		time.Sleep(time.Hour)
		require.False(t, end.Stats().Connected, "two heartbeats are missing")
		n.SetBlackHole(false)
		call(t, end)
	})
}

func TestRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := geminiotest.NewNetwork(t)
		serve(t, n.Listen())
		end := dial(t, n)
		n.SetRefuse(true)
		call(t, end)
		synctest.Wait() // for the client's confirmation of the server's methods
		n.Cut()
		synctest.Wait()
		_, err := end.Call(t.Context(), "echo", end.NewRequest(nil))
		require.ErrorIs(t, err, geminio.ErrNotConnected)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		n.SetRefuse(false)
		call(t, end)
	})
}

func TestDialErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := geminiotest.NewNetwork(t)
		refused := func(why string) {
			t.Helper()
			_, err := n.Dial()
			var op *net.OpError
			require.ErrorAs(t, err, &op, why)
			require.Equal(t, "dial", op.Op)
			require.ErrorIs(t, err, syscall.ECONNREFUSED, why)
		}
		refused("nothing listens")
		l := n.Listen()
		l.Close()
		refused("the listener is closed")
		l = n.Listen()
		nc, err := n.Dial()
		require.NoError(t, err)
		l.Close()
		_, err = nc.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err, "the listener closes connections that wait for Accept")
		nc.Close()
		require.Zero(t, n.Cut())

		n.Listen()
		n.SetBlackHole(true)
		start := time.Now()
		_, err = n.Dial()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())
		require.Equal(t, 10*time.Second, time.Since(start))

		n.SetBlackHole(false)
		n.SetDelay(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = n.DialContext(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Zero(t, n.Cut(), "connections of Dials that have failed")
	})
}

// A Dial that waits when the test ends must return, since the bubble waits for it.
func TestDialsEndWithTheTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, fault := range []func(*geminiotest.Network){
			func(n *geminiotest.Network) { n.SetBlackHole(true) },
			func(n *geminiotest.Network) { n.SetDelay(time.Hour) },
		} {
			n := geminiotest.NewNetwork(t)
			n.Listen()
			fault(n)
			go n.DialContext(context.Background())
		}
	})
}
