package main

// Topics and groups in JetStream: a topic is a stream, and a group is a durable consumer
// of it.
//
// The retention of the stream is by interest: a message is kept until each durable
// consumer has acknowledged it. Without any consumer a message would not be kept at all.
// So a topic without groups has a consumer that requests no messages, the holder. It is
// deleted when the first group exists.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/singchia/geminio/examples/internal/cli"
)

const (
	streamPrefix  = "MQ_"
	subjectPrefix = "mq."
	holder        = "_holder" // not a valid name of a group

	// maxConsumers bounds the consumers of a group.
	maxConsumers = 8192
)

// queues are the topics. The methods are safe for concurrent use.
type queues struct {
	js     jetstream.JetStream
	disk   *disk // nil: another server stores the messages
	engine *engine

	// Read-only.
	maxMessages int64
	maxBytes    int64
	maxInFlight int // the limit for a group
	ackWait     time.Duration
	replicas    int

	mu     sync.Mutex
	topics map[string]*topic
}

// topic is a topic that is open or being opened.
type topic struct {
	name   string
	opened chan struct{}    // closed when the topic is open or has failed
	stream jetstream.Stream // set before opened is closed
	err    error
}

// use sets the engine, which was just opened.
func (q *queues) use(e *engine, d *disk) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.engine, q.js, q.disk, q.topics = e, e.js, d, nil
}

// open returns an open topic, and creates the topic if it does not exist. Concurrent
// callers wait for the same topic.
func (q *queues) open(ctx context.Context, name string) (*topic, error) {
	q.mu.Lock()
	t := q.topics[name]
	if t == nil {
		t = &topic{name: name, opened: make(chan struct{})}
		if q.topics == nil {
			q.topics = make(map[string]*topic)
		}
		q.topics[name] = t
		go q.make(context.WithoutCancel(ctx), t)
	}
	q.mu.Unlock()
	select {
	case <-t.opened:
		return t, t.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ready returns a topic if it is open, and otherwise nil.
func (q *queues) ready(name string) *topic {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.topics[name]
	if t == nil {
		return nil
	}
	select {
	case <-t.opened:
		return t
	default:
		return nil
	}
}

// forget makes the next open open the topic again.
func (q *queues) forget(t *topic) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.topics[t.name] == t {
		delete(q.topics, t.name)
	}
}

// make opens a topic.
func (q *queues) make(ctx context.Context, t *topic) {
	ctx, cancel := context.WithTimeout(ctx, engineAnswer)
	defer cancel()
	t.stream, t.err = q.openStream(ctx, jetstream.StreamConfig{
		Name:      streamPrefix + t.name,
		Subjects:  []string{subjectPrefix + t.name},
		Retention: jetstream.InterestPolicy,
		Storage:   jetstream.FileStorage,
		Discard:   jetstream.DiscardNew, // a message without space is refused
		MaxMsgs:   q.maxMessages,
		MaxBytes:  q.maxBytes,
		Replicas:  q.replicas,
	})
	if t.err == nil {
		t.err = q.hold(ctx, t)
	}
	if hasNoRoom(t.err) {
		t.err = q.noRoom(t.name)
	}
	if t.err != nil {
		q.forget(t)
	}
	close(t.opened)
}

// openStream returns the stream with a configuration. It does not update a stream that
// already has the configuration, since an update is refused if the disk has become too
// small for the reserved space.
func (q *queues) openStream(ctx context.Context, conf jetstream.StreamConfig) (jetstream.Stream, error) {
	stream, err := q.js.Stream(ctx, conf.Name)
	if err == nil {
		is := stream.CachedInfo().Config
		if is.MaxMsgs == conf.MaxMsgs && is.MaxBytes == conf.MaxBytes && is.Replicas == conf.Replicas {
			return stream, nil
		}
	} else if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, err
	}
	return q.js.CreateOrUpdateStream(ctx, conf)
}

