package bench

import (
	"context"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/singchia/geminio"
)

// Allocations per operation, of both sides together, that nothing may exceed.
const (
	maxCallAllocs    = 6
	maxMessageAllocs = 5
	maxRawAllocs     = 0
)

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector allocates: only the operations are run")
	}
	c, s := ends(t)
	ctx := context.Background()
	if err := s.Register(ctx, "echo", echo); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			msg, err := s.Receive(ctx)
			if err != nil {
				return
			}
			msg.Done()
		}
	}()
	go io.Copy(s, s)
	data := make([]byte, 256)
	back := make([]byte, 256)
	for _, op := range []struct {
		name string
		max  float64
		run  func() error
	}{
		{"call", maxCallAllocs, func() error {
			_, err := c.Call(ctx, "echo", c.NewRequest(data))
			return err
		}},
		{"message", maxMessageAllocs, func() error { return c.Publish(ctx, c.NewMessage(data)) }},
		{"raw ping-pong", maxRawAllocs, func() error {
			if _, err := c.Write(data); err != nil {
				return err
			}
			_, err := io.ReadFull(c, back)
			return err
		}},
	} {
		var err error
		got := testing.AllocsPerRun(2000, func() {
			if e := op.run(); e != nil {
				err = e
			}
		})
		if err != nil {
			t.Fatalf("%s: %v", op.name, err)
		}
		t.Logf("%s: %v allocations", op.name, got)
		if got > op.max && !raceEnabled {
			t.Errorf("%s: %v allocations, at most %v are allowed", op.name, got, op.max)
		}
	}
}

// TestOneWayAllocations counts what is allocated for writes to which nothing comes back,
// those of whoever gathers and sends them included.
func TestOneWayAllocations(t *testing.T) {
	const writes, limit = 50_000, 0.1
	c, s := ends(t)
	go io.Copy(io.Discard, s)
	data := make([]byte, 256)
	write := func() {
		for range writes {
			if _, err := c.Write(data); err != nil {
				t.Fatal(err)
			}
		}
	}
	write() // buffers and windows grow
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	write()
	runtime.ReadMemStats(&after)
	got := float64(after.Mallocs-before.Mallocs) / writes
	t.Logf("%.3f allocations", got)
	if got > limit && !raceEnabled {
		t.Errorf("%.3f allocations per write, at most %v are allowed", got, limit)
	}
}

// TestGoroutines counts what an idle stream and an idle End own.
func TestGoroutines(t *testing.T) {
	const streams = 1000
	before := runtime.NumGoroutine()
	c, s := ends(t) // and a listener's one
	open := make([]geminio.Stream, 0, 2*streams)
	for range streams {
		a, err := c.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.AcceptStream()
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, a, b)
	}
	// What wrote the last frame may still be on its way out.
	got := runtime.NumGoroutine() - before
	for deadline := time.Now().Add(time.Second); got > 3 && time.Now().Before(deadline); {
		runtime.Gosched()
		got = runtime.NumGoroutine() - before
	}
	if got > 3 {
		t.Errorf("%d goroutines for two Ends, a listener and %d streams, want 3", got, len(open))
	}
}
