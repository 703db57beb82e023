package application

import (
	"context"
	"sync"
	"time"

	"github.com/singchia/geminio/internal/clock"
	"github.com/singchia/geminio/internal/ctxkey"
	"github.com/singchia/geminio/internal/pairs"
	"github.com/singchia/geminio/multiplexer"
)

// handlerContext is the context of a running handler. It ends when the caller no longer
// waits, the stream ends, or the handler returns. The channel and the timer are made on the
// first call of Done.
type handlerContext struct {
	v        *serving // the request; nil in tests
	clock    clock.Clock
	deadline time.Time // zero: none

	mu    sync.Mutex
	err   error
	done  chan struct{}
	timer clock.Timer
	after map[*func()]struct{} // see AfterFunc

	incoming pairs.List    // the metadata of the request; read-only
	answer   *pairs.Answer // the metadata of the response; nil until the handler sets it; mu guards it
}

var _ context.Context = (*handlerContext)(nil)

// Deadline implements context.Context.
func (c *handlerContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// nestedPatience bounds the time for which a call that a handler makes waits for a free
// handler of the peer. Without the bound, a recursion between the two sides that is deeper
// than the number of handlers would wait for ever.
const nestedPatience = 10 * time.Second

// Value implements context.Context.
func (c *handlerContext) Value(key any) any {
	switch key.(type) {
	case multiplexer.PatienceKey:
		return nestedPatience
	case servingKey:
		return c.v
	case ctxkey.Stream:
		if s := c.v.stream(); s != nil {
			return s.user()
		}
	case ctxkey.Registered:
		return c.v.registered
	case ctxkey.End:
		if e := c.v.end(); e != nil {
			return e.user
		}
	case pairs.IncomingKey:
		return &c.incoming
	case pairs.AnswerKey:
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.answer == nil {
			c.answer = &pairs.Answer{}
		}
		return c.answer
	}
	return nil
}

// answered returns the metadata that the handler has set for its answer.
func (c *handlerContext) answered() (pairs.List, error) {
	c.mu.Lock()
	a := c.answer
	c.mu.Unlock()
	if a == nil {
		return nil, nil
	}
	return a.Get()
}

// Done implements context.Context.
func (c *handlerContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		} else {
			c.startTimer()
		}
	}
	return c.done
}

// startTimer has the context end at its deadline. c.mu is held.
func (c *handlerContext) startTimer() {
	if c.timer == nil && !c.deadline.IsZero() {
		c.timer = c.clock.AfterFunc(time.Until(c.deadline), func() { c.end(context.DeadlineExceeded) })
	}
}

// Err implements context.Context.
func (c *handlerContext) Err() error {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	if err == nil && !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		c.end(context.DeadlineExceeded)
		return context.DeadlineExceeded
	}
	return err
}

// AfterFunc calls f in a goroutine of its own when the context has ended. Package context
// uses it for contexts that are derived from this one, so that they need no goroutine each.
func (c *handlerContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	c.startTimer()
	if c.after == nil {
		c.after = make(map[*func()]struct{})
	}
	key := &f
	c.after[key] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waits := c.after[key]
		delete(c.after, key)
		return waits
	}
}

// end ends the context. Only the first call has an effect.
func (c *handlerContext) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked(err)
}

// endLocked is end with c.mu held.
func (c *handlerContext) endLocked(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	if c.done != nil {
		close(c.done)
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	for f := range c.after {
		go (*f)()
	}
	c.after = nil
}
