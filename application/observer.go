package application

// This file calls the functions of geminio.Stats.

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/guard"
)

// Observer calls the functions of geminio.Stats with the events of an End. Its methods are safe for
// concurrent use. They take pointers to the events and do not keep them.
type Observer struct {
	log *slog.Logger
	all []geminio.Stats

	// Whether there are functions for events of a kind.
	calls, messages, stalls bool
}

// NewObserver returns an Observer for all, or nil if they have no functions.
func NewObserver(log *slog.Logger, all []geminio.Stats) *Observer {
	o := &Observer{log: log, all: slices.Clone(all)}
	any := false
	for _, s := range all {
		o.calls = o.calls || s.CallBegin != nil || s.CallEnd != nil
		o.messages = o.messages || s.MessageBegin != nil || s.MessageEnd != nil
		o.stalls = o.stalls || s.Stalled != nil
		any = any || s.ConnBegin != nil || s.ConnEnd != nil || s.ConnInterrupted != nil || s.ConnResumed != nil ||
			s.HandshakeFailed != nil || s.StreamBegin != nil || s.StreamEnd != nil
	}
	if !any && !o.calls && !o.messages && !o.stalls {
		return nil
	}
	return o
}

// Calls tells whether there are functions for calls. o may be nil.
func (o *Observer) Calls() bool { return o != nil && o.calls }

// Messages tells whether there are functions for messages. o may be nil.
func (o *Observer) Messages() bool { return o != nil && o.messages }

// report calls a function of each Stats, unless it is nil. of returns the function, whose name is
// what.
func report[E any](o *Observer, what string, of func(*geminio.Stats) func(E), ev *E) {
	for i := range o.all {
		if f := of(&o.all[i]); f != nil {
			contain(o.log, what, f, ev)
		}
	}
}

// contain calls f, and logs a panic.
func contain[E any](log *slog.Logger, what string, f func(E), ev *E) {
	returned := false
	defer func() {
		if v := recover(); v != nil {
			guard.Panicked(log, what, v)
		} else if !returned {
			guard.Exited(log, what)
		}
	}()
	f(*ev)
	returned = true
}

// BeginCall reports the beginning of a call.
func (o *Observer) BeginCall(ev *geminio.CallEvent) {
	for i := range o.all {
		if f := o.all[i].CallBegin; f != nil {
			contain(o.log, "CallBegin", f, ev)
		}
	}
}

// EndCall reports the end of a call. The caller has set its outcome.
func (o *Observer) EndCall(ev *geminio.CallEvent) {
	ev.Duration = time.Since(ev.Begin)
	for i := range o.all {
		if f := o.all[i].CallEnd; f != nil {
			contain(o.log, "CallEnd", f, ev)
		}
	}
}

// BeginMessage sets the beginning of a message to now and reports it.
func (o *Observer) BeginMessage(ev *geminio.MessageEvent) {
	ev.Begin = time.Now()
	report(o, "MessageBegin", func(s *geminio.Stats) func(geminio.MessageEvent) { return s.MessageBegin }, ev)
}

// EndMessage reports the end of a message. The caller has set its outcome.
func (o *Observer) EndMessage(ev *geminio.MessageEvent) {
	ev.Duration = time.Since(ev.Begin)
	report(o, "MessageEnd", func(s *geminio.Stats) func(geminio.MessageEvent) { return s.MessageEnd }, ev)
}

// HandshakeFailed reports a connection that has not become an End, because of err. o may be nil.
func (o *Observer) HandshakeFailed(side geminio.Side, remote net.Addr, begin time.Time, err error) {
	if o == nil {
		return
	}
	ev := geminio.HandshakeEvent{
		Side: side, RemoteAddr: remote, Begin: begin, Duration: time.Since(begin), Outcome: o.Outcome(err, geminio.CodeClosed),
	}
	report(o, "HandshakeFailed", func(s *geminio.Stats) func(geminio.HandshakeEvent) { return s.HandshakeFailed }, &ev)
}

// Outcome returns the outcome of something that has ended with err. other is the code of an error
// that has no code of its own.
func (o *Observer) Outcome(err error, other geminio.Code) geminio.Outcome {
	if err == nil {
		return geminio.Outcome{}
	}
	err = guard.Check(o.log, err)
	return geminio.Outcome{Code: classify(err, other), Err: err}
}

// ended is Outcome for the end of a stream or a connection: io.EOF is an orderly end.
func (o *Observer) ended(err error) geminio.Outcome {
	if err == io.EOF {
		return geminio.Outcome{}
	}
	return o.Outcome(err, geminio.CodeClosed)
}