// openConsumer is openStream for consumers.
func openConsumer(ctx context.Context, stream jetstream.Stream, conf jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	c, err := stream.Consumer(ctx, conf.Durable)
	if err == nil {
		is := c.CachedInfo().Config
		if is.AckWait == conf.AckWait && is.MaxAckPending == conf.MaxAckPending && is.MaxWaiting == conf.MaxWaiting {
			return c, nil
		}
	} else if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, err
	}
	return stream.CreateOrUpdateConsumer(ctx, conf)
}

// errNoRoom is the error of producers and consumers if a topic cannot be created.
var errNoRoom = errors.New("no room for the topic")

// hasNoRoom tells whether the storage has no space for another topic of that size.
func hasNoRoom(err error) bool {
	const insufficientStorage = 10047
	var refused *jetstream.APIError
	return errors.As(err, &refused) && refused.ErrorCode == insufficientStorage
}

// noRoom returns a text with the sizes.
func (q *queues) noRoom(topic string) error {
	there := "the NATS servers have less"
	if all, reserved, known := q.engine.capacity(); known {
		there = fmt.Sprintf("%s of %s are reserved (-max-store)", cli.Size(reserved), cli.Size(all))
	}
	return fmt.Errorf("%w %s: each topic reserves %s (-max-bytes), and %s", errNoRoom, topic, cli.Size(q.maxBytes), there)
}

// hold makes sure that the topic has groups or the holder. It checks twice, since another
// broker may create the first group at the same time.
func (q *queues) hold(ctx context.Context, t *topic) error {
	for {
		groups, held, err := q.groups(ctx, t)
		switch {
		case err != nil:
			return err
		case len(groups) > 0 && held:
			return q.unhold(ctx, t)
		case len(groups) > 0 || held:
			return nil
		}
		if err = q.makeHolder(ctx, t.stream, jetstream.DeliverAllPolicy); err != nil {
			return err
		}
	}
}

// makeHolder creates the holder, for all stored messages or for new ones only.
func (q *queues) makeHolder(ctx context.Context, stream jetstream.Stream, of jetstream.DeliverPolicy) error {
	_, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: holder, AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: of,
		Description: "keeps messages as long as there is no group",
	})
	if errors.Is(err, jetstream.ErrConsumerExists) {
		return nil
	}
	return err
}

// unhold deletes the holder.
func (q *queues) unhold(ctx context.Context, t *topic) error {
	err := t.stream.DeleteConsumer(ctx, holder)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil
	}
	return err
}

// groups returns the groups by name, and whether the holder exists.
func (q *queues) groups(ctx context.Context, t *topic) (groups []*jetstream.ConsumerInfo, held bool, err error) {
	list := t.stream.ListConsumers(ctx)
	for info := range list.Info() {
		if info.Name == holder {
			held = true
		} else {
			groups = append(groups, info)
		}
	}
	slices.SortFunc(groups, func(a, b *jetstream.ConsumerInfo) int { return strings.Compare(a.Name, b.Name) })
	return groups, held, list.Err()
}

// group returns a group of a topic, and creates both if they do not exist. A new group
// gets all messages that the topic has.
func (q *queues) group(ctx context.Context, topicName, name string) (jetstream.Consumer, error) {
	t, err := q.open(ctx, topicName)
	if err != nil {
		return nil, err
	}
	c, err := openConsumer(ctx, t.stream, jetstream.ConsumerConfig{
		Durable: name, AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait: q.ackWait, MaxAckPending: q.maxInFlight, MaxWaiting: maxConsumers,
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		q.forget(t)
	}
	if err != nil {
		return nil, err
	}
	return c, q.unhold(ctx, t)
}

// drop deletes a group. The messages that only this group had not acknowledged are
// deleted. If it is the last group, new messages are kept for the next one.
func (q *queues) drop(ctx context.Context, topicName, name string) error {
	stream, err := q.js.Stream(ctx, streamPrefix+topicName)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("there is no topic %s", topicName)
	case err != nil:
		return err
	}
	// The holder is created first, since a message without any consumer would be deleted
	// at once.
	if err := q.makeHolder(ctx, stream, jetstream.DeliverNewPolicy); err != nil {
		return err
	}
	err = stream.DeleteConsumer(ctx, name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		err = fmt.Errorf("topic %s has no group %s", topicName, name)
	}
	return errors.Join(err, q.hold(ctx, &topic{name: topicName, stream: stream}))
}

