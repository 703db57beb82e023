package main

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
)

// The demonstration starts three nodes and some devices. Each device is called through each node, also
// after the process of one node was killed, and a signal ends all processes.
func TestDemo(t *testing.T) {
	const devices = 60
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	d := proc.Start(t, program, "demo", "-port", "0", "-n", fmt.Sprint(devices))
	sites := make(map[string]site)
	for i := range demoNodes {
		name := fmt.Sprintf("node-%d", i+1)
		sites[name] = site{t, d.Expect(name + `: ` + serving)[2]}
	}
	d.Expect(fmt.Sprintf("%d devices are connected\n", devices))
	for name, s := range sites {
		eventually(t, name+" knows all devices", func() bool { return len(s.clients()) == devices })
		for id := uint64(1); id <= devices; id++ {
			require.True(t, s.answers(id), "%s: device %d", name, id)
		}
	}
	counts := make(map[string]int)
	for _, host := range sites["node-1"].clients() {
		counts[host]++
	}
	require.Len(t, counts, demoNodes, "each node has devices: %v", counts)

	var pid int
	_, err := fmt.Sscan(d.Expect(`node-2 is process (\d+)\n`)[1], &pid)
	require.NoError(t, err)
	p, err := os.FindProcess(pid)
	require.NoError(t, err)
	require.NoError(t, p.Kill())
	d.Expect(`node-2 has ended: `)
	delete(sites, "node-2")
	begin := time.Now()
	for name, s := range sites {
		for id := uint64(1); id <= devices; id++ {
			eventually(t, fmt.Sprintf("%s: device %d", name, id), func() bool { return s.answers(id) })
		}
	}
	t.Logf("all devices answered through both nodes after %v", time.Since(begin))
	for name, s := range sites {
		eventually(t, name+" knows that node-2 is lost", func() bool {
			var nodes []nodeAt
			s.get("/nodes", &nodes)
			return len(nodes) == demoNodes-1
		})
		for id, host := range s.clients() {
			assert.NotEqual(t, "node-2", host, "%s: device %d", name, id)
		}
	}
	d.Signal(syscall.SIGTERM)
	assert.Zero(t, d.Wait())
	d.Expect(`node-1 has ended: exit status 0\n`)
	d.Expect(`node-3 has ended: exit status 0\n`)
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	assert.Empty(t, left, "the files of the NATS servers are removed, also those of the killed node")
}
