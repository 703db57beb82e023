package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/test/kit"
)

// A full topic makes its producers wait, and they continue when there is space.
func TestFull(t *testing.T) {
	for name, c := range map[string]struct {
		flags []string
		full  func(topicStats) bool
	}{
		"messages": {[]string{"-max-messages", "100"}, func(s topicStats) bool { return s.Messages == 100 }},
		"bytes":    {[]string{"-max-bytes", "10000"}, func(s topicStats) bool { return s.Bytes > 9800 && s.Bytes <= 10000 }},
	} {
		for _, async := range []string{"0", "50"} {
			t.Run(name+", async "+async, func(t *testing.T) {
				b, addr := startBroker(t, append(c.flags, "-group", "t/default")...)
				want := numbers(1, 300)
				p := startProducer(t, addr, want, "-async", async)
				s := until(t, addr, "the topic is full and the producer waits", func(s topicStats) bool {
					return s.Waiting == 1 && c.full(s)
				})
				assert.NotContains(t, p.Output(), "acknowledged")

				// A producer with a shorter timeout gets the reason.
				code, said := ended(startProducer(t, addr, "too much\n", "-timeout", "300ms"))
				assert.Equal(t, 1, code)
				assert.Contains(t, said, "the topic is full")
				assert.Contains(t, said, "acknowledged 0 messages")
				assert.Equal(t, s.Messages, statsOf(t, addr).Messages)

				c := startConsumer(t, addr, "default", "-count", "300")
				assert.Zero(t, p.Wait(), p.Output())
				p.Expect(`acknowledged 300 messages`)
				assert.Zero(t, c.Wait())
				same(t, want, sorted(strings.TrimSuffix(c.Output(), "consumed 300 messages\n")))
				consumed(t, addr)
				stop(t, b)
			})
		}
	}
}

// A message that would not even fit into an empty topic is refused at once.
func TestMessageLargerThanTheTopic(t *testing.T) {
	_, addr := startBroker(t, "-max-bytes", "10000")
	code, said := ended(startProducer(t, addr, strings.Repeat("x", 9500)+"\n"))
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "line 1: the message has 9500 bytes: at most 8976, please")
	p := startProducer(t, addr, strings.Repeat("x", 8976)+"\n")
	assert.Zero(t, p.Wait(), p.Output())
}

// A producer that waits survives a restart of the broker. A producer that gets a signal
// prints the number of stored messages.
func TestFullBrokerKilled(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	b, addr := brokerOf(t, binary, "-data", data, "-max-messages", "100", "-group", "t/default")
	proxy := kit.NewProxy(t, addr)
	p := startProducer(t, proxy.Addr, numbers(1, 150), "-async", "500")
	until(t, addr, "the producer waits", func(s topicStats) bool { return s.Waiting == 1 })
	b.Kill()
	p.Expect(`the connection is lost`)
	b, addr = brokerOf(t, binary, "-data", data, "-max-messages", "200")
	proxy.SetTarget(addr)
	assert.Zero(t, p.Wait(), p.Output())
	assert.EqualValues(t, 150, statsOf(t, addr).Messages)

	p = startProducer(t, addr, numbers(151, 300), "-async", "500")
	until(t, addr, "the producer waits", func(s topicStats) bool { return s.Waiting == 1 })
	p.Signal(syscall.SIGTERM)
	assert.Equal(t, 1, p.Wait())
	p.Expect(`acknowledged 50 messages`)
	p.Expect(`interrupted before all was published`)
	b.Signal(syscall.SIGTERM)
	assert.Zero(t, b.Wait(), "the broker does not end while a message waits for room")
}
