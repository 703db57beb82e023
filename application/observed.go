package application

// This file reports calls, messages and waits for credit to the Observer.

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
)

// errNotReturned is the outcome of an operation in which a method of the user's context, Request or
// Message has panicked or has ended its goroutine.
var errNotReturned = errors.New("the operation panicked or ended its goroutine")

// outgoingCall returns the event of a call of this side.
func outgoingCall(ctx context.Context, s geminio.Stream, e geminio.End, method string, req geminio.Request, begin time.Time) geminio.CallEvent {
	return geminio.CallEvent{
		Context: ctx, End: e, Stream: s, Begin: begin, Method: method, ID: req.ID(), RequestSize: len(req.Data()) + len(req.Custom()),
	}
}

// endCall reports the outcome of a call of this side.
func (o *Observer) endCall(ev *geminio.CallEvent, resp geminio.Response, err error) {
	if resp != nil {
		ev.ResponseSize = len(resp.Data()) + len(resp.Custom())
	}
	ev.Outcome = o.Outcome(err, geminio.CodeApplication)
	o.EndCall(ev)
}

// Call reports a call of this side on stream s of e, which begins at the time begin and which do
// makes.
func (o *Observer) Call(ctx context.Context, s geminio.Stream, e geminio.End, method string, req geminio.Request, begin time.Time, do func() (geminio.Response, error)) (resp geminio.Response, err error) {
	ev := outgoingCall(ctx, s, e, method, req, begin)
	o.BeginCall(&ev)
	outcome := errNotReturned
	defer func() { o.endCall(&ev, resp, outcome) }()
	resp, err = do()
	outcome = err
	return resp, err
}

// StartCall is Call without the wait: start calls its argument with the outcome, unless it returns
// an error.
func (o *Observer) StartCall(ctx context.Context, s geminio.Stream, e geminio.End, method string, req geminio.Request, begin time.Time, start func(func(geminio.Response, error)) error, done func(geminio.Response, error)) error {
	ev := outgoingCall(ctx, s, e, method, req, begin)
	o.BeginCall(&ev)
	outcome := errNotReturned
	defer func() {
		if outcome != nil {
			o.endCall(&ev, nil, outcome)
		}
	}()
	outcome = start(func(resp geminio.Response, err error) {
		ended := ev
		o.endCall(&ended, resp, err)
		done(resp, err)
	})
	return outcome
}

// outgoingMessage returns the event of a publication.
func outgoingMessage(ctx context.Context, s geminio.Stream, e geminio.End, msg geminio.Message) geminio.MessageEvent {
	return geminio.MessageEvent{
		Context: ctx, End: e, Stream: s, Topic: msg.Topic(), Cnss: msg.Cnss(), ID: msg.ID(), Size: len(msg.Data()) + len(msg.Custom()),
	}
}

// endPublish reports the outcome of a publication.
func (o *Observer) endPublish(ev *geminio.MessageEvent, err error) {
	ev.Outcome = o.Outcome(err, geminio.CodeApplication)
	o.EndMessage(ev)
}

// Publish reports a publication on stream s of e, which do makes.
func (o *Observer) Publish(ctx context.Context, s geminio.Stream, e geminio.End, msg geminio.Message, do func() error) error {
	ev := outgoingMessage(ctx, s, e, msg)
	o.BeginMessage(&ev)
	outcome := errNotReturned
	defer func() { o.endPublish(&ev, outcome) }()
	outcome = do()
	return outcome
}

// StartPublish is Publish without the wait, as StartCall is Call without the wait.
func (o *Observer) StartPublish(ctx context.Context, s geminio.Stream, e geminio.End, msg geminio.Message, start func(func(error)) error, done func(error)) error {
	ev := outgoingMessage(ctx, s, e, msg)
	o.BeginMessage(&ev)
	outcome := errNotReturned
	defer func() {
		if outcome != nil {
			o.endPublish(&ev, outcome)
		}
	}()
	outcome = start(func(err error) {
		ended := ev
		o.endPublish(&ended, err)
		done(err)
	})
	return outcome
}

