//go:build unix

package main

// Tests with stopped processes.

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A client that does not read delays no other client. Afterwards it gets the last lines and the
// number of missing ones.
func TestSlowClient(t *testing.T) {
	const count, queue = 1000, 100
	s, addr := serve(t, "-queue", fmt.Sprint(queue), "-heartbeat", "1h")
	slow := join(t, addr, "slow", "-heartbeat", "1h")
	quick := join(t, addr, "quick")
	slow.Expect(`\* quick has joined\n`)
	slow.Freeze()
	for i := range count {
		quick.Type(fmt.Sprintf("line %d\n", i))
		if n := i + 1; n%(queue/2) == 0 { // quick must not become slow itself
			quick.Type("/who\n") // the server has received all lines
			quick.Expect(fmt.Sprintf(`(?s)(\* here: quick, slow\n.*){%d}`, n/(queue/2)))
		}
	}
	slow.Signal(syscall.SIGCONT)
	slow.Expect(fmt.Sprintf(`<quick> line %d\n`, count-1))

	// At most one line was under way when slow stopped, or was the first in the queue.
	missing := 0
	_, err := fmt.Sscan(slow.Expect(`\* you were too slow: (\d+) lines or notices are missing here\n`)[1], &missing)
	require.NoError(t, err)
	heard := strings.Count(slow.Output(), "<quick>")
	assert.Equal(t, count, missing+heard, slow.Output())
	assert.LessOrEqual(t, heard, queue+1)
	assert.NotContains(t, quick.Output(), "too slow")
	stop(t, s)
}

// The server ends the connection of a client that is silent for too long. The client
// reconnects when it continues.
func TestSilentClient(t *testing.T) {
	s, addr := serve(t, "-heartbeat", "1s")
	ada, bob := join(t, addr, "ada"), join(t, addr, "bob")
	ada.Freeze()
	bob.Expect(`\* ada has left \(connection lost\)\n`)
	ada.Signal(syscall.SIGCONT)
	ada.Expect(`\* connected again\n`)
	ada.Type("where was I?\n")
	bob.Expect(`<ada> where was I\?\n`)
	stop(t, s)
}
