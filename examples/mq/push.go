package main

// The messages to consumers: the broker pulls them from the storage, publishes them on
// the stream of a subscription, and reports the outcome to the storage.

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

const (
	// maxBatch bounds the number of messages of one request.
	maxBatch = 256
	// retryPause is the pause between requests if the storage does not answer.
	retryPause = 250 * time.Millisecond
)

// errStopping is the error of a subscription while the broker stops.
var errStopping = errors.New("the broker is stopping")

// pushers are the subscriptions of one connection.
type pushers struct {
	b   *broker
	end geminio.End
	log *slog.Logger

	mu   sync.Mutex
	over bool
	wg   sync.WaitGroup // mu is held for Add
}

// subscribe answers calls of methodSubscribe.
func (ps *pushers) subscribe(ctx context.Context, data []byte) (any, error) {
	var s subscription
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.Window < 1 || s.Window > maxWindow {
		return nil, fmt.Errorf("a window has from 1 to %d messages", maxWindow)
	}
	ps.mu.Lock()
	if ps.over {
		ps.mu.Unlock()
		return nil, io.EOF
	}
	ps.wg.Add(1)
	ps.mu.Unlock()
	p := &pusher{pushers: ps, subscription: s, key: s.Topic + "/" + s.Group}
	if err := p.begin(ctx); err != nil {
		ps.wg.Done()
		if errors.Is(err, errNoRoom) && ps.b.seldom.Now(err.Error()) {
			ps.log.Warn(err.Error())
		}
		if isFinal(err) {
			return nil, err
		}
		ps.log.Info("not subscribed for now", "topic", s.Topic, "group", s.Group, "err", err)
		return subscribed{Later: err.Error()}, nil
	}
	go func() {
		defer ps.wg.Done()
		p.run()
	}()
	return subscribed{}, nil
}

// finish waits for the end of all subscriptions, after the end of the connection.
func (ps *pushers) finish() {
	ps.mu.Lock()
	ps.over = true
	ps.mu.Unlock()
	ps.wg.Wait()
}

// pusher is one subscription. One goroutine pulls messages and publishes them, another
// one receives the answers, and a third one extends the time for the acknowledgements.
type pusher struct {
	*pushers
	subscription
	key     string // topic/group
	group   jetstream.Consumer
	stream  geminio.Stream
	slots   chan struct{}         // has one element for each message that the consumer has or that is requested
	answers chan *geminio.Publish // has a buffer for all of them

	pushed     uint64  // the number of pushed messages; used by the goroutine that pulls
	unanswered []*held // messages without an answer when the subscription ended

	mu   sync.Mutex
	sent map[geminio.Message]*held
}

// begin creates the group, if it does not exist, and opens the stream.
func (p *pusher) begin(ctx context.Context) (err error) {
	if p.b.ctx.Err() != nil {
		return errStopping
	}
	ctx, cancel := context.WithTimeout(ctx, engineAnswer)
	defer cancel()
	if p.group, err = p.b.queues.group(ctx, p.Topic, p.Group); err != nil {
		return err
	}
	opt := options.OpenStream()
	opt.SetMeta([]byte(p.ID))
	opt.SetTimeout(engineAnswer)
	p.stream, err = p.end.OpenStream(opt)
	return err
}

// run delivers messages until the stream or the broker ends, and handles the answers.
func (p *pusher) run() {
	p.slots = make(chan struct{}, p.Window)
	p.answers = make(chan *geminio.Publish, p.Window)
	p.sent = make(map[geminio.Message]*held)
	p.b.takers.add(p.key, 1)
	defer p.b.takers.add(p.key, -1)
	p.log.Info("subscribed", "topic", p.Topic, "group", p.Group, "window", p.Window)

	ctx, cancel := context.WithCancel(p.b.ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer p.stream.Close()
	wg.Go(func() {
		defer cancel()
		p.watch()
	})
	over := make(chan struct{})
	defer close(over)
	wg.Go(func() { p.extend(over) })
	pulled := make(chan error, 1)
	wg.Go(func() { pulled <- p.pull(ctx) })
	var late <-chan time.Time
	for pulling := true; pulling || len(p.outstanding()) > 0; {
		select {
		case a := <-p.answers:
			p.answered(a)
		case err := <-pulled:
			p.log.Info("no longer subscribed", "topic", p.Topic, "group", p.Group, "why", err)
			pulling = false
			if p.b.ctx.Err() == nil {
				p.stream.Close() // all outstanding messages then fail
			} else {
				late = time.After(p.b.grace()) // the consumer may finish its messages
			}
		case <-late:
			p.stream.Close()
		}
	}
	p.giveBack()
}

// watch returns when the stream has ended. The consumer sends no bytes on it.
func (p *pusher) watch() {
	for {
		msg, err := p.stream.Receive(context.Background())
		if err != nil {
			return
		}
		msg.Error(errors.New("only the broker publishes here"))
	}
}

// pull delivers messages until ctx or the group ends, and returns the cause. It requests
// no more messages than the consumer may have, since the storage would not deliver the
// others to another consumer.
func (p *pusher) pull(ctx context.Context) error {
	from := newPuller(p.b.engine, p.group)
	defer from.close()
	for {
		n, err := p.reserve(ctx)
		if err != nil {
			return err
		}
		got, err := from.pull(ctx, n, p.push)
		for range n - got {
			<-p.slots
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errNoGroup):
			return err
		case err != nil:
			p.log.Info("the storage gives nothing", "topic", p.Topic, "group", p.Group, "err", err)
			sleep(ctx, retryPause)
		}
	}
}

