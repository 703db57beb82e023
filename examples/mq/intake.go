package main

// What producers publish: it is stored, and acknowledged then.

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
	// maxIntake and maxIntakeBytes bound what of one connection is being stored. A
	// producer that has more waits: geminio holds back its messages.
	maxIntake      = 512
	maxIntakeBytes = 8 << 20
	// maxID is the longest name of a message.
	maxID = 128
	// Between attempts to store a message for which there is no room.
	shortestPause, longestPause = 5 * time.Millisecond, 250 * time.Millisecond
)

// intake stores what one connection publishes. One goroutine receives the messages and
// begins to store each, another one waits until it is stored, in the same order, and
// answers.
//
// Where a message cannot be stored, the second one tries again, for as long as the
// producer's patience lasts. Meanwhile the first one begins nothing, so that messages
// which follow do not overtake it, but for those that were under way already.
type intake struct {
	b        *broker
	clientID uint64
	queue    chan *published
	done     chan struct{} // closed when all is answered
	behind   atomic.Int64  // messages in the queue that are not begun, or must be tried again

	mu    sync.Mutex
	bytes int
	freed sync.Cond
}

// published is one message.
type published struct {
	geminio.Message
	id     string
	until  time.Time              // when to give up, which is before the producer does; zero: never
	stored jetstream.PubAckFuture // nil: not begun
}

func newIntake(b *broker, clientID uint64) *intake {
	in := &intake{b: b, clientID: clientID, queue: make(chan *published, maxIntake), done: make(chan struct{})}
	in.freed.L = &in.mu
	go in.settle()
	return in
}

// receive takes messages until the connection ends, and returns why it did.
func (in *intake) receive(end geminio.End) error {
	for {
		msg, err := end.Receive(context.Background())
		if err != nil {
			return err
		}
		p, err := in.b.look(msg)
		if err != nil {
			msg.Error(err) // the producer learns why
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

// finish waits until what was received is answered. Also if the connection is lost: to
// the producer that comes back the library gives the answer then, and does not hand the
// message out again.
func (in *intake) finish() {
	close(in.queue)
	<-in.done
}

// look returns why a message is not taken.
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
		// A little earlier than the producer, so that its error has the reason.
		p.until = time.Now().Add(t - min(t/10, time.Second))
	}
	return p, nil
}

// tooLarge is the error of a message that has too many bytes. At the producer it matches
// geminio.ErrTooLarge.
type tooLarge string

func (e tooLarge) Error() string { return string(e) }

// Code implements geminio.Coder.
func (e tooLarge) Code() geminio.Code { return geminio.CodeTooLarge }

// overhead is what a message takes of its topic beside its data, at most about.
const overhead = 1 << 10

// largest is how many bytes a message may have: one that no empty topic has room for
// would wait for ever.
func (b *broker) largest() int {
	return int(min(int64(b.engine.maxMessage()), max(b.queues.maxBytes-overhead, 0)))
}

// reserve waits until there is room for so many bytes, or nothing else.
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

// settle sees to it that each message is stored, and answers.
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
			continue // no answer: the producer publishes it again, to who comes after this broker
		}
		if err = p.Error(err); err != nil { // a nil error is Done
			in.b.Log.Debug("the answer is not sent", "client", in.clientID, "err", err)
		}
	}
}

// errNotBegun is why a message is not stored that waited behind others.
var errNotBegun = errors.New("not begun")

// insist stores a message, after an attempt that failed. It gives up when it is no use,
// and when nobody waits for it any more.
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

// pause waits before the next attempt, and returns how long to wait before the one
// after that; 0 if there is none to be.
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

// tell logs why a producer waits, once in a while.
func (in *intake) tell(p *published, err error) {
	switch {
	case errors.Is(err, errDiskFull): // is logged where it is found out
	case isFull(err):
		if in.b.seldom.Now("full: " + p.Topic()) {
			in.b.Log.Warn("a topic is full: its producers wait", "topic", p.Topic(), "err", err)
		}
	case in.b.seldom.Now(p.Topic() + err.Error()):
		in.b.Log.Warn("a message is not stored yet", "topic", p.Topic(), "err", err)
	}
}