// classes has the codes of errors for which geminio.CodeOf returns geminio.CodeApplication.
var classes = []struct {
	err  error
	code geminio.Code
}{
	{geminio.ErrGoingAway, geminio.CodeGoingAway},
	{geminio.ErrReplaced, geminio.CodeReplaced},
	{geminio.ErrHandshakeTimeout, geminio.CodeDeadline},
	{geminio.ErrVersion, geminio.CodeVersion},
	{geminio.ErrProtocol, geminio.CodeProtocol},
	{geminio.ErrRemoteRPCUnregistered, geminio.CodeNoMethod},
	{geminio.ErrMaybeExecuted, geminio.CodeClosed},
	{geminio.ErrNotExecuted, geminio.CodeClosed},
	{geminio.ErrNotConnected, geminio.CodeClosed},
	{io.EOF, geminio.CodeClosed},
}

// classify returns the code of geminio.Outcome for err.
func classify(err error, other geminio.Code) geminio.Code {
	var interrupted *geminio.InterruptedError
	if errors.As(err, &interrupted) {
		return geminio.CodeClosed // its cause has a code of its own
	}
	code := geminio.CodeOf(err)
	var remote *geminio.RemoteError
	var refused *geminio.RefusedError
	var reset *geminio.StreamError
	if code != geminio.CodeApplication || errors.As(err, &remote) || errors.As(err, &refused) || errors.As(err, &reset) {
		return code
	}
	for _, c := range classes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	if errors.Is(err, conn.ErrClientRefused) {
		return code // the client gets it
	}
	return other
}

// begins reports that the handshake of the connection is done.
func (e *End) begins() {
	if o := e.cfg.Observer; o != nil {
		ev := e.connEvent()
		report(o, "ConnBegin", func(s *geminio.Stats) func(geminio.ConnEvent) { return s.ConnBegin }, &ev)
	}
}

// connEvent returns an event of the connection.
func (e *End) connEvent() geminio.ConnEvent {
	return geminio.ConnEvent{
		End: e.user, Side: e.c.Side(), LocalAddr: e.c.LocalAddr(), RemoteAddr: e.c.RemoteAddr(), Begin: e.began,
	}
}

// endsWith reports that the connection has ended for a cause.
func (e *End) endsWith(cause error) {
	if o := e.cfg.Observer; o != nil {
		ev := e.connEvent()
		ev.Duration, ev.Outcome = time.Since(ev.Begin), o.ended(cause)
		report(o, "ConnEnd", func(s *geminio.Stats) func(geminio.ConnEvent) { return s.ConnEnd }, &ev)
	}
}

// connObserver is an End as the conn.Observer of its connection.
type connObserver End

// Interrupted implements conn.Observer.
func (c *connObserver) Interrupted(cause error, lasted time.Duration) {
	e := (*End)(c)
	o := e.cfg.Observer
	ev := e.connEvent()
	ev.Duration, ev.Outcome = lasted, o.Outcome(cause, geminio.CodeClosed)
	report(o, "ConnInterrupted", func(s *geminio.Stats) func(geminio.ConnEvent) { return s.ConnInterrupted }, &ev)
}

// Resumed implements conn.Observer.
func (c *connObserver) Resumed(lasted time.Duration) {
	e := (*End)(c)
	ev := e.connEvent()
	ev.Duration = lasted
	report(e.cfg.Observer, "ConnResumed", func(s *geminio.Stats) func(geminio.ConnEvent) { return s.ConnResumed }, &ev)
}

// streamEvent returns an event of s.
func (s *Stream) streamEvent() geminio.StreamEvent {
	return geminio.StreamEvent{End: s.end.user, Stream: s, Direction: s.direction(), Begin: s.end.c.Time(s.d.Began())}
}

// streamBegins reports that s has begun.
func (e *End) streamBegins(s *Stream) {
	if o := e.cfg.Observer; o != nil {
		ev := s.streamEvent()
		report(o, "StreamBegin", func(s *geminio.Stats) func(geminio.StreamEvent) { return s.StreamBegin }, &ev)
	}
}

// streamEnds reports that s has ended for a cause.
func (e *End) streamEnds(s *Stream, cause error) {
	if o := e.cfg.Observer; o != nil {
		if cause == io.EOF {
			cause = cmp.Or(s.d.ResetError(), cause)
		}
		ev := s.streamEvent()
		ev.Duration, ev.Outcome = time.Since(ev.Begin), o.ended(cause)
		report(o, "StreamEnd", func(s *geminio.Stats) func(geminio.StreamEvent) { return s.StreamEnd }, &ev)
	}
}
