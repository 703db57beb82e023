package main

// These tests kill, stop and restart hops.

import (
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// When a hop is killed, its connections end with an error at the other hops. After a restart of
// the hop new connections work.
func TestKill(t *testing.T) {
	for shape := range shapes {
		t.Run(shape, func(t *testing.T) {
			c := startChain(t, shape, "-keep", "0s")
			for i, h := range c.hops {
				client, target := c.pair()
				half, halfTarget := c.pair() // its client waits for the rest of an answer
				require.NoError(t, half.CloseWrite())
				_, n := receive(t, halfTarget)
				require.Zero(t, n)
				exchange(t, halfTarget, half)

				h.Kill()
				if i > 0 { // the kernel ends the client's connection with a killed in
					_, err := io.ReadAll(client)
					assert.ErrorIs(t, err, syscall.ECONNRESET, "killed %s", h.role)
					_, err = io.ReadAll(half)
					assert.ErrorIs(t, err, syscall.ECONNRESET, "killed %s", h.role)
				}
				if i < len(c.hops)-1 { // and the target's connection with a killed out
					_, err := io.ReadAll(target)
					assert.ErrorIs(t, err, syscall.ECONNRESET, "killed %s", h.role)
				}
				h.start()
				h.ready()
				for range 3 {
					c.pair()
				}
			}
			c.answerSums(1000)
			assert.NoError(t, c.ask(3<<20, 1000, 1))
		})
	}
}

// Connections that begin while a hop does not run wait for it.
func TestWaitForRestart(t *testing.T) {
	c := startChain(t, "in, relay_in, relay_in, out", "-wait", "60s")
	for _, h := range c.hops[1:] {
		c.pair()
		h.Kill()
		client := c.dial()
		_, err := io.WriteString(client, "early")
		require.NoError(t, err)
		h.start()
		conn, err := c.target.Accept()
		require.NoError(t, err)
		defer conn.Close()
		got := make([]byte, 5)
		_, err = io.ReadFull(conn, got)
		require.NoError(t, err)
		assert.Equal(t, "early", string(got))
		exchange(t, conn, client)
	}
}

// A hop that gets SIGTERM waits until its connections have ended.
func TestStop(t *testing.T) {
	for shape := range shapes {
		t.Run(shape, func(t *testing.T) {
			c := startChain(t, shape, "-grace", "60s")
			for _, h := range c.hops {
				client, target := c.pair()
				h.Signal(syscall.SIGTERM)
				h.Expect(h.role + " stops")
				exchange(t, client, target)
				exchange(t, target, client)
				require.NoError(t, client.CloseWrite())
				_, n := receive(t, target)
				assert.Zero(t, n)
				exchange(t, target, client)
				require.NoError(t, target.Close())
				_, n = receive(t, client)
				assert.Zero(t, n)
				assert.Zero(t, h.Wait())
				h.start()
				h.ready()
				client, target = c.pair()
				require.NoError(t, client.Close()) // the next hop would wait for them
				require.NoError(t, target.Close())
			}
		})
	}
}

// A hop that gets SIGTERM breaks connections after -grace.
func TestStopBreaks(t *testing.T) {
	c := startChain(t, "in, relay_in, relay_in, out", "-grace", "100ms")
	for _, h := range c.hops {
		client, target := c.pair()
		h.Signal(syscall.SIGTERM)
		for _, conn := range []net.Conn{client, target} {
			_, err := io.ReadAll(conn)
			assert.ErrorIs(t, err, syscall.ECONNRESET, "stopped %s", h.role)
		}
		assert.Zero(t, h.Wait())
		h.start()
		h.ready()
	}
	c.pair()
}

// A hop that is silent for too long counts as lost.
func TestSilence(t *testing.T) {
	c := startChain(t, "in, relay_in, relay_in, out", "-heartbeat", "1s", "-keep", "0s")
	client, target := c.pair()
	c.hops[1].Freeze()
	_, err := io.ReadAll(client)
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	_, err = io.ReadAll(target)
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	c.hops[1].Signal(syscall.SIGCONT)
	c.pair()
}
