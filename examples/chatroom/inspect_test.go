package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
)

// With -inspect the server shows its clients by name.
func TestInspect(t *testing.T) {
	s, addr := serve(t, "-inspect", ":0")
	ada := join(t, addr, "ada")
	ends := proc.Inspected(t, s)
	require.Len(t, ends, 1)
	assert.Equal(t, "ada", ends[0].Name)
	quit(t, ada)
	stop(t, s)
}
