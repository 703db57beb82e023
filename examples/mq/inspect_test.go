package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
)

// With -inspect the broker shows its clients.
func TestInspect(t *testing.T) {
	b, addr := startBroker(t, "-inspect", ":0")
	c := startConsumer(t, addr, "g", "-name", "worker")
	produce(t, addr, "hello\n")
	c.Expect("hello\n") // it is connected
	ends := proc.Inspected(t, b)
	require.Len(t, ends, 1)
	assert.Equal(t, "worker", ends[0].Name)
	stop(t, c)
	stop(t, b)
}
