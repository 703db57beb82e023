package application

// This file has messages at both sides: Publish, PublishAsync, Receive, and the answers.

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/internal/pairs"
	"github.com/singchia/geminio/metadata"
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
	metadata               pairs.List // of a received message
	cnss                   options.Cnss

	// Used at the receiver.
	s        *Stream     // the stream of the message; nil at the publisher
	seq      uint64      // the number of the packet, which the answer names
	size     int         // the length of the packet's body, whose credit goes back to the peer
	answered atomic.Bool // Done or Error was called
	delivery *delivery   // set when a message of a session is handed out; else nil
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
func (m *message) Metadata() metadata.MD       { return m.metadata.Decode() }

// Stream returns the stream on which the message was received, and nil at the publisher.
func (m *message) Stream() geminio.Stream {
	if m.s == nil {
		return nil
	}
	return m.s.user()
}

// Done answers the message: Publish returns nil. Done returns geminio.ErrAnswered if the message
// was answered before, and io.EOF if the stream has ended. At the publisher, and for a message
// that is delivered at most once, it does nothing.
func (m *message) Done() error { return m.answer(packet.Answer{}, nil) }

// Error answers the message with an error: Publish returns a *geminio.RemoteError with at most
// 1000 bytes of the text of err, and its code (geminio.Coder). The results of Error are those
// of Done. With a nil err, Error is Done.
func (m *message) Error(err error) error {
	if err == nil || m.s == nil {
		return m.Done()
	}
	why := guard.Describe(m.s.end.log, err)
	return m.answer(packet.Answer{Code: why.Code, Text: why.Text}, err)
}

// answer is Done, and Error with err.
func (m *message) answer(a packet.Answer, err error) error {
	if m.s == nil || m.cnss != options.CnssAtLeastOnce {
		return nil
	}
	if m.answered.Swap(true) {
		return geminio.ErrAnswered
	}
	var sent error
	if d := m.deliveries(); d == nil {
		sent = m.s.sendAck(m.seq, a)
	} else {
		d.answered(m, a).sendAck(m.seq, a) // if that fails, the answer waits for the next copy
	}
	m.s.messageAnswered(m, a, cmp.Or(sent, err))
	return sent
}

// sendAck sends the answer to a message of this stream. It waits for credit.
func (s *Stream) sendAck(seq uint64, a packet.Answer) error {
	when := multiplexer.AtOnce
	if s.end.unanswered.Load() > 1 {
		when = multiplexer.Later // more answers are likely to follow
	}
	var buf [64]byte
	err := s.d.Send(context.Background(), 0, packet.TypeAck, seq, a.Append(buf[:0]), nil, when)
	s.countAnswered() // not earlier: Shutdown waits for the answer too
	return err
}

// postAck is sendAck without the wait, for the reading goroutine.
func (s *Stream) postAck(seq uint64, a packet.Answer) {
	s.d.Post(packet.TypeAck, seq, a.Append(nil))
	s.countAnswered()
}

// countUnanswered counts one more message that needs an answer.
func (s *Stream) countUnanswered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended.Load() {
		s.unanswered++
		s.end.unanswered.Add(1)
	}
}

// countAnswered counts one more message as answered, unless endOperations has counted all.
func (s *Stream) countAnswered() {
	s.mu.Lock()
	if s.unanswered > 0 {
		s.unanswered--
		s.end.unanswered.Add(-1)
	}
	s.mu.Unlock()
	s.end.checkIdle()
}

// deliveries returns the Deliveries of the session of m, or nil if m is not sent again.
func (m *message) deliveries() *Deliveries {
	if m.seq&DeliveryBit == 0 || m.cnss != options.CnssAtLeastOnce || m.s != m.s.end.Stream {
		return nil
	}
	return m.s.end.cfg.Deliveries
}

// NewMessage returns a message for this stream. It is delivered at least once, unless an option
// says otherwise. The data is not copied: it must not change until Publish has returned.
func (s *Stream) NewMessage(data []byte, opts ...*options.NewMessageOptions) geminio.Message {
	return NewMessage(s.end.cfg.IDs.NewPacketID(), s.ClientID(), s.StreamID(), data, opts)
}

