package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/examples/internal/proc"
)

// Each group gets all messages, and the consumers of a group share them.
func TestGroups(t *testing.T) {
	b, addr := startBroker(t, "-group", "t/pair", "-group", "t/single")
	dir := t.TempDir()
	pair := []string{filepath.Join(dir, "1"), filepath.Join(dir, "2")}
	single := filepath.Join(dir, "3")
	consumers := []*proc.Process{
		startConsumer(t, addr, "pair", "-o", pair[0]),
		startConsumer(t, addr, "pair", "-o", pair[1]),
		startConsumer(t, addr, "single", "-o", single),
	}
	haveConsumers(t, addr, "pair", 2)
	haveConsumers(t, addr, "single", 1)
	want := numbers(1, 2000)
	produce(t, addr, want, "-async", "100")
	consumed(t, addr)
	same(t, want, content(t, single)) // in order
	same(t, want, sorted(content(t, pair...)))
	for _, file := range pair {
		t.Logf("a share of %d", strings.Count(content(t, file), "\n"))
		assert.NotEmpty(t, content(t, file), "a consumer of the pair got nothing")
	}
	for _, c := range consumers {
		stop(t, c)
	}
	stop(t, b)
}

// Topics are independent of each other.
func TestTopics(t *testing.T) {
	b, addr := startBroker(t)
	produce(t, addr, "for t\n")
	code, said := proc.Run(t, binary, "produce", "-connect", addr, "-topic", "other")
	assert.Zero(t, code, said)
	p := proc.Start(t, binary, "produce", "-connect", addr, "-topic", "other")
	p.Type("for the other\n")
	p.CloseInput()
	assert.Zero(t, p.Wait())

	code, said = proc.Run(t, binary, "consume", "-connect", addr, "-topic", "other", "-count", "1")
	assert.Zero(t, code)
	assert.Equal(t, "for the other\nconsumed 1 messages\n", said)
	assert.EqualValues(t, 1, statsOf(t, addr).Messages)
	stop(t, b)
}

// Messages that are published before the first group exists wait for it. A later group
// gets the messages that the first one has not acknowledged.
func TestNoGroup(t *testing.T) {
	b, addr := startBroker(t)
	produce(t, addr, numbers(1, 10))
	s := statsOf(t, addr)
	assert.EqualValues(t, 10, s.Messages)
	assert.Empty(t, s.Groups)

	code, said := proc.Run(t, binary, "consume", "-connect", addr, "-topic", "t", "-count", "4")
	assert.Zero(t, code)
	assert.Equal(t, numbers(1, 4)+"consumed 4 messages\n", said)
	until(t, addr, "4 are gone", func(s topicStats) bool { return s.Messages == 6 })
	code, said = proc.Run(t, binary, "consume", "-connect", addr, "-topic", "t", "-group", "late", "-count", "6")
	assert.Zero(t, code)
	assert.Equal(t, numbers(5, 10)+"consumed 6 messages\n", said)
	until(t, addr, "late has all", func(s topicStats) bool {
		return s.Messages == 6 && s.group("late").Pending == 0 && s.group("default").Pending+uint64(s.group("default").InFlight) == 6
	})
	stop(t, b)
}

// Messages that only a deleted group had not acknowledged are deleted. Messages that
// arrive after the last group was deleted are kept for the next one.
func TestDrop(t *testing.T) {
	b, addr := startBroker(t, "-group", "t/a", "-group", "t/b")
	produce(t, addr, numbers(1, 10))
	drop := func(group string) (int, string) {
		return proc.Run(t, binary, "drop", "-connect", addr, "-topic", "t", "-group", group)
	}
	c := startConsumer(t, addr, "a", "-count", "10")
	assert.Zero(t, c.Wait())
	until(t, addr, "a has all", func(s topicStats) bool { return s.group("a").Pending == 0 && s.group("a").InFlight == 0 })
	assert.EqualValues(t, 10, statsOf(t, addr).Messages)

	c = startConsumer(t, addr, "b", "-work", "1h")
	haveConsumers(t, addr, "b", 1)
	code, said := drop("b")
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "group b of topic t has consumers: 1")
	c.Kill()
	haveConsumers(t, addr, "b", 0)

	produce(t, addr, numbers(101, 103)) // a has not consumed these
	for _, step := range []struct {
		group string
		kept  uint64
	}{{"b", 3}, {"a", 0}} {
		code, said = drop(step.group)
		assert.Zero(t, code, said)
		until(t, addr, fmt.Sprintf("%d are kept without %s", step.kept, step.group), func(s topicStats) bool {
			return s.Messages == step.kept
		})
	}
	code, said = drop("a")
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "topic t has no group a")
	produce(t, addr, numbers(11, 20))
	code, said = proc.Run(t, binary, "consume", "-connect", addr, "-topic", "t", "-count", "10")
	assert.Zero(t, code)
	assert.Equal(t, numbers(11, 20)+"consumed 10 messages\n", said)
	stop(t, b)
}
