package application

import (
	"context"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/packet"
)

// respond sends the response of a handler on s. why says why the call has failed, and is
// zero if it has not. The reading goroutine must not call respond, since a large response
// may have to wait for credit. If the caller no longer waits, respond sends a short
// response instead of the handler's.
func (v *serving) respond(s *Stream, why packet.Reason, when multiplexer.When) {
	m := packet.Response{Code: why.Code, Text: why.Text, Custom: v.resp.custom}
	var room [headRoom]byte
	c := (*caller)(v)
	err := c.Err()
	if err == nil {
		err = s.d.Lend(c, 0, packet.TypeResponse, v.call, m.Append(room[:0]), v.resp.data, when)
	}
	gone := c.Err()
	_, tooLarge := err.(*geminio.LimitError)
	switch {
	case err == nil && gone != nil: // by now, after the response was made ready
		s.d.Withdraw(v.call, noResponse(gone))
	case gone != nil:
		s.d.Post(packet.TypeResponse, v.call, noResponse(gone))
	case tooLarge:
		m = packet.Response{Code: uint32(geminio.CodeTooLarge), Text: err.Error()}
		s.d.Send(context.Background(), 0, packet.TypeResponse, v.call, m.Append(room[:0]), nil, when)
	}
	// Any other error says that the stream has ended, and the peer gets that from the stream.
}

// noResponse is the body of the response to a call whose caller no longer waits; err says
// why.
func noResponse(err error) []byte {
	m := packet.Response{Code: uint32(giveUpCode(err))}
	return m.Append(nil)
}

// giveUpCode returns the code for a caller that no longer waits, whose context's error is
// err.
func giveUpCode(err error) geminio.Code {
	if err == context.DeadlineExceeded {
		return geminio.CodeDeadline
	}
	return geminio.CodeCanceled
}

// cancel is called when the caller of a request on s no longer waits. It ends the handler's
// context, and replaces the response by a short one: before the response is queued, while
// it waits for credit, and when it is queued or half sent.
func (e *End) cancel(s *Stream, call uint64, a packet.Answer) {
	why := context.Canceled
	if geminio.Code(a.Code) == geminio.CodeDeadline {
		why = context.DeadlineExceeded
	}
	e.serving.cancel(s, call, why)
	s.d.Withdraw(call, noResponse(why))
}

// caller is a serving as the context of its response: it ends when the caller no longer
// waits.
type caller serving

var _ context.Context = (*caller)(nil)

// leave ends the context, and that of the handler, if the request is one of s.
func (c *caller) leave(s *Stream, err error) {
	c.ctx.mu.Lock()
	defer c.ctx.mu.Unlock()
	if c.gone != nil || c.s != s {
		return
	}
	c.gone = err
	if c.left != nil {
		close(c.left)
	}
	c.ctx.endLocked(err)
}

// Deadline implements context.Context.
func (c *caller) Deadline() (_ time.Time, ok bool) { return }

// Done implements context.Context.
func (c *caller) Done() <-chan struct{} {
	c.ctx.mu.Lock()
	defer c.ctx.mu.Unlock()
	if c.left == nil {
		c.left = make(chan struct{})
		if c.gone != nil {
			close(c.left)
		}
	}
	return c.left
}

// Err implements context.Context.
func (c *caller) Err() error {
	c.ctx.mu.Lock()
	defer c.ctx.mu.Unlock()
	return c.gone
}

// Value implements context.Context.
func (c *caller) Value(any) any { return nil }
