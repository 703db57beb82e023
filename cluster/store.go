package cluster

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The messages of the store of a cluster with the name N have the subject N.s.<group>, with the name of the
// group in base64. A message is a frame with a request of broadcastKind, and has the sequence of the message
// of the group before it in the header previousHeader, as far as the node that published it knew.
const (
	storeToken     = "s"
	previousHeader = "Geminio-Previous"
)

// storeKey is the key of the bucket that says that the store exists, so that nodes follow it.
const storeKey = "s"

// maxStoreHeaders bounds the bytes of the headers of NATS of a message of the store.
const maxStoreHeaders = 128

// store is the JetStream stream with the messages of [Node.BroadcastStored]. It is made when the first
// message is stored. Each node follows it with one consumer, which brings the sequences of all messages, and
// reads a message when a client of the node is to get it. All methods are safe for concurrent use.
type store struct {
	js      jetstream.JetStream
	bucket  *bucket
	cursors *bucket
	subject string // the subjects without the group
	config  jetstream.StreamConfig
	fetched fetched

	exists chan struct{} // closed when the bucket says that the stream exists

	mu     sync.Mutex
	stream jetstream.Stream  // nil before it was opened
	latest map[string]latest // by group
	tail   uint64            // all messages up to this sequence are in latest; 0 before latest is complete
}

// latest are the sequences of the last two messages of a group that a node has seen. There is no message of
// the group between the two.
type latest struct {
	before, last uint64
	noted        time.Time // when the node has seen the last one
}

// newStore returns the store of a cluster. It does not use the connection yet.
func newStore(b *bucket, o *Options) *store {
	s := &store{
		js: b.js, bucket: b, cursors: b.cursors(), subject: o.Name + "." + storeToken + ".",
		exists: make(chan struct{}), latest: make(map[string]latest),
		config: jetstream.StreamConfig{
			Name: "GROUPS_" + o.Name, Description: "stored messages for groups of a geminio cluster",
			Subjects: []string{o.Name + "." + storeToken + ".*"}, Replicas: o.Replicas,
			MaxAge: o.StoreMaxAge, MaxBytes: o.StoreMaxBytes, Discard: jetstream.DiscardOld,
		},
	}
	s.fetched.clear()
	return s
}

// subjectOf returns the subject of a group.
func (s *store) subjectOf(group string) string {
	return s.subject + base64.RawURLEncoding.EncodeToString([]byte(group))
}

// groupOf returns the group of a subject.
func (s *store) groupOf(subject string) (string, bool) {
	name, ok := strings.CutPrefix(subject, s.subject)
	group, err := base64.RawURLEncoding.DecodeString(name)
	return string(group), ok && err == nil
}

// setExists is called when the bucket says that the stream exists.
func (s *store) setExists() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isThere() {
		close(s.exists)
	}
}

// isThere reports whether this node knows that the stream exists.
func (s *store) isThere() bool { return isDone(s.exists) }

// open returns the stream, or jetstream.ErrStreamNotFound.
func (s *store) open(ctx context.Context) (jetstream.Stream, error) {
	s.mu.Lock()
	stream := s.stream
	s.mu.Unlock()
	if stream != nil {
		return stream, nil
	}
	return s.reopen(ctx)
}

