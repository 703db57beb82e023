package application

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
)

// message implements geminio.Message, at both sides.
type message struct {
	id, clientID, streamID uint64
	timeout                time.Duration
	topic                  string
	data, custom           []byte
	cnss                   options.Cnss

	// The receiver's; s is nil at the publisher.
	s        *Stream
	call     uint64
	size     int
	answered atomic.Bool
	delivery *delivery // of one that is remembered; set when it is handed out
}

var _ geminio.Message = (*message)(nil)

func (m *message) ID() uint64                  { return m.id }
func (m *message) StreamID() uint64            { return m.streamID }
func (m *message) ClientID() uint64            { return m.clientID }
func (m *message) Timeout() time.Duration      { return m.timeout }
func (m *message) Topic() string               { return m.topic }
func (m *message) Cnss() options.Cnss          { return m.cnss }
func (m *message) Data() []byte                { return m.data }
func (m *message) Custom() []byte              { return m.custom }
func (m *message) SetTimeout(d time.Duration)  { m.timeout = d }
func (m *message) SetCustom(custom []byte)     { m.custom = custom }
func (m *message) SetTopic(topic string)       { m.topic = topic }
func (m *message) SetClientID(clientID uint64) { m.clientID = clientID }
func (m *message) SetStreamID(streamID uint64) { m.streamID = streamID }

// Done tells the publisher that the message was dealt with. It returns
// geminio.ErrAnswered if the message has its answer already, and io.EOF if the
// stream has ended. At the publisher, and for a message that is sent at most
// once, it does nothing.
func (m *message) Done() error { return m.answer(packet.Answer{}) }

// Error tells the publisher that the message could not be dealt with, and why:
// Publish returns the text, of which at most 1000 bytes travel, with the code of err
// (geminio.Coder). Otherwise it is like Done; a nil err is Done.
func (m *message) Error(err error) error {
	if err == nil || m.s == nil {
		return m.Done()
	}
	why := guard.Describe(m.s.end.log, err)
	return m.answer(packet.Answer{Code: why.Code, Text: why.Text})
}

func (m *message) answer(a packet.Answer) error {
	if m.s == nil || m.cnss != options.CnssAtLeastOnce {
		return nil
	}
	if m.answered.Swap(true) {
		return geminio.ErrAnswered
	}
	d := m.deliveries()
	if d == nil {
		return m.s.sendAck(m.call, a)
	}
	d.answered(m, a).sendAck(m.call, a) // if that fails, the answer waits for the next copy
	return nil
}

// sendAck sends the answer to a message that came on this stream.
func (s *Stream) sendAck(call uint64, a packet.Answer) error {
	when := multiplexer.AtOnce
	if s.end.unanswered.Load() > 1 {
		when = multiplexer.Later // more answers are likely to follow
	}
	var room [64]byte
	err := s.d.Send(context.Background(), 0, packet.TypeAck, call, a.Append(room[:0]), nil, when)
	s.acked() // not sooner: Shutdown waits for the answer too
	return err
}

// postAck is sendAck for those who must not wait.
func (s *Stream) postAck(call uint64, a packet.Answer) {
	s.d.Post(packet.TypeAck, call, a.Append(nil))
	s.acked()
}

// owes counts one more message that is to be answered.
func (s *Stream) owes() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended.Load() {
		s.owed++
		s.end.unanswered.Add(1)
	}
}

// acked counts one more message as answered, unless endWork has counted all.
func (s *Stream) acked() {
	s.mu.Lock()
	if s.owed > 0 {
		s.owed--
		s.end.unanswered.Add(-1)
	}
	s.mu.Unlock()
	s.end.settle()
}

// deliveries returns what remembers the message, nil if nothing does.
func (m *message) deliveries() *Deliveries {
	if m.call&DeliveryBit == 0 || m.cnss != options.CnssAtLeastOnce || m.s != m.s.end.Stream {
		return nil
	}
	return m.s.end.cfg.Deliveries
}

// NewMessage makes a message for this stream, to be delivered at least once
// unless an option says otherwise. The data is not copied: it must not change
// until Publish has returned.
func (s *Stream) NewMessage(data []byte, opts ...*options.NewMessageOptions) geminio.Message {
	return NewMessage(s.end.cfg.IDs.NewPacketID(), s.ClientID(), s.StreamID(), data, opts)
}