// NewMessage returns a message with the given ids.
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

// Publish sends a message and waits for the answer of its receiver: nil after Done, or a
// *geminio.RemoteError after Error. If ctx or the timeout ends earlier, Publish returns
// context.Canceled or context.DeadlineExceeded. If the stream or the connection ends, the error
// is a *geminio.InterruptedError; if that was before the Publish, it is io.EOF. For a message
// that is delivered at most once, Publish does not wait for an answer.
func (s *Stream) Publish(ctx context.Context, msg geminio.Message, opts ...*options.PublishOptions) error {
	switch {
	case ctx == nil:
		return nilarg.New("publish", "context")
	case msg == nil:
		return nilarg.New("publish", "message")
	}
	if i := s.end.cfg.Interceptors; i != nil && len(i.PublishMiddleware) > 0 {
		return s.intercepted().Publish(ctx, msg, opts...)
	}
	return s.plainPublish(ctx, msg, opts...)
}

// plainPublish is Publish without middleware.
func (s *Stream) plainPublish(ctx context.Context, msg geminio.Message, opts ...*options.PublishOptions) error {
	if err := s.check(msg.ClientID(), msg.StreamID()); err != nil {
		return err
	}
	o := s.end.cfg.Observer
	if !o.Messages() {
		return s.doPublish(ctx, 0, msg, PublishTimeout(msg, opts))
	}
	return o.Publish(ctx, s.user(), s.end.user, msg, func() error {
		return s.doPublish(ctx, 0, msg, PublishTimeout(msg, opts))
	})
}

// doPublish is Publish without the checks of the arguments. A timeout of 0 stands for none. number
// is the number of a delivery, or 0 for a message that is not sent again.
func (s *Stream) doPublish(ctx context.Context, number uint64, msg geminio.Message, timeout time.Duration) error {
	var buf [headSize]byte
	op := operation{number: number, timeout: timeout}
	head, err := s.preparePublish(ctx, &op, buf[:0], msg)
	if err != nil {
		return err
	}
	if msg.Cnss() == options.CnssAtMostOnce {
		return s.sendOnce(ctx, &op, head)
	}
	_, err = s.do(ctx, &op, head)
	return err
}

