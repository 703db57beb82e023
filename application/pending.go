package application

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/clock"
	"github.com/singchia/geminio/internal/list"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/packet"
)

// pending is an operation that waits for the peer's answer: a call, a message or a
// registration. The goroutine that removes it from the table must complete it, and no
// other may.
type pending struct {
	call uint64
	typ  packet.Type
	s    *Stream
	sent atomic.Bool // the packet was sent, or is ready to be sent

	until time.Time // the deadline; zero: none

	place list.Link[pending] // the position in Stream.waiting; the table's lock guards it

	// The result, set before done is signaled or async is called.
	resp *response // the response of a call that was answered
	err  error

	done  chan struct{}    // signaled when the result is set; has room for one
	async func(p *pending) // called instead, for an asynchronous operation; else nil

	// These end the wait of an asynchronous operation. The table's lock guards them until
	// the entry is removed.
	timer   clock.Timer
	unwatch func() bool
}

// pendingTable holds the operations of an End that wait for an answer.
type pendingTable struct {
	mu   sync.Mutex
	last uint64
	wait map[uint64]*pending
	free []*pending
	many bool // whether there were others when the last one began
	over bool
}

// maxFree bounds the entries that are kept for reuse.
const maxFree = 128

// begin makes an entry, or returns nil after the end. It tells whether there are others, or
// are likely to be soon. For a number of 0 the table chooses one; until is the deadline of
// the operation, or zero.
func (t *pendingTable) begin(s *Stream, typ packet.Type, number uint64, until time.Time, async func(*pending)) (p *pending, others bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return nil, false
	}
	if n := len(t.free); n > 0 && async == nil {
		p, t.free = t.free[n-1], t.free[:n-1]
	} else {
		p = &pending{done: make(chan struct{}, 1)}
	}
	if t.wait == nil {
		t.wait = make(map[uint64]*pending)
	}
	if number == 0 {
		t.last++
		number = t.last
	} else if t.wait[number] != nil {
		panic("BUG: a delivery is under way twice on one connection")
	}
	p.call, p.typ, p.s, p.until, p.async = number, typ, s, until, async
	t.wait[p.call] = p
	s.waiting.Add(&p.place, p)
	// Others are likely to follow the first operation after many were answered together.
	before := t.many
	t.many = len(t.wait) > 1
	return p, before || t.many
}

// takeOut removes and returns the entry with a number and type, or returns nil if there is
// none.
func (t *pendingTable) takeOut(call uint64, typ packet.Type) *pending {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.wait[call]
	if p == nil || p.typ != typ {
		return nil
	}
	t.remove(p)
	return p
}

// answered removes and returns the entry with a number and type, for which an answer has
// come on s. It returns nil if there is none, and an error if it is one of another stream.
func (t *pendingTable) answered(s *Stream, call uint64, typ packet.Type) (*pending, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.wait[call]
	switch {
	case p == nil || p.typ != typ:
		return nil, nil
	case p.s != s:
		return nil, otherStream("answer", call, p.s, s)
	}
	t.remove(p)
	return p, nil
}

// otherStream is the error of a peer that sends the answer to an operation on another
// stream than the operation.
func otherStream(what string, call uint64, of, on *Stream) error {
	return &packet.Error{What: what, Reason: fmt.Sprintf("number %d is of stream %d, and comes on %d", call, of.StreamID(), on.StreamID())}
}

// remove removes p. t.mu is held.
func (t *pendingTable) remove(p *pending) {
	delete(t.wait, p.call)
	p.place.Remove()
}

// recycle keeps p, whose result was used, for the next begin.
func (t *pendingTable) recycle(p *pending) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.free) < maxFree {
		*p = pending{done: p.done}
		t.free = append(t.free, p)
	}
}

func (t *pendingTable) empty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.wait) == 0
}

// end has begin fail from now on.
func (t *pendingTable) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
}

// endStream completes the operations that were sent on a stream that has ended. Operations
// that were not sent yet fail in start.
func (t *pendingTable) endStream(s *Stream, cause error) {
	var all []*pending
	t.mu.Lock()
	for p := s.waiting.First(); p != nil; {
		next := p.place.Next()
		if p.sent.Load() {
			t.remove(p)
			all = append(all, p)
		}
		p = next
	}
	t.mu.Unlock()
	for _, p := range all {
		// The caller may reuse the memory of the part that was not sent.
		unseen := s.d.Abandon(p.typ, p.call)
		p.complete(nil, &geminio.InterruptedError{MaybeExecuted: !unseen, Cause: cause})
	}
}

// complete sets the result and wakes the waiting goroutine. The caller has removed p.
func (p *pending) complete(resp *response, err error) {
	e := p.s.end // p may be recycled as soon as it is done
	p.resp, p.err = resp, err
	if p.async == nil {
		p.done <- struct{}{}
	} else {
		p.disarm()
		p.async(p)
	}
	e.settle()
}

// late tells whether the deadline of p has passed.
func (p *pending) late() bool { return !p.until.IsZero() && !time.Now().Before(p.until) }

// disarm stops the timer and the watch of the context of p, which was removed.
func (p *pending) disarm() {
	if p.timer != nil {
		p.timer.Stop()
	}
	if p.unwatch != nil {
		p.unwatch()
	}
}

// operation is a call, a publication or a registration: a packet that is sent, and the wait
// for its answer. The head of the packet is passed beside it: its memory can be reused at
// once, and that of data only when the operation has ended.
type operation struct {
	typ     packet.Type
	number  uint64        // the number of a delivery; 0: the table chooses one
	data    []byte        // the user must not change it until the operation has ended
	timeout time.Duration // 0: none
	until   time.Time     // the deadline, set by start if there is a timeout
}