// NewMessage makes a message with the given ids.
func NewMessage(id, clientID, streamID uint64, data []byte, opts []*options.NewMessageOptions) geminio.Message {
	m := &message{id: id, clientID: clientID, streamID: streamID, data: data, cnss: options.CnssAtLeastOnce}
	if len(opts) > 0 {
		opt := options.MergeNewMessageOptions(opts...)
		m.custom = opt.Custom
		if opt.Cnss != nil {
			m.cnss = *opt.Cnss
		}
		if opt.Topic != nil {
			m.topic = *opt.Topic
		}
	}
	return m
}

// Publish sends a message and returns when its receiver has said Done (nil) or
// Error (a *geminio.RemoteError with its text), or when ctx or a timeout ends. A
// message to be delivered at most once is only sent.
func (s *Stream) Publish(ctx context.Context, msg geminio.Message, opts ...*options.PublishOptions) error {
	switch {
	case ctx == nil:
		return nilarg.New("publish", "context")
	case msg == nil:
		return nilarg.New("publish", "message")
	}
	if err := s.check(msg.ClientID(), msg.StreamID()); err != nil {
		return err
	}
	return s.doPublish(ctx, 0, msg, PublishTimeout(msg, opts))
}

// doPublish is Publish for whoever has checked whom the message is for, and knows
// the timeout (0: none). An End that reconnects calls it once for each attempt,
// with the number of the delivery; 0 is for a message that is not sent again.
func (s *Stream) doPublish(ctx context.Context, number uint64, msg geminio.Message, timeout time.Duration) error {
	var room [headRoom]byte
	op := operation{number: number, timeout: timeout}
	head, err := s.preparePublish(ctx, &op, room[:0], msg)
	if err != nil {
		return err
	}
	if msg.Cnss() == options.CnssAtMostOnce {
		return s.sendOnce(ctx, &op, head)
	}
	_, err = s.do(ctx, &op, head)
	return err
}

