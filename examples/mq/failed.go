package main

// Messages that consumers have failed to process.

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

const (
	// maxDoublings bounds the growth of -retry-delay.
	maxDoublings = 6
	// maxFailures bounds the number of messages whose failures are counted.
	maxFailures = 1 << 16
	// maxReason bounds the text of the last failure in a dead letter.
	maxReason = 400
)

// failures counts the failures of messages in each group. Its methods are safe for
// concurrent use.
type failures struct {
	mu sync.Mutex
	n  map[failure]int
}

// failure is a message that has failed.
type failure struct {
	key      string // topic/group
	sequence uint64
}

// add counts a failure, and returns the number of failures of the message.
func (f *failures) add(h *held) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n == nil {
		f.n = make(map[failure]int)
	}
	at := failure{h.key, h.sequence}
	if f.n[at] == 0 && len(f.n) >= maxFailures {
		for other := range f.n { // the count of this message starts again
			delete(f.n, other)
			break
		}
	}
	f.n[at]++
	return f.n[at]
}

// forget removes a message that is not delivered again.
func (f *failures) forget(h *held) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.n, failure{h.key, h.sequence})
}

// deadLetter states the origin of a message in the topic for dead letters.
type deadLetter struct {
	Topic    string `json:"topic"`
	Group    string `json:"group"`
	Sequence uint64 `json:"sequence"`
	Failures int    `json:"failures"`
	Reason   string `json:"reason"` // the text of the last failure
}

// The headers of a dead letter in the storage.
const (
	headerTopic    = "Mq-Topic"
	headerGroup    = "Mq-Group"
	headerSequence = "Mq-Sequence"
	headerFailures = "Mq-Failures"
	headerReason   = "Mq-Reason"
)

// header writes a dead letter to headers.
func (d deadLetter) header(to nats.Header) {
	to.Set(headerTopic, d.Topic)
	to.Set(headerGroup, d.Group)
	to.Set(headerSequence, strconv.FormatUint(d.Sequence, 10))
	to.Set(headerFailures, strconv.Itoa(d.Failures))
	to.Set(headerReason, d.Reason)
}

// readDeadLetter is the reverse of header. It returns nil for other messages.
func readDeadLetter(from nats.Header) *deadLetter {
	if from.Get(headerTopic) == "" {
		return nil
	}
	d := &deadLetter{Topic: from.Get(headerTopic), Group: from.Get(headerGroup), Reason: from.Get(headerReason)}
	d.Sequence, _ = strconv.ParseUint(from.Get(headerSequence), 10, 64)
	d.Failures, _ = strconv.Atoi(from.Get(headerFailures))
	return d
}

// failed handles the failure of a message: the storage delivers it again after a delay,
// or it becomes a dead letter.
func (p *pusher) failed(h *held, reason string) error {
	n := p.b.failures.add(h)
	if p.b.maxDeliver > 0 && n >= p.b.maxDeliver && p.Topic != p.b.deadTopic {
		err := p.bury(h, n, reason)
		if err == nil {
			return nil
		}
		p.log.Warn("a dead letter is not stored: its message is delivered again", "topic", p.Topic, "group", p.Group,
			"sequence", h.sequence, "to", p.b.deadTopic, "err", err)
	}
	delay := p.b.retryDelay << min(n-1, maxDoublings)
	p.log.Info("a consumer could not do its work", "topic", p.Topic, "group", p.Group,
		"sequence", h.sequence, "times", n, "err", reason, "again in", delay)
	return p.b.held.release(h).NakWithDelay(delay)
}

// bury stores a message as a dead letter, and then acknowledges it.
func (p *pusher) bury(h *held, n int, reason string) error {
	d := deadLetter{Topic: p.Topic, Group: p.Group, Sequence: h.sequence, Failures: n, Reason: oneLine(reason)}
	last := p.b.held.last(h)
	// The name is the same if another broker, or this one after a restart, stores the
	// dead letter again.
	id := "dead-" + p.Topic + "-" + p.Group + "-" + strconv.FormatUint(h.sequence, 10)
	m := message(p.b.deadTopic, id, last.Data)
	d.header(m.Header)
	ctx, cancel := context.WithTimeout(context.Background(), engineAnswer)
	defer cancel()
	if err := p.b.queues.store(ctx, p.b.deadTopic, m); err != nil {
		return err
	}
	p.log.Warn("a message has failed too often: it is a dead letter now", "topic", p.Topic, "group", p.Group,
		"sequence", h.sequence, "times", n, "err", reason, "to", p.b.deadTopic)
	p.b.failures.forget(h)
	return p.b.held.release(h).Ack()
}

// oneLine shortens a text and makes it a single line, as a header requires.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "..."
	}
	return text
}
