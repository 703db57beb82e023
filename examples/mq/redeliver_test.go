package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// What a consumer held when it died goes to another one, long before the time for
// acknowledging is over.
func TestConsumerDies(t *testing.T) {
	b, addr := startBroker(t, "-group", "t/g", "-ack-wait", "1h")
	c := startConsumer(t, addr, "g", "-work", "1h", "-window", "10")
	haveConsumers(t, addr, "g", 1)
	produce(t, addr, numbers(1, 15))
	s := until(t, addr, "10 are in flight", func(s topicStats) bool { return s.group("g").InFlight == 10 })
	assert.EqualValues(t, 5, s.group("g").Pending, "%+v", s)
	c.Kill()

	code, said := ended(startConsumer(t, addr, "g", "-count", "15"))
	assert.Zero(t, code)
	same(t, numbers(1, 15), sorted(strings.TrimSuffix(said, "consumed 15 messages\n")))
	consumed(t, addr)
	stop(t, b)
}

// The same when it is told to end, and has done a part.
func TestConsumerStops(t *testing.T) {
	b, addr := startBroker(t, "-group", "t/g", "-ack-wait", "1h")
	produce(t, addr, numbers(1, 100))
	file := filepath.Join(t.TempDir(), "out")
	c := startConsumer(t, addr, "g", "-work", "10ms", "-o", file)
	grown(t, 3, file)
	stop(t, c)
	n := lineCount(t, file)
	assert.Less(t, n, 100)
	startConsumer(t, addr, "g", "-o", file)
	consumed(t, addr)
	same(t, numbers(1, 100), sorted(content(t, file))) // each once
	t.Logf("it had done %d", n)
	stop(t, b)
}

// What a consumer that lives does not acknowledge in time goes to another one.
func TestNotAcknowledgedInTime(t *testing.T) {
	b, addr := startBroker(t, "-group", "t/g", "-ack-wait", "500ms")
	startConsumer(t, addr, "g", "-work", "1h", "-window", "10")
	haveConsumers(t, addr, "g", 1)
	produce(t, addr, numbers(1, 10))
	until(t, addr, "10 are in flight", func(s topicStats) bool { return s.group("g").InFlight == 10 })
	file := filepath.Join(t.TempDir(), "out")
	startConsumer(t, addr, "g", "-o", file, "-window", "10")
	consumed(t, addr)
	got, _ := once(content(t, file))
	same(t, numbers(1, 10), got)
	stop(t, b)
}

// A message with which a consumer cannot deal is delivered again, and does not hold back
// others.
func TestConsumerFails(t *testing.T) {
	b, addr := startBroker(t, "-retry-delay", "50ms")
	produce(t, addr, numbers(1, 5))
	file := filepath.Join(t.TempDir(), "out")
	t.Setenv("OUT", file)
	// The third message is too much for it, the first three times.
	c := startConsumer(t, addr, "g", "-count", "5", "-exec",
		`test $MQ_TOPIC = t && { test $MQ_SEQUENCE != 3 || test $MQ_DELIVERY -gt 3; } && cat >>"$OUT" && echo >>"$OUT"`)
	assert.Zero(t, c.Wait())
	assert.Equal(t, 3, strings.Count(c.Output(), "a message was not consumed"), c.Output())
	assert.Equal(t, numbers(1, 2)+numbers(4, 5)+numbers(3, 3), content(t, file))
	consumed(t, addr)
	stop(t, b)
}

// A slow consumer holds back neither the other ones of its group nor other groups.
func TestSlowConsumer(t *testing.T) {
	b, addr := startBroker(t, "-group", "t/g", "-group", "t/other")
	startConsumer(t, addr, "g", "-work", "1h", "-window", "1")
	haveConsumers(t, addr, "g", 1)
	c := startConsumer(t, addr, "g", "-count", "999")
	haveConsumers(t, addr, "g", 2)
	produce(t, addr, numbers(1, 1000), "-async", "100")
	assert.Zero(t, c.Wait())
	assert.Zero(t, startConsumer(t, addr, "other", "-count", "1000").Wait())
	s := until(t, addr, "all but one are consumed", func(s topicStats) bool { return s.Messages == 1 })
	assert.Equal(t, 1, s.group("g").InFlight, "%+v", s)
	stop(t, b)
}
