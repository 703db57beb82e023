package main

// Tests with a storage without space.

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/examples/internal/proc"
)

// The disk has no space for a topic. The broker, producers and consumers report it.
func TestNoRoomForTopic(t *testing.T) {
	b, addr := startBroker(t, "-max-bytes", fmt.Sprint(int64(1)<<50))
	b.Expect(`level=WARN msg="the disk has no room for a topic: each reserves 1\.0 PiB \(-max-bytes\), .* \(-max-store\)`)
	for _, flags := range [][]string{{"-timeout", "20s"}, {"-timeout", "20s", "-async", "10"}, nil} {
		code, said := ended(startProducer(t, addr, numbers(1, 20), flags...))
		assert.Equal(t, 1, code)
		assert.Regexp(t, `no room for the topic t: .* 1\.0 PiB \(-max-bytes\), .* \(-max-store\)`, said)
	}
	code, said := ended(startConsumer(t, addr, "g"))
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "no room for the topic t: ")
	b.Expect(`level=WARN msg="no room for the topic t: `)
	stop(t, b)
}

// A topic without space does not affect the other topics.
func TestNoRoomForThirdTopic(t *testing.T) {
	b, addr := startBroker(t, "-max-bytes", "1000000", "-max-store", "2500000")
	for _, topic := range []string{"a", "b", "c", "a"} {
		p := proc.Start(t, binary, "produce", "-connect", addr, "-topic", topic)
		p.Type("one\n")
		p.CloseInput()
		if topic == "c" {
			assert.Equal(t, 1, p.Wait())
			p.Expect(`no room for the topic c: each topic reserves 976\.6 KiB \(-max-bytes\), and 1\.9 MiB of 2\.4 MiB are reserved \(-max-store\)`)
			continue
		}
		assert.Zero(t, p.Wait(), p.Output())
	}
	stop(t, b)
}

// A producer gives up after its timeout, also with many messages under way, and gets the
// reason.
func TestTimeout(t *testing.T) {
	t.Parallel()
	const timeout = 4 * time.Second
	b, addr := startBroker(t, "-max-messages", "10", "-group", "t/g")
	b.Expect("listening")
	for _, async := range []string{"0", "50"} {
		t.Run("async "+async, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			code, said := ended(startProducer(t, addr, numbers(1, 1000), "-async", async, "-timeout", timeout.String()))
			assert.Equal(t, 1, code)
			assert.Contains(t, said, "not acknowledged: the topic is full")
			assert.Less(t, time.Since(start), timeout*7/4)
		})
	}
}

// A producer without a timeout waits, and reports it.
func TestWaitIsTold(t *testing.T) {
	t.Parallel()
	b, addr := startBroker(t, "-max-messages", "10", "-group", "t/g")
	var waiting []*proc.Process
	for _, async := range []string{"0", "50"} {
		waiting = append(waiting, startProducer(t, addr, numbers(1, 20), "-async", async))
	}
	for _, p := range waiting {
		p.Expect(`level=WARN msg="no message was acknowledged for [^"]*: the topic may be full`)
		p.Kill()
	}
	b.Expect(`level=WARN msg="a topic is full: its producers wait" topic=t`)
	assert.Equal(t, 1, strings.Count(b.Output(), "a topic is full"), "told once in a while: %s", b.Output())
}
