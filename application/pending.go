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

// pending is an operation that waits for the peer's answer: a call, a publication or a
// registration. The goroutine that removes a pending from the table must complete it, and no
// other goroutine may.
type pending struct {
	seq  uint64 // the number of the packet, which the answer names
	typ  packet.Type
	s    *Stream
	sent atomic.Bool // the packet is queued or sent

	deadline time.Time // the deadline; zero: none

	method string        // of a call
	began  time.Duration // when the operation has begun, by the connection's clock

	link list.Link[pending] // the position in Stream.waiting; the table's lock guards it

	// The result. It is set before done is signaled or async is called.
	resp *response // of a call that was answered; else nil
	err  error

	done  chan struct{}    // signaled when the result is set, unless async is; has room for one
	async func(p *pending) // called when the result is set; nil for a synchronous operation

	// watch ends the wait of an asynchronous operation. The table's lock guards it until the
	// entry is removed.
	watch watch
}

// watch ends the wait of an asynchronous operation. Making and stopping it calls methods of
// the caller's context and timer, so no lock may be held.
type watch struct {
	timer   clock.Timer // ends the wait at the timeout; nil if there is none
	unwatch func() bool // stops watching the context; nil if it never ends
}

// stop stops the timer, and watching the context.
func (w *watch) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.unwatch != nil {
		w.unwatch()
	}
}

// pendingKind is a kind of operations that are counted.
type pendingKind uint8

const (
	kindCall pendingKind = iota
	kindMessage
	kindRegister
	pendingKinds
)

// kindOf returns the kind of the operations whose packets have a type.
func kindOf(typ packet.Type) pendingKind {
	switch typ {
	case packet.TypeRequest:
		return kindCall
	case packet.TypeMessage:
		return kindMessage
	}
	return kindRegister
}

// pendingTable holds the operations of an End that wait for an answer. Its methods are safe
// for concurrent use.
type pendingTable struct {
	mu      sync.Mutex
	last    uint64
	entries byNumber[pending]
	free    []*pending
	kinds   [pendingKinds]geminio.Counts
	several bool // the table had other entries when the last one began
	ended   bool
}

// maxFree bounds the entries that are kept for reuse.
const maxFree = 128

// begin makes an entry, or returns nil after the end. others says that there are other
// entries, or that they are likely to follow. If op has no number, the table chooses that of
// the packet. A zero deadline stands for none.
func (t *pendingTable) begin(s *Stream, op *operation, deadline time.Time, async func(*pending)) (p *pending, others bool) {
	typ, number := op.typ, op.number
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return nil, false
	}
	if n := len(t.free); n > 0 && async == nil {
		p, t.free = t.free[n-1], t.free[:n-1]
	} else {
		p = &pending{done: make(chan struct{}, 1)}
	}
	if number == 0 {
		t.last++
		number = t.last
	} else if t.entries.get(number) != nil {
		panic("BUG: a delivery is under way twice on one connection")
	}
	p.seq, p.typ, p.s, p.deadline, p.async = number, typ, s, deadline, async
	p.method, p.began = op.method, op.began
	t.entries.add(p.seq, p)
	n := &t.kinds[kindOf(typ)]
	n.Begun++
	n.InFlight++
	s.waiting.Add(&p.link, p)
	// If several operations have just been answered together, others are likely to follow
	// the first one that begins afterwards.
	before := t.several
	t.several = t.entries.len() > 1
	return p, before || t.several
}

// take removes and returns the entry with a number and type, or returns nil if there is
// none.
func (t *pendingTable) take(seq uint64, typ packet.Type) *pending {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.entries.get(seq)
	if p == nil || p.typ != typ {
		return nil
	}
	t.remove(p)
	return p
}

// answered removes and returns the entry with a number and type, after an answer has arrived
// on s. It returns nil if there is none, and an error if the entry belongs to another
// stream.
func (t *pendingTable) answered(s *Stream, seq uint64, typ packet.Type) (*pending, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.entries.get(seq)
	switch {
	case p == nil || p.typ != typ:
		return nil, nil
	case p.s != s:
		return nil, otherStream("answer", seq, p.s, s)
	}
	t.remove(p)
	return p, nil
}

