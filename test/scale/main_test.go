package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/singchia/geminio/test/kit"
)

// TestMain runs the tests, or the clients if the process was started for them.
func TestMain(m *testing.M) {
	if holdsClients() {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// few is a small load.
var few = load{clients: 300, length: 2 * time.Second, every: 500 * time.Millisecond, streams: 5000, echoes: 200}

// loose returns the bounds of a test. They are four times as large under the race
// detector, which enlarges stacks and uses memory of its own.
func loose() bounds {
	b := asStated
	if kit.Race {
		b.perEnd *= 4
		b.perStream *= 4
		b.leftOfEnd *= 4
		b.leftOfStream *= 4
	}
	return bounds{perEnd: b.perEnd, perStream: b.perStream, leftOfEnd: b.leftOfEnd, leftOfStream: b.leftOfStream}
}

func TestClients(t *testing.T) { require.NoError(t, runClients(t.Context(), few, loose())) }

func TestStreams(t *testing.T) { require.NoError(t, runStreams(t.Context(), few, loose())) }
