package application

// This file sends the response of a handler, or an empty response if the caller has given up.

import (
	"context"
	"io"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/packet"
)

// respond sends the response of a handler on s. why is the error of the call, and zero if the
// call has succeeded. respond waits for credit, so the reading goroutine must not call it. If
// the caller no longer waits, respond sends an empty response instead of the handler's.
//
// The result describes the response that was sent.
func (v *serving) respond(s *Stream, why packet.Reason, when multiplexer.When) answered {
	m := packet.Response{Code: why.Code, Text: why.Text, Custom: v.resp.custom}
	data := v.resp.data
	if md, err := s.end.permitted(v.ctx.answered()); err == nil {
		m.Metadata = md
	} else {
		why, v.resp.err = guard.Describe(s.end.log, err), err
		m, data = packet.Response{Code: why.Code, Text: why.Text}, nil
	}
	var buf [headSize]byte
	c := (*caller)(v)
	err := c.Err()
	if err == nil {
		err = s.d.Lend(c, 0, packet.TypeResponse, v.seq, m.Append(buf[:0]), data, when)
	}
	canceled := c.Err()
	_, tooLarge := err.(*geminio.LimitError)
	switch {
	case err == nil && canceled != nil: // after Lend: the response is queued
		s.d.Withdraw(v.seq, emptyResponse(canceled))
		return answered{code: giveUpCode(canceled), err: canceled}
	case canceled != nil:
		s.d.Post(packet.TypeResponse, v.seq, emptyResponse(canceled))
		return answered{code: giveUpCode(canceled), err: canceled}
	case tooLarge:
		m = packet.Response{Code: uint32(geminio.CodeTooLarge), Text: err.Error()}
		s.d.Send(context.Background(), 0, packet.TypeResponse, v.seq, m.Append(buf[:0]), nil, when)
		return answered{code: geminio.CodeTooLarge, err: err}
	case err != nil: // the stream has ended: the peer learns that from the stream
		return answered{code: geminio.CodeClosed, err: io.EOF}
	}
	return answered{code: geminio.Code(why.Code), text: why.Text, err: v.resp.err, size: len(m.Custom) + len(data)}
}

// answered is how a call was answered.
type answered struct {
	code geminio.Code
	text string
	err  error // nil if there is none with this text
	size int   // the length of the data and the custom
}

// emptyResponse returns the body of the response to a call whose caller no longer waits. err
// is the error of the caller's context.
func emptyResponse(err error) []byte {
	m := packet.Response{Code: uint32(giveUpCode(err))}
	return m.Append(nil)
}

// giveUpCode returns the code that says why a caller no longer waits. err is the error of
// the caller's context.
func giveUpCode(err error) geminio.Code {
	if err == context.DeadlineExceeded {
		return geminio.CodeDeadline
	}
	return geminio.CodeCanceled
}

// cancel handles a Cancel of the peer for its request with number seq on s. It ends the
// handler's context, and replaces the response by an empty one. The response may not exist
// yet, may wait for credit, may be queued, or may be sent in part.
func (e *End) cancel(s *Stream, seq uint64, a packet.Answer) {
	why := context.Canceled
	if geminio.Code(a.Code) == geminio.CodeDeadline {
		why = context.DeadlineExceeded
	}
	e.serving.cancel(s, seq, why)
	s.d.Withdraw(seq, emptyResponse(why))
}

// caller is a serving in the role of a context.Context, with which its response is sent. It
// ends when the caller no longer waits. The handler's context, serving.ctx, ends at the same
// time, or earlier when the handler returns.
type caller serving

var _ context.Context = (*caller)(nil)

// giveUp ends this context and the context of the handler, both with err. It does nothing
// if the request arrived on another stream than s.
func (c *caller) giveUp(s *Stream, err error) {
	c.ctx.mu.Lock()
	defer c.ctx.mu.Unlock()
	if c.callerErr != nil || c.s != s {
		return
	}
	c.callerErr = err
	if c.callerGone != nil {
		close(c.callerGone)
	}
	c.ctx.endLocked(err)
}

// Deadline implements context.Context.
func (c *caller) Deadline() (_ time.Time, ok bool) { return }

// Done implements context.Context.
func (c *caller) Done() <-chan struct{} {
	c.ctx.mu.Lock()
	defer c.ctx.mu.Unlock()
	if c.callerGone == nil {
		c.callerGone = make(chan struct{})
		if c.callerErr != nil {
			close(c.callerGone)
		}
	}
	return c.callerGone
}

// Err implements context.Context.
func (c *caller) Err() error {
	c.ctx.mu.Lock()
	defer c.ctx.mu.Unlock()
	return c.callerErr
}

// Value implements context.Context.
func (c *caller) Value(any) any { return nil }
