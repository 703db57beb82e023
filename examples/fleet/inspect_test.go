package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
)

// With -inspect the server shows its devices by name.
func TestInspect(t *testing.T) {
	s := proc.Start(t, program, "serve", "-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-data", t.TempDir()+"/readings", "-inspect", ":0")
	addr := s.Expect(`devices connect to (\S+),`)[1]
	d := proc.Start(t, program, "device", "-connect", addr, "pump")
	d.Expect(`pump is device \d+\n`)
	ends := proc.Inspected(t, s)
	require.Len(t, ends, 1)
	assert.Equal(t, "pump", ends[0].Name)
	assert.Equal(t, idOf("pump"), ends[0].ClientID)
}
