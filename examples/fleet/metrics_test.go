package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/kit"
)

// The server counts its devices and their readings.
func TestMetrics(t *testing.T) {
	f := startFleet(t)
	d := proc.Start(t, program, "device", "-connect", f.proxy.Addr, "-ca", f.cert, "-token-file", proc.TokenFile(t, token), "-every", "10ms", "pump")
	d.Expect(fmt.Sprintf("pump is device %d\n", idOf("pump")))
	eventually(t, "a reading", func() bool { return len(f.readings()) > 0 })
	eventually(t, "metrics", func() bool {
		req, err := http.NewRequestWithContext(kit.Deadline(t), http.MethodGet, strings.TrimSuffix(f.admin, "/devices")+"/metrics", nil)
		require.NoError(t, err)
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return strings.Contains(string(text), `geminio_connections_begun_total{side="server"} 1`) &&
			strings.Contains(string(text), `geminio_messages_total{code="ok",direction="incoming",topic="readings"}`)
	})
	d.Signal(syscall.SIGTERM)
	assert.Zero(t, d.Wait(), d.Output())
	f.stop()
}
