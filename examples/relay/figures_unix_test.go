//go:build unix

package main

import (
	"io"
	"net"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
)

// Hops count the connections that clients abort, and do not warn of them. On a signal each hop
// prints its figures in one line.
func TestAborts(t *testing.T) {
	const aborts = 100
	c := startChain(t, "in, relay_out, relay_in, out")
	go func() {
		for {
			conn, err := c.target.Accept()
			if err != nil {
				return
			}
			go func() { // a download without end
				defer conn.Close()
				for chunk := make([]byte, 64<<10); err == nil; {
					_, err = conn.Write(chunk)
				}
			}()
		}
	}()
	var wg sync.WaitGroup
	for range aborts {
		wg.Go(func() {
			conn, err := net.Dial("tcp", c.hops[0].addr)
			if !assert.NoError(t, err) {
				return
			}
			_, err = io.ReadFull(conn, make([]byte, 1000))
			assert.NoError(t, err)
			assert.NoError(t, conn.(*net.TCPConn).SetLinger(0))
			assert.NoError(t, conn.Close())
		})
	}
	wg.Wait()
	for _, h := range c.hops {
		want := `level=INFO msg=figures open=0 accepted=100 refused=0 aborted=100 broken=0 bytes_from_clients=0 bytes_to_clients=[1-9]\d+`
		if h.role == roleRelayOut {
			want += ` next_hops=1`
		}
		figures(t, h.Process, want)
		assert.NotContains(t, h.Output(), "WARN", h.role)
	}
}

// figures signals a process until it has printed figures that match want.
func figures(t *testing.T, p *proc.Process, want string) {
	t.Helper()
	require.True(t, p.Until(want, func() { p.Signal(syscall.SIGUSR1) }), "the figures are not %s:\n%s", want, p.Output())
}