// reserve waits until the consumer may have another message, and returns the number of
// messages that it may have.
func (p *pusher) reserve(ctx context.Context) (int, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	for n := 1; n < maxBatch; n++ {
		select {
		case p.slots <- struct{}{}:
		default:
			return n, nil
		}
	}
	return maxBatch, nil
}

// push publishes a message to the consumer, unless a consumer already has it. It waits
// while the consumer has no credit. The consumer may take any time for its answer: the
// message belongs to it as long as its connection exists.
func (p *pusher) push(m *nats.Msg) {
	about, err := m.Metadata()
	var custom []byte
	if err == nil {
		custom, err = json.Marshal(delivery{Sequence: about.Sequence.Stream, Nth: about.NumDelivered, Dead: readDeadLetter(m.Header)})
	}
	if err != nil {
		p.log.Error("a message of the storage is not as it should be", "topic", p.Topic, "err", err)
		<-p.slots
		return
	}
	h := p.b.held.hold(p.key, about.Sequence.Stream, m)
	if h == nil {
		<-p.slots
		return
	}
	p.pushed++
	h.order = p.pushed
	opt := options.NewMessage()
	opt.SetTopic(p.Topic)
	opt.SetCustom(custom)
	msg := p.stream.NewMessage(m.Data, opt)
	p.mu.Lock()
	p.sent[msg] = h
	p.mu.Unlock()
	if _, err := p.stream.PublishAsync(context.Background(), msg, p.answers); err != nil {
		p.answers <- &geminio.Publish{Message: msg, Error: err}
	}
}

// outstanding returns the messages without an answer.
func (p *pusher) outstanding() []*held {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.sent))
}

// answered reports the outcome of a message to the storage. If the report does not
// arrive, the storage delivers the message again.
func (p *pusher) answered(a *geminio.Publish) {
	p.mu.Lock()
	h := p.sent[a.Message]
	delete(p.sent, a.Message)
	p.mu.Unlock()
	<-p.slots
	var err error
	var failed *geminio.RemoteError
	switch {
	case a.Error == nil:
		p.b.failures.forget(h)
		err = p.b.held.release(h).Ack()
	case errors.As(a.Error, &failed) && !errors.As(a.Error, new(*geminio.InterruptedError)):
		err = p.failed(h, failed.Text)
	default: // the subscription has ended
		p.unanswered = append(p.unanswered, h)
	}
	if err != nil {
		p.log.Info("the storage does not hear what became of a message", "topic", p.Topic, "group", p.Group, "err", err)
	}
}

// giveBack gives the unanswered messages to other consumers, at once and in order. If the
// consumer was lost without ending the subscription, it was working on the first of these
// messages, which counts as failed.
func (p *pusher) giveBack() {
	var atHand *held
	if len(p.unanswered) > 0 && p.b.maxDeliver > 0 && p.lost() {
		atHand = slices.MinFunc(p.unanswered, func(a, b *held) int { return cmp.Compare(a.order, b.order) })
	}
	slices.SortFunc(p.unanswered, func(a, b *held) int { return cmp.Compare(a.sequence, b.sequence) })
	for _, h := range p.unanswered {
		var err error
		if h == atHand {
			err = p.failed(h, "the consumer was lost while it had the message")
		} else {
			err = p.b.held.release(h).Nak()
		}
		if err != nil {
			p.log.Info("the storage does not take a message back", "topic", p.Topic, "group", p.Group, "err", err)
		}
	}
}

// lost tells whether the consumer's connection has broken.
func (p *pusher) lost() bool {
	cause := geminio.Cause(p.end)
	return p.b.ctx.Err() == nil && cause != nil && cause != io.EOF && !errors.Is(cause, geminio.ErrGoingAway)
}

// sleep waits, and returns false if ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