// reopen is like open, but always asks NATS. If the stream was deleted, reopen clears latest, tail and
// fetched, which describe the messages of that stream.
func (s *store) reopen(ctx context.Context) (jetstream.Stream, error) {
	stream, err := s.js.Stream(ctx, s.config.Name)
	deleted := errors.Is(err, jetstream.ErrStreamNotFound)
	if err != nil && !deleted {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream != nil && (deleted || !s.stream.CachedInfo().Created.Equal(stream.CachedInfo().Created)) {
		s.latest, s.tail = make(map[string]latest), 0
		s.fetched.clear()
	}
	s.stream = stream // nil if it was deleted
	return stream, err
}

// last returns the sequence of the last message of all groups; 0 if there is no stream.
func (s *store) last(ctx context.Context) (uint64, error) {
	stream, err := s.js.Stream(ctx, s.config.Name) // asks the leader of the stream
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// publish stores a message for a group, and returns when the stream has stored it.
func (s *store) publish(ctx context.Context, group string, data []byte) error {
	s.mu.Lock()
	before := s.latest[group].last
	s.mu.Unlock()
	m := &nats.Msg{Subject: s.subjectOf(group), Data: data, Header: nats.Header{}}
	m.Header.Set(previousHeader, strconv.FormatUint(before, 10))
	if s.isThere() {
		_, err := s.js.PublishMsg(ctx, m)
		if !errors.Is(err, jetstream.ErrNoStreamResponse) {
			return err
		}
	}
	if err := s.create(ctx); err != nil {
		return fmt.Errorf("create the store: %w", err)
	}
	_, err := s.js.PublishMsg(ctx, m)
	return err
}

// create creates the bucket of the cursors and the stream unless they exist, and then the entry of the bucket.
func (s *store) create(ctx context.Context) error {
	if _, err := s.cursors.open(ctx); err != nil {
		return err
	}
	cfg := s.config
	cfg.FirstSeq = uint64(time.Now().UnixMicro()) // higher than the sequences of a stream that was deleted
	_, err := s.js.CreateStream(ctx, cfg)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return err
	}
	_, err = await(ctx, func() (jetstream.PubAckFuture, error) { return s.js.PublishAsync(s.bucket.subject(storeKey), nil) })
	if err == nil {
		s.setExists()
	}
	return err
}

// follow keeps latest up to date until ctx ends, and calls f for each group that has a new message.
func (s *store) follow(ctx context.Context, f func(group string)) error {
	select {
	case <-s.exists:
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, err := s.reopen(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	tail := s.tail
	s.mu.Unlock()
	cfg := jetstream.OrderedConsumerConfig{HeadersOnly: true, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy}
	if tail > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, tail+1
	}
	c, err := s.js.OrderedConsumer(ctx, s.config.Name, cfg)
	if err != nil {
		return err
	}
	messages, err := c.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		md, err := m.Metadata()
		if err != nil {
			return err
		}
		if group, ok := s.groupOf(m.Subject()); ok {
			s.note(group, md.Sequence.Stream, md.NumPending)
			f(group)
		}
	}
}

// note stores the sequence of a message, behind which the consumer has pending further ones.
func (s *store) note(group string, seq, pending uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.latest[group]
	if seq > l.last {
		if s.tail == 0 || l.last == 0 {
			l.last = seq - 1 // there may be other messages before
		}
		s.latest[group] = latest{l.last, seq, time.Now()}
	}
	// The consumer brings the last message of each group first, in their order, and then all further ones.
	if s.tail > 0 || pending == 0 {
		s.tail = max(s.tail, seq)
	}
}

// position returns what note has stored for a group, and the sequence up to which all messages are known.
func (s *store) position(group string) (l latest, tail uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest[group], s.tail
}

// forget drops the groups without members whose messages the stream has removed.
func (s *store) forget(hasMembers func(group string) bool) {
	maxAge := s.maxAge()
	if maxAge == 0 {
		return
	}
	before := time.Now().Add(-maxAge - markerTTL)
	s.mu.Lock()
	defer s.mu.Unlock()
	for group, l := range s.latest {
		if l.noted.Before(before) && !hasMembers(group) {
			delete(s.latest, group)
		}
	}
}

// maxAge returns how long the stream keeps messages; 0 if it has no limit or is not open.
func (s *store) maxAge() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream == nil {
		return 0
	}
	return s.stream.CachedInfo().Config.MaxAge
}

// next returns the first message of a group whose sequence is higher than after, or nil if there is none.
func (s *store) next(ctx context.Context, group string, after uint64) (*stored, error) {
	if l, _ := s.position(group); l.before <= after && after < l.last {
		after = l.before // members that have all messages share what is fetched
	}
	return s.fetched.get(ctx, fetchKey{group, after}, func(ctx context.Context) (*stored, error) {
		ctx, cancel := context.WithTimeout(ctx, s.bucket.patience)
		defer cancel()
		stream, err := s.open(ctx)
		if err != nil {
			return nil, err
		}
		m, err := stream.GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(s.subjectOf(group)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return parseStored(m), nil
	})
}

// stored is a message of the store.
type stored struct {
	seq    uint64
	before uint64   // a message of the group before it; 0 if none is known
	r      *request // nil if the message is not valid
	size   int
}

// parseStored parses a message of the store.
func parseStored(m *jetstream.RawStreamMsg) *stored {
	v := &stored{seq: m.Sequence, size: len(m.Data)}
	v.before, _ = strconv.ParseUint(m.Header.Get(previousHeader), 10, 64)
	if header, data, err := unframe(m.Data); err == nil {
		if r, err := parseRequest(header, data); err == nil && r.kind == broadcastKind {
			r.timeout = 0
			v.r = r
		}
	}
	return v
}