// PublishAsync is Publish without the wait for the answer. When the publication has ended, the
// returned Publish is sent to ch, with its Error, as CallAsync does with a Call. PublishAsync
// waits for the credit that the message needs.
func (s *Stream) PublishAsync(ctx context.Context, msg geminio.Message, ch chan *geminio.Publish, opts ...*options.PublishOptions) (*geminio.Publish, error) {
	switch {
	case ctx == nil:
		return nil, nilarg.New("publish async", "context")
	case msg == nil:
		return nil, nilarg.New("publish async", "message")
	}
	if ch == nil {
		ch = make(chan *geminio.Publish, 1)
	}
	p := &geminio.Publish{Message: msg, Done: ch}
	done := func(err error) {
		p.Error = err
		Hand(s.end.log, s.end.done, ch, p)
	}
	var err error
	if i := s.end.cfg.Interceptors; i != nil && len(i.PublishMiddleware) > 0 {
		err = s.intercepted().StartPublish(ctx, msg, opts, done)
	} else {
		err = s.plainStartPublish(ctx, msg, opts, done)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// plainStartPublish is plainPublish without the wait. It calls done with the outcome, unless it
// returns an error.
func (s *Stream) plainStartPublish(ctx context.Context, msg geminio.Message, opts []*options.PublishOptions, done func(error)) error {
	if err := s.check(msg.ClientID(), msg.StreamID()); err != nil {
		return err
	}
	start := func(done func(error)) error {
		return s.startPublish(ctx, 0, msg, PublishTimeout(msg, opts), done)
	}
	if o := s.end.cfg.Observer; o.Messages() {
		return o.StartPublish(ctx, s.user(), s.end.user, msg, start, done)
	}
	return start(done)
}

// startPublish is doPublish without the wait for the answer. It calls done with the outcome; done
// must not block. If startPublish returns an error, it does not call done.
func (s *Stream) startPublish(ctx context.Context, number uint64, msg geminio.Message, timeout time.Duration, done func(error)) error {
	var buf [headSize]byte
	op := operation{number: number, timeout: timeout}
	head, err := s.preparePublish(ctx, &op, buf[:0], msg)
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

// PublishTimeout returns the timeout of the options, or of the message if the options have none.
// It returns 0 if the message has none either.
func PublishTimeout(msg geminio.Message, opts []*options.PublishOptions) time.Duration {
	if len(opts) > 0 {
		if t := options.MergePublishOptions(opts...).Timeout; t != nil {
			return max(*t, 0)
		}
	}
	return max(msg.Timeout(), 0)
}

// sendOnce sends a message that has no answer. The publisher may reuse the memory of the message
// when sendOnce has returned.
func (s *Stream) sendOnce(ctx context.Context, op *operation, head []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.d.Send(ctx, op.timeout, op.typ, 0, head, op.data, multiplexer.Later)
}

// preparePublish checks a message, completes its operation, and appends the head of its
// packet to buf.
func (s *Stream) preparePublish(ctx context.Context, op *operation, buf []byte, msg geminio.Message) (head []byte, err error) {
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
	md, err := s.end.outgoing(ctx)
	if err != nil {
		return nil, err
	}
	op.typ = packet.TypeMessage
	p := packet.Message{
		ID: msg.ID(), Timeout: remaining(ctx, op.timeout), Cnss: uint8(cnss),
		Topic: stringBytes(topic), Metadata: md, Custom: msg.Custom(),
	}
	op.data = msg.Data()
	return p.Append(buf), nil
}

// takeMessage puts a message of the peer into the inbox of its stream. If the message is a
// copy of a message that was handed out, the peer gets the answer to the first copy.
func (e *End) takeMessage(s *Stream, seq uint64, body []byte, owned bool) error {
	p, err := packet.ParseMessage(body)
	if err != nil {
		return err
	}
	m := &message{
		id: p.ID, clientID: s.ClientID(), streamID: s.StreamID(), timeout: p.Timeout,
		cnss: options.Cnss(p.Cnss), s: s, seq: seq, size: len(body),
	}
	m.metadata, m.custom, m.data = keep(p.Metadata, p.Custom, p.Data, owned)
	bad := e.checkIncoming("message", p.Metadata)
	if m.cnss == options.CnssAtLeastOnce {
		if seq == 0 {
			return errNoNumber(packet.TypeMessage)
		}
		s.countUnanswered()
		if d := m.deliveries(); d != nil && d.isCopy(m) {
			s.d.Release(packet.TypeMessage, m.size)
			return nil
		}
		if bad != nil {
			s.postAck(seq, packet.Answer{Code: uint32(geminio.CodeProtocol), Text: bad.Error()})
		}
	}
	if bad != nil {
		e.log.Warn("a message is dropped", "stream", s.StreamID(), "err", bad)
		s.d.Release(packet.TypeMessage, m.size)
		return nil
	}
	if !s.inbox().put(m, p.Topic) {
		s.d.Release(packet.TypeMessage, m.size)
	}
	return nil
}

// Receive returns the next message of the peer. The caller answers it with Done or Error. If ctx
// ends earlier, Receive returns ctx's error. When the stream has ended and all messages that
// have arrived were received, it returns io.EOF.
func (s *Stream) Receive(ctx context.Context) (geminio.Message, error) {
	if ctx == nil {
		return nil, nilarg.New("receive", "context")
	}
	if i := s.end.cfg.Interceptors; i != nil && len(i.ReceiveMiddleware) > 0 {
		return s.intercepted().Receive(ctx)
	}
	return s.receive(ctx)
}

// receive is Receive without middleware.
func (s *Stream) receive(ctx context.Context) (geminio.Message, error) {
	for box := s.inbox(); ; {
		m, err := box.get(ctx)
		if err != nil {
			return nil, err
		}
		s.d.Release(packet.TypeMessage, m.size)
		if d := m.deliveries(); d == nil || d.handOut(m) {
			if s.end.cfg.Observer.Messages() {
				s.messageReceived(ctx, box, m)
			}
			return m, nil
		}
	}
}