// stats returns the state of the given topics, or of all topics.
func (q *queues) stats(ctx context.Context, topics []string) ([]topicStats, error) {
	if len(topics) == 0 {
		list := q.js.StreamNames(ctx, jetstream.WithStreamListSubject(subjectPrefix+"*"))
		for name := range list.Name() {
			if name, ok := strings.CutPrefix(name, streamPrefix); ok {
				topics = append(topics, name)
			}
		}
		if err := list.Err(); err != nil {
			return nil, err
		}
		slices.Sort(topics)
	}
	all := make([]topicStats, 0, len(topics))
	for _, name := range topics {
		s, err := q.topicStats(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func (q *queues) topicStats(ctx context.Context, name string) (topicStats, error) {
	if err := checkName("topic", name); err != nil {
		return topicStats{}, err
	}
	stream, err := q.js.Stream(ctx, streamPrefix+name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return topicStats{}, fmt.Errorf("there is no topic %s", name)
	}
	if err != nil {
		return topicStats{}, err
	}
	info := stream.CachedInfo()
	s := topicStats{
		Topic: name, Messages: info.State.Msgs, Bytes: info.State.Bytes,
		MaxMessages: info.Config.MaxMsgs, MaxBytes: info.Config.MaxBytes, Groups: []groupStats{},
	}
	groups, _, err := q.groups(ctx, &topic{stream: stream})
	for _, g := range groups {
		s.Groups = append(s.Groups, groupStats{
			Group: g.Name, Pending: g.NumPending, InFlight: g.NumAckPending, Redelivered: g.NumRedelivered,
		})
	}
	return s, err
}

// message makes a NATS message. The id is the same each time the message is published.
func message(topic, id string, data []byte) *nats.Msg {
	return &nats.Msg{
		Subject: subjectPrefix + topic, Data: data,
		Header: nats.Header{jetstream.MsgIDHeader: []string{id}},
	}
}

// begin begins to store a message. It returns nil if the topic is not open, or if too
// many messages are being stored.
func (q *queues) begin(topic, id string, data []byte) jetstream.PubAckFuture {
	if q.ready(topic) == nil || q.disk.check() != nil {
		return nil
	}
	stored, err := q.js.PublishMsgAsync(message(topic, id, data), jetstream.WithRetryAttempts(0))
	if err != nil {
		return nil
	}
	return stored
}

// store stores a message in a topic.
func (q *queues) store(ctx context.Context, topic string, m *nats.Msg) error {
	if err := q.disk.check(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, engineAnswer)
	defer cancel()
	t, err := q.open(ctx, topic)
	if err != nil {
		return err
	}
	_, err = q.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		q.forget(t) // the stream was deleted, or the storage is not available
	}
	return err
}

// errFull is the error of a producer if there was no space until its timeout.
var errFull = errors.New("the topic is full")

// isFull tells whether an error means that there is no space.
func isFull(err error) bool {
	const storeFailed = 10077 // the code of errors with one of these texts
	var refused *jetstream.APIError
	return errors.As(err, &refused) && refused.ErrorCode == storeFailed &&
		(strings.Contains(refused.Description, "maximum messages exceeded") ||
			strings.Contains(refused.Description, "maximum bytes exceeded"))
}

// isFinal tells whether a further attempt cannot succeed.
func isFinal(err error) bool {
	var refused *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return false // the topic is created again
	case errors.Is(err, errNoRoom):
		return true
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum):
		return true
	case errors.As(err, &refused):
		return refused.Code >= 400 && refused.Code < 500
	}
	return false
}