// PublishAsync is Publish without the wait: the returned Publish, with its Error,
// is sent to ch when it is over. About ch, see CallAsync. It waits for nothing
// but the credit that the message needs.
func (s *Stream) PublishAsync(ctx context.Context, msg geminio.Message, ch chan *geminio.Publish, opts ...*options.PublishOptions) (*geminio.Publish, error) {
	switch {
	case ctx == nil:
		return nil, nilarg.New("publish async", "context")
	case msg == nil:
		return nil, nilarg.New("publish async", "message")
	}
	if err := s.check(msg.ClientID(), msg.StreamID()); err != nil {
		return nil, err
	}
	if ch == nil {
		ch = make(chan *geminio.Publish, 1)
	}
	p := &geminio.Publish{Message: msg, Done: ch}
	err := s.startPublish(ctx, 0, msg, PublishTimeout(msg, opts), func(err error) {
		p.Error = err
		Hand(s.end.log, s.end.done, ch, p)
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// startPublish is doPublish without the wait: done is told the outcome, and must
// not block. It waits for nothing but the credit that the message needs. On an
// error done is not called.
func (s *Stream) startPublish(ctx context.Context, number uint64, msg geminio.Message, timeout time.Duration, done func(error)) error {
	var room [headRoom]byte
	op := operation{number: number, timeout: timeout}
	head, err := s.preparePublish(ctx, &op, room[:0], msg)
	if err != nil {
		return err
	}
	if msg.Cnss() == options.CnssAtMostOnce {
		if err := s.sendOnce(ctx, &op, head); err != nil {
			return err
		}
		done(nil)
		return nil
	}
	_, err = s.start(ctx, &op, head, func(p *pending) { done(p.err) })
	return err
}

// PublishTimeout returns the timeout of a publication, 0 if there is none: that of
// the options, else the message's.
func PublishTimeout(msg geminio.Message, opts []*options.PublishOptions) time.Duration {
	if len(opts) > 0 {
		if t := options.MergePublishOptions(opts...).Timeout; t != nil {
			return max(*t, 0)
		}
	}
	return max(msg.Timeout(), 0)
}

// sendOnce sends a message that nobody answers. Its publisher may use the memory again
// as soon as it returns.
func (s *Stream) sendOnce(ctx context.Context, op *operation, head []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.d.Send(ctx, op.timeout, op.typ, 0, head, op.data, multiplexer.Later)
}

func (s *Stream) preparePublish(ctx context.Context, op *operation, room []byte, msg geminio.Message) (head []byte, err error) {
	topic := msg.Topic()
	if len(topic) > packet.MaxName {
		return nil, &geminio.LimitError{What: "topic", Value: uint64(len(topic)), Limit: packet.MaxName, Err: geminio.ErrTooLarge}
	}
	if err := s.closed(); err != nil {
		return nil, err
	}
	cnss := msg.Cnss()
	if cnss != options.CnssAtMostOnce && cnss != options.CnssAtLeastOnce {
		return nil, errors.New("publish: the message's cnss is neither at most once nor at least once")
	}
	op.typ = packet.TypeMessage
	p := packet.Message{
		ID: msg.ID(), Timeout: remaining(ctx, op.timeout), Cnss: uint8(cnss),
		Topic: stringBytes(topic), Custom: msg.Custom(),
	}
	op.data = msg.Data()
	return p.Append(room), nil
}

// takeMessage puts a message of the peer into its stream's inbox.
func (e *End) takeMessage(s *Stream, call uint64, body []byte, owned bool) error {
	p, err := packet.ParseMessage(body)
	if err != nil {
		return err
	}
	m := &message{
		id: p.ID, clientID: s.ClientID(), streamID: s.StreamID(), timeout: p.Timeout,
		cnss: options.Cnss(p.Cnss), s: s, call: call, size: len(body),
	}
	m.custom, m.data = keep(p.Custom, p.Data, owned)
	if m.cnss == options.CnssAtLeastOnce {
		if call == 0 {
			return errNumberless(packet.TypeMessage)
		}
		s.owes()
		if d := m.deliveries(); d != nil && d.seen(m) {
			s.d.Release(packet.TypeMessage, m.size)
			return nil
		}
	}
	if !s.inbox().put(m, p.Topic) {
		s.d.Release(packet.TypeMessage, m.size)
	}
	return nil
}

// Receive returns the next message of the peer, which is to be answered with
// Done or Error. When ctx ends before, it returns its error; when the stream has
// ended and all that came was received, io.EOF.
func (s *Stream) Receive(ctx context.Context) (geminio.Message, error) {
	if ctx == nil {
		return nil, nilarg.New("receive", "context")
	}
	for box := s.inbox(); ; {
		m, err := box.get(ctx)
		if err != nil {
			return nil, err
		}
		s.d.Release(packet.TypeMessage, m.size)
		if d := m.deliveries(); d == nil || d.handOut(m) {
			return m, nil
		}
	}
}

// inbox has the messages that came and were not received. Credit bounds it.
type inbox struct {
	ready chan struct{} // has room for one; holds one if there is something to get

	mu    sync.Mutex
	queue []*message
	first int
	topic string // the last one: most messages of a stream share it
	over  bool   // nothing more comes
	shut  bool   // and nothing more is taken
}

func newInbox(over, shut bool) *inbox {
	b := &inbox{ready: make(chan struct{}, 1), over: over, shut: shut}
	if over {
		b.signal()
	}
	return b
}

func (b *inbox) signal() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// put adds a message. It reports false if the message is not taken any more.
func (b *inbox) put(m *message, topic []byte) bool {
	b.mu.Lock()
	if b.shut {
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

func (b *inbox) end() {
	b.mu.Lock()
	b.over = true
	b.mu.Unlock()
	b.signal()
}

// drop takes out all that was not received, and has nothing more taken.
func (b *inbox) drop() []*message {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shut = true
	all := b.queue[b.first:]
	b.queue, b.first = nil, 0
	return all
}

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

// next returns the next message, or io.EOF, or neither if there is none. Whoever
// takes one sees to it that the next waiter looks too.
func (b *inbox) next() (*message, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.first == len(b.queue) {
		if b.over {
			b.signal()
			return nil, io.EOF
		}
		return nil, nil
	}
	m := b.queue[b.first]
	b.queue[b.first] = nil
	b.first++
	if b.first == len(b.queue) {
		b.queue, b.first = b.queue[:0], 0
	}
	if b.first < len(b.queue) || b.over {
		b.signal()
	}
	return m, nil
}
