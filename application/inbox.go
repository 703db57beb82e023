package application

import (
	"context"
	"io"
	"sync"
	"time"
)

// inbox holds the messages of a stream that have arrived and that Receive has not returned.
// The credit of the peer bounds it. Its methods are safe for concurrent use.
type inbox struct {
	ready chan struct{} // has one buffered element if next may return a message or an error

	mu       sync.Mutex
	queue    []*message
	head     int    // the index of the first message in queue
	topic    string // of the last message; further messages with that topic share its memory
	ended    bool   // the stream has ended: after the last message next returns io.EOF
	discards bool   // put rejects messages

	// begun has the messages that Receive has returned, that have no answer, and whose
	// beginning was reported to an Observer.
	begun map[*message]begunMessage
}

// begunMessage is what the event of a received message needs beside what the program cannot change
// in the message. It is small, so that a map of it allocates nothing for each element.
type begunMessage struct {
	ctx   context.Context // of Receive
	topic string
	size  int // of data and custom
	begin time.Time
}

// newInbox makes the inbox of a stream, which may have ended or discard its messages already.
func newInbox(ended, discards bool) *inbox {
	b := &inbox{ready: make(chan struct{}, 1), ended: ended, discards: discards}
	if ended {
		b.signal()
	}
	return b
}

// signal wakes one goroutine that waits in get.
func (b *inbox) signal() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// put adds a message with a topic. It reports false if the inbox discards messages.
func (b *inbox) put(m *message, topic []byte) bool {
	b.mu.Lock()
	if b.discards {
		b.mu.Unlock()
		return false
	}
	if b.topic != string(topic) {
		b.topic = string(topic)
	}
	m.topic = b.topic
	b.queue = append(b.queue, m)
	b.mu.Unlock()
	b.signal()
	return true
}

// end is called when the stream has ended. It returns begun, which gets no more messages.
func (b *inbox) end() (begun map[*message]begunMessage) {
	b.mu.Lock()
	b.ended = true
	begun, b.begun = b.begun, nil
	b.mu.Unlock()
	b.signal()
	return begun
}

// begin adds m, whose beginning was reported, to begun. It reports false if the stream has ended.
func (b *inbox) begin(m *message, v begunMessage) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return false
	}
	if b.begun == nil {
		b.begun = make(map[*message]begunMessage)
	}
	b.begun[m] = v
	return true
}

// answer removes m from begun, and reports whether m was there.
func (b *inbox) answer(m *message) (v begunMessage, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, ok = b.begun[m]
	delete(b.begun, m)
	return v, ok
}

// drop removes and returns the messages of the inbox. From now on put rejects messages.
func (b *inbox) drop() []*message {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.discards = true
	all := b.queue[b.head:]
	b.queue, b.head = nil, 0
	return all
}

// get returns the next message, and waits for it until ctx ends. When the stream has ended
// and no messages are left, it returns io.EOF.
func (b *inbox) get(ctx context.Context) (*message, error) {
	for {
		if m, err := b.next(); m != nil || err != nil {
			return m, err
		}
		select {
		case <-b.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// next returns the next message. If there is none, it returns io.EOF after the end of the
// stream, and a nil message and a nil error before. If a further call would return a message
// or io.EOF, next wakes the next goroutine.
func (b *inbox) next() (*message, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.head == len(b.queue) {
		if b.ended {
			b.signal()
			return nil, io.EOF
		}
		return nil, nil
	}
	m := b.queue[b.head]
	b.queue[b.head] = nil
	b.head++
	if b.head == len(b.queue) {
		b.queue, b.head = b.queue[:0], 0
	}
	if b.head < len(b.queue) || b.ended {
		b.signal()
	}
	return m, nil
}
