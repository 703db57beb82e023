package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// TestMain is also where the process of the clients begins.
func TestMain(m *testing.M) {
	if holdsClients() {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

var (
	few   = load{clients: 300, length: 2 * time.Second, every: 500 * time.Millisecond, streams: 5000, echoes: 200}
	loose = bounds{
		perEnd:       looseness * asStated.perEnd,
		perStream:    looseness * asStated.perStream,
		leftOfEnd:    looseness * asStated.leftOfEnd,
		leftOfStream: looseness * asStated.leftOfStream,
	}
)

func TestClients(t *testing.T) { require.NoError(t, runClients(t.Context(), few, loose)) }

func TestStreams(t *testing.T) { require.NoError(t, runStreams(t.Context(), few, loose)) }
