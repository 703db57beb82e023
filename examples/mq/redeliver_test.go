package main

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/kit"
)

// The messages of a killed consumer go to another one, long before their time for the
// acknowledgement has passed.
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

// The same happens when a consumer gets a signal after a part of its messages.
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
	same(t, numbers(1, 100), sorted(content(t, file))) // each message once
	t.Logf("it had done %d", n)
	stop(t, b)
}

// The time for the acknowledgement is extended while a consumer runs, also for long work:
// no message is processed twice.
func TestWorkLongerThanAckWait(t *testing.T) {
	t.Parallel()
	const count = 20
	b, addr := startBroker(t, "-group", "t/g", "-ack-wait", "500ms")
	produce(t, addr, numbers(1, count))
	file := filepath.Join(t.TempDir(), "out")
	// With the default window the last messages wait for several times -ack-wait.
	c := startConsumer(t, addr, "g", "-work", "150ms", "-o", file)
	consumed(t, addr)
	stop(t, c)
	same(t, numbers(1, count), content(t, file))
	stop(t, b)
}

// A consumer whose connection breaks drops its remaining messages, since other consumers
// have them.
func TestLostMessagesAreDropped(t *testing.T) {
	t.Parallel()
	const count = 10
	b, addr := startBroker(t, "-group", "t/g", "-ack-wait", "1h")
	proxy := kit.NewProxy(t, addr)
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "1"), filepath.Join(dir, "2")}
	c := startConsumer(t, proxy.Addr, "g", "-work", "300ms", "-window", strconv.Itoa(count), "-o", files[0])
	haveConsumers(t, addr, "g", 1)
	produce(t, addr, numbers(1, count))
	until(t, addr, "all were handed out", func(s topicStats) bool { return s.group("g").Pending == 0 })
	other := startConsumer(t, addr, "g", "-o", files[1])
	haveConsumers(t, addr, "g", 2)
	require.Equal(t, 1, proxy.Cut(), "connections")
	consumed(t, addr)
	c.Expect("connected again")
	haveConsumers(t, addr, "g", 2)
	stop(t, c) // the consumer has subscribed again, so it has no current message
	stop(t, other)
	got, again := once(content(t, files...))
	same(t, numbers(1, count), got)
	// One message was being processed, and the answer to the previous one may have been
	// lost.
	assert.LessOrEqual(t, again, 2)
	stop(t, b)
}

// A message that fails too often goes to the topic for dead letters, with its origin.
func TestDeadLetter(t *testing.T) {
	b, addr := startBroker(t, "-retry-delay", "20ms", "-max-deliver", "3", "-dead-letter", "dead")
	produce(t, addr, numbers(1, 5))
	file := filepath.Join(t.TempDir(), "out")
	t.Setenv("OUT", file)
	c := startConsumer(t, addr, "g", "-exec", `test $MQ_SEQUENCE != 3 && cat >>"$OUT" && echo >>"$OUT"`)
	consumed(t, addr)
	assert.Equal(t, 3, strings.Count(c.Output(), "a message was not consumed"), c.Output())
	assert.Equal(t, numbers(1, 2)+numbers(4, 5), content(t, file))
	b.Expect(`level=WARN msg="a message has failed too often.*topic=t group=g sequence=3`)

	code, said := proc.Run(t, binary, "consume", "-connect", addr, "-topic", "dead", "-count", "1", "-exec",
		`echo "$(cat): $MQ_FROM_TOPIC/$MQ_FROM_GROUP $MQ_FROM_SEQUENCE, $MQ_FAILURES times: $MQ_ERROR"`)
	assert.Zero(t, code, said)
	assert.Contains(t, said, "0000003: t/g 3, 3 times: exit status 1\n")
	stop(t, c)
	stop(t, b)
}

// A message that kills its consumers counts as failed. The other messages of these
// consumers do not.
func TestDeadLetterOfDeadConsumers(t *testing.T) {
	b, addr := startBroker(t, "-group", "t/g", "-max-deliver", "2")
	produce(t, addr, numbers(1, 5))
	file := filepath.Join(t.TempDir(), "out")
	for name, value := range map[string]string{"OUT": file, "MQ": binary, "ADDR": addr} {
		t.Setenv(name, value)
	}
	// When the consumer ends, the first message is acknowledged.
	const die = `until "$MQ" stats -connect "$ADDR" -json t | grep -q '"messages": [1-4],'; do :; done; kill -9 $PPID`
	consumer := func() *proc.Process {
		return startConsumer(t, addr, "g", "-exec", "if test $MQ_SEQUENCE = 2; then "+die+`; else cat >>"$OUT"; fi`, "-separator", `\n`)
	}
	for range 2 {
		assert.Equal(t, -1, consumer().Wait(), "killed by a signal")
		haveConsumers(t, addr, "g", 0)
	}
	c := consumer()
	consumed(t, addr)
	got, _ := once(content(t, file))
	assert.Equal(t, numbers(1, 1)+numbers(3, 5), got)
	code, said := proc.Run(t, binary, "consume", "-connect", addr, "-topic", "dead-letters", "-count", "1", "-exec", `cat; echo " $MQ_ERROR"`)
	assert.Zero(t, code, said)
	assert.Contains(t, said, "0000002 the consumer was lost")
	stop(t, c)
	stop(t, b)
}

// A message that a consumer cannot process is delivered again, and does not delay the
// others.
func TestConsumerFails(t *testing.T) {
	b, addr := startBroker(t, "-retry-delay", "50ms")
	produce(t, addr, numbers(1, 5))
	file := filepath.Join(t.TempDir(), "out")
	t.Setenv("OUT", file)
	// The third message fails the first three times.
	c := startConsumer(t, addr, "g", "-count", "5", "-exec",
		`test $MQ_TOPIC = t && { test $MQ_SEQUENCE != 3 || test $MQ_DELIVERY -gt 3; } && cat >>"$OUT" && echo >>"$OUT"`)
	assert.Zero(t, c.Wait())
	assert.Equal(t, 3, strings.Count(c.Output(), "a message was not consumed"), c.Output())
	assert.Equal(t, numbers(1, 2)+numbers(4, 5)+numbers(3, 3), content(t, file))
	consumed(t, addr)
	stop(t, b)
}

// A slow consumer delays neither the other consumers of its group nor other groups.
func TestSlowConsumer(t *testing.T) {
	t.Parallel()
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

// A newline after each message separates the output of several commands that append to
// one file.
func TestSeparator(t *testing.T) {
	b, addr := startBroker(t, "-group", "t/a", "-group", "t/b")
	produce(t, addr, numbers(1, 3))
	file := filepath.Join(t.TempDir(), "out")
	t.Setenv("OUT", file)
	c := startConsumer(t, addr, "a", "-count", "3", "-separator", `;\x0a`, "-exec", `cat >>"$OUT"`)
	assert.Zero(t, c.Wait(), c.Output())
	assert.Equal(t, "0000001;\n0000002;\n0000003;\n", content(t, file))
	c = startConsumer(t, addr, "b", "-count", "3", "-separator", `\x00"`)
	assert.Zero(t, c.Wait(), c.Output())
	assert.Contains(t, c.Output(), "0000001\x00\"0000002\x00\"0000003\x00\"")
	code, said := proc.Run(t, binary, "consume", "-topic", "t", "-separator", `\q`)
	assert.Equal(t, 2, code)
	assert.Contains(t, said, "is no text with escapes")
	stop(t, b)
}
