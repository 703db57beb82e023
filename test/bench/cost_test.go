package bench

import (
	"context"
	"io"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/test/kit"
)

// The largest numbers of allocations of an operation, both sides together.
const (
	maxCallAllocs    = 6
	maxMessageAllocs = 5
	maxAsyncAllocs   = 9
	maxRawAllocs     = 0
	maxOpenAllocs    = 22
	maxShakeAllocs   = 225 // with those of package net
)

func TestAllocations(t *testing.T) {
	if kit.Race {
		t.Log("the race detector allocates: only the operations are run")
	}
	const size = 256
	message := func(t *testing.T) func() error {
		c := acknowledged(t)
		data := make([]byte, size)
		return func() error { return c.Publish(context.Background(), c.NewMessage(data)) }
	}
	for _, op := range []struct {
		name    string
		max     float64
		prepare func(*testing.T) func() error
	}{
		{"call", maxCallAllocs, func(t *testing.T) func() error { return caller(t, size) }},
		{"message", maxMessageAllocs, message},
		{"async message", maxAsyncAllocs, func(t *testing.T) func() error { return newPipeline(acknowledged(t), size).next }},
		{"raw ping-pong", maxRawAllocs, pingPong},
		{"open, a byte, close", maxOpenAllocs, func(t *testing.T) func() error {
			c, s := ends(t)
			return opening(streamOpener(c), s)
		}},
		{"connect, shake hands, close", maxShakeAllocs, func(t *testing.T) func() error {
			one := handshakes(t)
			return func() error { return one(1) }
		}},
	} {
		t.Run(op.name, func(t *testing.T) {
			var err error
			run := op.prepare(t)
			got := testing.AllocsPerRun(2000, func() {
				if e := run(); e != nil {
					err = e
				}
			})
			require.NoError(t, err)
			t.Logf("%v allocations", got)
			if got > op.max && !kit.Race {
				t.Errorf("%v allocations, at most %v are allowed", got, op.max)
			}
		})
	}
}

// pingPong returns a function that writes to a stream and reads the answer.
func pingPong(t *testing.T) func() error {
	c, s := ends(t)
	go io.Copy(s, s)
	data, back := make([]byte, 256), make([]byte, 256)
	return func() error {
		if _, err := c.Write(data); err != nil {
			return err
		}
		_, err := io.ReadFull(c, back)
		return err
	}
}

// TestOneWayAllocations counts the allocations of one-way writes, including those of the
// goroutine that sends them.
func TestOneWayAllocations(t *testing.T) {
	const writes, limit = 50_000, 0.1
	c, s := ends(t)
	go io.Copy(io.Discard, s)
	data := make([]byte, 256)
	write := func() {
		for range writes {
			_, err := c.Write(data)
			require.NoError(t, err)
		}
	}
	write() // buffers and windows grow
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	write()
	runtime.ReadMemStats(&after)
	got := float64(after.Mallocs-before.Mallocs) / writes
	t.Logf("%.3f allocations", got)
	if got > limit && !kit.Race {
		t.Errorf("%.3f allocations per write, at most %v are allowed", got, limit)
	}
}
