//go:build unix

package main

// Tests with stopped processes.

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A broker is stopped for longer than the time for the acknowledgement. Late answers of
// its consumers count, and the consumers keep their remaining messages.
func TestLateAnswersCount(t *testing.T) {
	t.Parallel()
	const count = 4
	b, addr := startBroker(t, "-group", "t/g", "-ack-wait", "1s")
	file := filepath.Join(t.TempDir(), "out")
	c := startConsumer(t, addr, "g", "-work", "800ms", "-o", file)
	haveConsumers(t, addr, "g", 1)
	produce(t, addr, numbers(1, count))
	until(t, addr, "all were handed out", func(s topicStats) bool { return s.group("g").Pending == 0 })
	b.Freeze()
	grown(t, 2, file)
	b.Signal(syscall.SIGCONT)
	consumed(t, addr)
	stop(t, c)
	got, again := once(content(t, file))
	same(t, numbers(1, count), got)
	// The storage may have checked the time before it received the first two
	// acknowledgements.
	assert.LessOrEqual(t, again, 2)
	stop(t, b)
}

// The broker ends the connection of a stopped consumer, and its messages go to another
// one.
func TestSilentConsumer(t *testing.T) {
	t.Parallel()
	b, addr := startBroker(t, "-group", "t/g", "-ack-wait", "1h", "-heartbeat", "500ms")
	silent := startConsumer(t, addr, "g", "-work", "1h", "-window", "10")
	haveConsumers(t, addr, "g", 1)
	produce(t, addr, numbers(1, 10))
	until(t, addr, "10 are in flight", func(s topicStats) bool { return s.group("g").InFlight == 10 })
	silent.Freeze()
	file := filepath.Join(t.TempDir(), "out")
	startConsumer(t, addr, "g", "-o", file)
	consumed(t, addr)
	same(t, numbers(1, 10), sorted(content(t, file)))
	stop(t, b)
}