// left returns what is left of the timeout, above 0, or 0 if there is none.
func (op *operation) left() time.Duration {
	if op.until.IsZero() {
		return 0
	}
	return max(time.Until(op.until), 1)
}

// start sends an operation's packet. If it returns an error, there is no entry. If async is
// not nil, it is called with the result, and the caller does not call wait.
//
// Until the packet is ready to be sent, only Lend observes the context and the timeout: an
// operation must not end while Lend may still use its data.
func (s *Stream) start(ctx context.Context, op *operation, head []byte, async func(*pending)) (*pending, error) {
	e := s.end
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	op.until = deadlineIn(op.timeout)
	until := op.until
	if at, ok := ctx.Deadline(); ok && (until.IsZero() || at.Before(until)) {
		until = at
	}
	p, others := e.pending.begin(s, op.typ, op.number, until, async)
	if p == nil {
		return nil, io.EOF
	}
	call := p.call
	when := multiplexer.AtOnce
	switch {
	case others && async != nil:
		when = multiplexer.Later
	case others:
		when = multiplexer.Gathered
	}
	err := s.d.Lend(ctx, op.timeout, op.typ, call, head, op.data, when)
	if err == nil {
		s.started(p, call, op.typ)
		if async != nil {
			e.arm(ctx, op, p, call)
		}
		return p, nil
	}
	taken := e.pending.takeOut(call, op.typ)
	e.settle()
	switch {
	case taken != nil:
		return nil, err
	case async != nil:
		return p, nil // a peer that has answered before the request was sent has completed it
	}
	<-p.done
	return nil, err
}

// started marks an operation as sent, and completes it if its stream has ended meanwhile.
func (s *Stream) started(p *pending, call uint64, typ packet.Type) {
	p.sent.Store(true) // before the check: endWork sets ended first and then checks sent
	if s.closed() != nil && s.end.pending.takeOut(call, typ) != nil {
		unseen := s.d.Abandon(typ, call)
		cause := s.end.Cause()
		if cause == nil {
			cause = io.EOF // only the stream has ended
		}
		p.complete(nil, &geminio.InterruptedError{MaybeExecuted: !unseen, Cause: cause})
	}
}

// arm has the context and the timeout end an asynchronous operation, unless it has ended.
func (e *End) arm(ctx context.Context, op *operation, p *pending, call uint64) {
	typ := op.typ
	e.pending.mu.Lock()
	defer e.pending.mu.Unlock()
	if e.pending.wait[call] != p {
		return
	}
	if op.timeout > 0 {
		p.timer = e.c.Clock().AfterFunc(op.left(), func() { e.giveUp(call, typ, context.DeadlineExceeded) })
	}
	if ctx.Done() != nil {
		p.unwatch = context.AfterFunc(ctx, func() { e.giveUp(call, typ, ctx.Err()) })
	}
}

// giveUp completes an operation whose deadline has passed or whose context has ended, and
// tells the peer.
func (e *End) giveUp(call uint64, typ packet.Type, err error) {
	if p := e.pending.takeOut(call, typ); p != nil {
		e.abandon(p.s, call, typ, err)
		p.complete(nil, err)
	}
}

// abandon removes the part of an operation that was not sent yet, and tells the peer that
// the caller no longer waits for the answer.
func (e *End) abandon(s *Stream, call uint64, typ packet.Type, err error) {
	unseen := s.d.Abandon(typ, call)
	if typ != packet.TypeRequest || unseen {
		return
	}
	a := packet.Answer{Code: uint32(giveUpCode(err))}
	s.d.Post(packet.TypeCancel, call, a.Append(nil))
}

// wait waits for the answer to an operation that was started with a nil async.
func (s *Stream) wait(ctx context.Context, op *operation, p *pending) (*response, error) {
	e := s.end
	var late chan struct{}
	if op.timeout > 0 {
		late = make(chan struct{})
		timer := e.c.Clock().AfterFunc(op.left(), func() { close(late) })
		defer timer.Stop()
	}
	var gone error
	if late == nil && ctx.Done() == nil {
		<-p.done
	} else {
		select {
		case <-p.done:
		case <-ctx.Done():
			gone = ctx.Err()
		case <-late:
			gone = context.DeadlineExceeded
		}
	}
	if gone != nil {
		if e.pending.takeOut(p.call, p.typ) != nil {
			e.abandon(s, p.call, p.typ, gone)
			e.pending.recycle(p)
			e.settle()
			return nil, gone
		}
		<-p.done
	}
	resp, err := p.resp, p.err
	e.pending.recycle(p)
	return resp, err
}

// do starts an operation and waits for its answer.
func (s *Stream) do(ctx context.Context, op *operation, head []byte) (*response, error) {
	p, err := s.start(ctx, op, head, nil)
	if err != nil {
		return nil, err
	}
	return s.wait(ctx, op, p)
}

// takeAnswer takes the peer's answer to a message or a registration.
func (e *End) takeAnswer(s *Stream, call uint64, typ packet.Type, a packet.Answer) error {
	of := packet.TypeMessage
	if typ == packet.TypeRegistered {
		of = packet.TypeRegister
	}
	p, err := e.pending.answered(s, call, of)
	if p != nil {
		p.complete(nil, remoteError(a.Code, a.Text))
	}
	return err
}

// remaining returns the shorter of a timeout (0: none) and the time until the deadline of
// ctx, and 0 if there is neither.
func remaining(ctx context.Context, timeout time.Duration) time.Duration {
	at, ok := ctx.Deadline()
	if !ok {
		return timeout
	}
	left := max(time.Until(at), 1)
	if timeout > 0 {
		left = min(left, timeout)
	}
	return left
}