// otherStream is the error of a peer that sends the answer to an operation on another
// stream than the operation.
func otherStream(what string, seq uint64, of, on *Stream) error {
	return &packet.Error{What: what, Reason: fmt.Sprintf("number %d is of stream %d, and comes on %d", seq, of.StreamID(), on.StreamID())}
}

// remove removes p. t.mu is held.
func (t *pendingTable) remove(p *pending) {
	t.entries.remove(p.seq)
	t.kinds[kindOf(p.typ)].InFlight--
	p.link.Remove()
}

// recycle keeps p for the next begin. The caller has used the result of p.
func (t *pendingTable) recycle(p *pending) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.free) < maxFree {
		*p = pending{done: p.done}
		t.free = append(t.free, p)
	}
}

// trim frees the memory that the table keeps for reuse, unless an operation waits.
func (t *pendingTable) trim() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.entries.len() == 0 {
		t.entries, t.free = byNumber[pending]{}, nil
	}
}

// empty tells whether no operation waits.
func (t *pendingTable) empty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.entries.len() == 0
}

// end is called when the End has ended. From now on begin returns nil.
func (t *pendingTable) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
}

// endStream is called when a stream has ended. It completes the operations that were sent on
// the stream. Those that were not sent yet fail in start.
func (t *pendingTable) endStream(s *Stream, cause error) {
	var all []*pending
	t.mu.Lock()
	for p := s.waiting.First(); p != nil; {
		next := p.link.Next()
		if p.sent.Load() {
			t.remove(p)
			all = append(all, p)
		}
		p = next
	}
	t.mu.Unlock()
	for _, p := range all {
		// After Abandon the caller may reuse the memory of the part that was not sent.
		unseen := s.d.Abandon(p.typ, p.seq)
		p.complete(nil, &geminio.InterruptedError{MaybeExecuted: !unseen, Cause: cause})
	}
}

// complete sets the result and wakes the waiting goroutine. The caller has removed p.
func (p *pending) complete(resp *response, err error) {
	e := p.s.end // p may be recycled as soon as done is signaled
	p.resp, p.err = resp, err
	if p.async == nil {
		p.done <- struct{}{}
	} else {
		p.watch.stop()
		p.async(p)
	}
	e.checkIdle()
}

// expired tells whether the deadline of p has passed.
func (p *pending) expired() bool { return !p.deadline.IsZero() && !time.Now().Before(p.deadline) }

// operation describes a call, a publication or a registration: the packet to send, and how
// long to wait for its answer. The head of the packet is passed separately: its memory can
// be reused at once, but the memory of data only when the operation has ended.
type operation struct {
	typ      packet.Type
	method   string        // of a call
	began    time.Duration // by the connection's clock; 0: start sets it to now
	number   uint64        // of a delivery; 0: the table chooses the number of the packet
	data     []byte        // the user must not change it until the operation has ended
	timeout  time.Duration // 0: none
	deadline time.Time     // the deadline, set by start if there is a timeout
}

// timeLeft returns the time until the deadline, at least 1 ns, or 0 if there is no deadline.
func (op *operation) timeLeft() time.Duration {
	if op.deadline.IsZero() {
		return 0
	}
	return max(time.Until(op.deadline), 1)
}

// start makes the entry of an operation and sends its packet, for which it waits for credit.
// If start returns an error, there is no entry. If async is not nil, it is called with the
// result, and the caller does not call wait.
//
// Until the packet is queued, only Lend observes the context and the timeout: an operation
// must not end while Lend may still use its data.
func (s *Stream) start(ctx context.Context, op *operation, head []byte, async func(*pending)) (*pending, error) {
	e := s.end
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if op.began == 0 {
		op.began = e.c.Now()
	}
	op.deadline = deadlineIn(op.timeout)
	deadline := op.deadline
	if at, ok := ctx.Deadline(); ok && (deadline.IsZero() || at.Before(deadline)) {
		deadline = at
	}
	p, others := e.pending.begin(s, op, deadline, async)
	if p == nil {
		return nil, io.EOF
	}
	seq := p.seq
	when := multiplexer.AtOnce
	switch {
	case others && async != nil:
		when = multiplexer.Later
	case others:
		when = multiplexer.Gathered
	}
	err := s.d.Lend(ctx, op.timeout, op.typ, seq, head, op.data, when)
	if err == nil {
		s.started(p, seq, op.typ)
		if async != nil {
			e.arm(ctx, op, p, seq)
		}
		return p, nil
	}
	taken := e.pending.take(seq, op.typ)
	e.checkIdle()
	switch {
	case taken != nil:
		return nil, err
	case async != nil:
		return p, nil // the peer has answered before the request was sent, and async was called
	}
	<-p.done
	return nil, err
}

