package main

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/leak"
)

// TestMain runs the tests, or a process of the cluster.
func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) != "" {
		main()
		return
	}
	leak.Main(m)
}

// few returns a small load.
func few() load {
	l := load{size: 1000, groups: 20, calls: 1000, broadcasts: 10, lease: 5 * time.Second, stream: 64 << 20, entries: 1000}
	if kit.Race {
		l.size, l.groups, l.calls, l.stream = 300, 6, 300, 16<<20
	}
	return l
}

// TestClients checks presence after mass joins, leaves, the kill of a node and a rolling restart, and that each
// node reaches each client.
func TestClients(t *testing.T) { require.NoError(t, runClients(t.Context(), t.Output(), few())) }

// TestAStalledReader checks what the nodes hold of a stream.
func TestAStalledReader(t *testing.T) {
	require.NoError(t, runStream(t.Context(), t.Output(), few()))
}

func TestTheBucket(t *testing.T) { require.NoError(t, runBucket(t.Context(), t.Output(), few())) }
