package main

// The receiving of messages from producers: the broker stores and then acknowledges them.

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/singchia/geminio"
)

const (
	// maxIntake and maxIntakeBytes bound the messages of one connection that are being
	// stored. A producer with more messages waits, since the broker stops receiving.
	maxIntake      = 512
	maxIntakeBytes = 8 << 20
	// maxID is the length of the longest name of a message.
	maxID = 128
	// shortestPause and longestPause bound the pauses between attempts to store a message
	// without space.
	shortestPause, longestPause = 5 * time.Millisecond, 250 * time.Millisecond
)

// intake stores the messages of one connection. One goroutine receives the messages and
// begins to store each. Another one waits until each is stored, in the same order, and
// answers.
//
// If a message cannot be stored, the second goroutine tries again until the timeout of
// the producer. Meanwhile the first one begins no message, so that later messages do not
// overtake it, except those that were already under way.
type intake struct {
	b        *broker
	clientID uint64
	queue    chan *published
	done     chan struct{} // closed when all messages are answered
	behind   atomic.Int64  // messages in the queue that were not begun or have failed

	mu    sync.Mutex
	bytes int
	freed sync.Cond
}

// published is one message.
type published struct {
	geminio.Message
	id     string
	until  time.Time              // the time to give up, before the producer does; zero: never
	stored jetstream.PubAckFuture // nil: not begun
}

func newIntake(b *broker, clientID uint64) *intake {
	in := &intake{b: b, clientID: clientID, queue: make(chan *published, maxIntake), done: make(chan struct{})}
	in.freed.L = &in.mu
	go in.settle()
	return in
}

// receive receives messages until the connection ends, and returns the cause.
func (in *intake) receive(end geminio.End) error {
	for {
		msg, err := end.Receive(context.Background())
		if err != nil {
			return err
		}
		p, err := in.b.look(msg)
		if err != nil {
			msg.Error(err) // the producer gets the error
			continue
		}
		in.reserve(len(msg.Data()))
		if in.behind.Load() == 0 {
			p.stored = in.b.queues.begin(msg.Topic(), p.id, msg.Data())
		}
		if p.stored == nil {
			in.behind.Add(1)
		}
		in.queue <- p
	}
}

// finish waits until all received messages are answered, also if the connection is lost:
// when the producer reconnects, the library repeats the answer and does not hand the
// message out again.
func (in *intake) finish() {
	close(in.queue)
	<-in.done
}

// look returns an error if a message is not accepted.
func (b *broker) look(msg geminio.Message) (*published, error) {
	if err := checkName("topic", msg.Topic()); err != nil {
		return nil, err
	}
	p := &published{Message: msg, id: string(msg.Custom())}
	if p.id == "" {
		p.id = b.session + "-" + strconv.FormatUint(b.ids.Add(1), 10)
	}
	if len(p.id) > maxID {
		return nil, fmt.Errorf("the message's name has %d bytes: at most %d, please", len(p.id), maxID)
	}
	for _, c := range []byte(p.id) {
		if c <= ' ' || c > '~' {
			return nil, fmt.Errorf("%q is no name for a message: it has printable ASCII without spaces", p.id)
		}
	}
	if max := b.largest(); len(msg.Data()) > max {
		return nil, tooLarge(fmt.Sprintf("the message has %d bytes: at most %d, please", len(msg.Data()), max))
	}
	if t := msg.Timeout(); t > 0 {
		// The broker gives up a little earlier than the producer, so that its error
		// states the reason.
		p.until = time.Now().Add(t - min(t/10, time.Second))
	}
	return p, nil
}

// tooLarge is the error of a message with too many bytes. At the producer it matches
// geminio.ErrTooLarge.
type tooLarge string

func (e tooLarge) Error() string { return string(e) }

// Code implements geminio.Coder.
func (e tooLarge) Code() geminio.Code { return geminio.CodeTooLarge }

// overhead is an upper bound of the bytes that a message needs in its topic besides its
// data.
const overhead = 1 << 10

// largest returns the largest size of a message. A larger one would not even fit into an
// empty topic.
func (b *broker) largest() int {
	return int(min(int64(b.engine.maxMessage()), max(b.queues.maxBytes-overhead, 0)))
}

// reserve waits until there is space for a number of bytes, or no other message is under
// way.
func (in *intake) reserve(bytes int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for in.bytes > 0 && in.bytes+bytes > maxIntakeBytes {
		in.freed.Wait()
	}
	in.bytes += bytes
}

func (in *intake) release(bytes int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.bytes -= bytes
	in.freed.Signal()
}

// settle waits until each message is stored, and answers.
func (in *intake) settle() {
	defer close(in.done)
	for p := range in.queue {
		err := errNotBegun
		if p.stored != nil {
			select {
			case <-p.stored.Ok():
				err = nil
			case err = <-p.stored.Err():
				in.behind.Add(1)
			case <-in.b.failed:
				err = errStorage
				in.behind.Add(1)
			}
		}
		if err != nil {
			err = in.insist(p, err)
			in.behind.Add(-1)
		}
		in.release(len(p.Data()))
		if in.b.ctx.Err() != nil && err != nil {
			continue // no answer: the producer publishes it again to the next broker
		}
		if err = p.Error(err); err != nil { // a nil error is Done
			in.b.Log.Debug("the answer is not sent", "client", in.clientID, "err", err)
		}
	}
}

// errNotBegun is the error of a message that waited behind others and was not stored.
var errNotBegun = errors.New("not begun")

// insist stores a message after a failed attempt. It gives up if a further attempt cannot
// succeed, and if the producer no longer waits.
func (in *intake) insist(p *published, err error) error {
	pause := shortestPause
	if err != errNotBegun {
		pause = in.pause(p, err, pause)
	}
	for pause > 0 {
		if err = in.b.queues.store(in.b.ctx, p.Topic(), message(p.Topic(), p.id, p.Data())); err == nil {
			return nil
		}
		pause = in.pause(p, err, pause)
	}
	switch {
	case isFull(err):
		return errFull
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("the broker's storage does not answer: %v", err)
	case errors.Is(err, errNoRoom) && in.b.seldom.Now(err.Error()):
		in.b.Log.Warn(err.Error())
	}
	return err
}

// pause waits before the next attempt, and returns the next pause, or 0 if there is no
// further attempt.
func (in *intake) pause(p *published, err error, pause time.Duration) time.Duration {
	if isFinal(err) {
		return 0
	}
	in.tell(p, err)
	if in.b.clients.away(in.clientID) > sessionKeep {
		return 0
	}
	if !p.until.IsZero() {
		left := time.Until(p.until)
		if left <= 0 {
			return 0
		}
		pause = min(pause, left)
	}
	in.b.waiting.add(p.Topic(), 1)
	defer in.b.waiting.add(p.Topic(), -1)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-in.b.ctx.Done():
		return 0
	}
	return min(2*pause, longestPause)
}

// tell logs once in a while why a producer waits.
func (in *intake) tell(p *published, err error) {
	switch {
	case errors.Is(err, errDiskFull): // disk logs this error
	case isFull(err):
		if in.b.seldom.Now("full: " + p.Topic()) {
			in.b.Log.Warn("a topic is full: its producers wait", "topic", p.Topic(), "err", err)
		}
	case in.b.seldom.Now(p.Topic() + err.Error()):
		in.b.Log.Warn("a message is not stored yet", "topic", p.Topic(), "err", err)
	}
}