// started marks an operation as sent, and completes it if its stream has ended meanwhile.
func (s *Stream) started(p *pending, seq uint64, typ packet.Type) {
	p.sent.Store(true) // before the check: endOperations sets ended first and then checks sent
	if s.closed() != nil && s.end.pending.take(seq, typ) != nil {
		unseen := s.d.Abandon(typ, seq)
		cause := s.end.Cause()
		if cause == nil {
			cause = io.EOF // only the stream has ended
		}
		p.complete(nil, &geminio.InterruptedError{MaybeExecuted: !unseen, Cause: cause})
	}
}

// arm starts the timer and the watch of the context that end an asynchronous operation. It
// does nothing if the operation has ended already.
func (e *End) arm(ctx context.Context, op *operation, p *pending, seq uint64) {
	typ := op.typ
	var w watch
	if op.timeout > 0 {
		w.timer = e.c.Clock().AfterFunc(op.timeLeft(), func() { e.giveUp(seq, typ, context.DeadlineExceeded) })
	}
	if ctx.Done() != nil {
		w.unwatch = context.AfterFunc(ctx, func() { e.giveUp(seq, typ, ctx.Err()) })
	}
	e.pending.mu.Lock()
	ended := e.pending.entries.get(seq) != p
	if !ended {
		p.watch = w
	}
	e.pending.mu.Unlock()
	if ended {
		w.stop()
	}
}

// giveUp completes an operation whose deadline has passed or whose context has ended, and
// tells the peer.
func (e *End) giveUp(seq uint64, typ packet.Type, err error) {
	if p := e.pending.take(seq, typ); p != nil {
		e.abandon(p.s, seq, typ, err)
		p.complete(nil, err)
	}
}

// abandon removes the part of an operation that was not sent yet, and tells the peer that
// the caller no longer waits for the answer.
func (e *End) abandon(s *Stream, seq uint64, typ packet.Type, err error) {
	unseen := s.d.Abandon(typ, seq)
	if typ != packet.TypeRequest || unseen {
		return
	}
	a := packet.Answer{Code: uint32(giveUpCode(err))}
	s.d.Post(packet.TypeCancel, seq, a.Append(nil))
}

// wait waits for the answer to an operation that was started with a nil async, at most until
// ctx or the timeout ends.
func (s *Stream) wait(ctx context.Context, op *operation, p *pending) (*response, error) {
	e := s.end
	var timeout chan struct{}
	if op.timeout > 0 {
		timeout = make(chan struct{})
		timer := e.c.Clock().AfterFunc(op.timeLeft(), func() { close(timeout) })
		defer timer.Stop()
	}
	var canceled error
	if timeout == nil && ctx.Done() == nil {
		<-p.done
	} else {
		select {
		case <-p.done:
		case <-ctx.Done():
			canceled = ctx.Err()
		case <-timeout:
			canceled = context.DeadlineExceeded
		}
	}
	if canceled != nil {
		if e.pending.take(p.seq, p.typ) != nil {
			e.abandon(s, p.seq, p.typ, canceled)
			e.pending.recycle(p)
			e.checkIdle()
			return nil, canceled
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

// takeAnswer completes the publication or registration which the peer has answered. Package
// multiplexer calls it on the reading goroutine.
func (e *End) takeAnswer(s *Stream, seq uint64, typ packet.Type, a packet.Answer) error {
	of := packet.TypeMessage
	if typ == packet.TypeRegistered {
		of = packet.TypeRegister
	}
	p, err := e.pending.answered(s, seq, of)
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