// event returns the event of a call of the peer on stream s of e.
func (v *serving) event(e *End, s *Stream) geminio.CallEvent {
	return geminio.CallEvent{
		Context: &v.ctx, End: e.user, Stream: s.user(), Direction: geminio.Incoming, Method: v.req.method,
		Registered: v.registered, ID: v.req.id, RequestSize: int(v.sent), Begin: e.c.Time(v.began),
	}
}

// answers reports that a call of the peer was answered. s is its stream, or nil if that has ended.
func (v *serving) answers(e *End, s *Stream, sent answered) {
	if !e.cfg.Observer.Calls() {
		return
	}
	switch {
	case s == nil:
		v.ends(e, io.EOF)
		return
	case sent.code != geminio.CodeOK && sent.err == nil:
		sent.err = &geminio.RemoteError{Code: sent.code, Text: sent.text}
	}
	ev := v.event(e, s)
	ev.ResponseSize, ev.Outcome = sent.size, geminio.Outcome{Code: sent.code, Err: sent.err}
	e.cfg.Observer.EndCall(&ev)
}

// ends reports that a call of the peer ends without a response, for a cause.
func (v *serving) ends(e *End, cause error) {
	o := e.cfg.Observer
	if !o.Calls() {
		return
	}
	ev := v.event(e, v.lastStream(e))
	ev.Outcome = o.Outcome(cause, geminio.CodeClosed)
	o.EndCall(&ev)
}

// lastStream returns the stream of v. It returns the default stream if that of v has ended and is not
// in memory any more. Unlike stream, it does not keep the stream in memory.
func (v *serving) lastStream(e *End) *Stream {
	v.ctx.mu.Lock()
	defer v.ctx.mu.Unlock()
	return cmp.Or(v.s, v.asked, v.former.Value(), e.Stream)
}

// event returns the event of m, which was received.
func (m *message) event(v begunMessage) geminio.MessageEvent {
	return geminio.MessageEvent{
		Context: v.ctx, End: m.s.end.user, Stream: m.s.user(), Direction: geminio.Incoming, Topic: v.topic, Cnss: m.cnss, ID: m.id,
		Size: v.size, Begin: v.begin,
	}
}

// messageReceived reports that Receive returns m, which was in the inbox b.
func (s *Stream) messageReceived(ctx context.Context, b *inbox, m *message) {
	o := s.end.cfg.Observer
	v := begunMessage{ctx: ctx, topic: m.topic, size: len(m.data) + len(m.custom)}
	ev := m.event(v)
	o.BeginMessage(&ev)
	v.begin = ev.Begin
	switch {
	case m.cnss != options.CnssAtLeastOnce:
		o.EndMessage(&ev)
	case !b.begin(m, v):
		ev.Outcome = geminio.Outcome{Code: geminio.CodeClosed, Err: io.EOF}
		o.EndMessage(&ev)
	}
}

// messageAnswered reports that the program has answered m with a, which is err.
func (s *Stream) messageAnswered(m *message, a packet.Answer, err error) {
	o := s.end.cfg.Observer
	if !o.Messages() {
		return
	}
	if v, ok := s.inbox().answer(m); ok {
		ev := m.event(v)
		ev.Outcome = geminio.Outcome{Code: geminio.Code(a.Code), Err: err}
		if err == io.EOF {
			ev.Code = geminio.CodeClosed
		}
		o.EndMessage(&ev)
	}
}

// messagesEnd reports that received messages end with their stream.
func (s *Stream) messagesEnd(begun map[*message]begunMessage) {
	for m, v := range begun {
		ev := m.event(v)
		ev.Outcome = geminio.Outcome{Code: geminio.CodeClosed, Err: io.EOF}
		s.end.cfg.Observer.EndMessage(&ev)
	}
}

// stalled reports a wait for credit.
func (e *End) stalled(w multiplexer.Stall) {
	o := e.cfg.Observer
	ev := geminio.StallEvent{
		End: e.user, Stream: w.Dialogue.Owner.(*Stream).user(), Credit: geminio.Credit(w.Class),
		Begin: e.c.Time(w.Begin), Duration: w.Lasted, Outcome: o.Outcome(w.Err, geminio.CodeClosed),
	}
	report(o, "Stalled", func(s *geminio.Stats) func(geminio.StallEvent) { return s.Stalled }, &ev)
}
