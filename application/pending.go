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

// pending is something that waits for the peer's answer: a call, a message, a
// registration. Whoever takes it out of the table, and only he, completes it.
type pending struct {
	call uint64
	typ  packet.Type
	s    *Stream
	sent atomic.Bool // or at least ready to be

	until time.Time // when its time is over; zero: never

	place list.Link[pending] // in Stream.waiting; the table's lock guards it

	// The result, set before done is signaled or async is called.
	resp *response // of a call that was answered
	err  error

	done  chan struct{}    // has room for one
	async func(p *pending) // instead of done

	// What ends the wait of an async one; guarded by the table's lock until it is
	// taken out.
	timer   clock.Timer
	unwatch func() bool
}

// pendingTable has all that waits in an End.
type pendingTable struct {
	mu   sync.Mutex
	last uint64
	wait map[uint64]*pending
	free []*pending
	many bool // there were others when the last one began
	over bool
}

// maxFree bounds the entries that are kept for the next ones.
const maxFree = 128

// begin makes an entry, or returns nil after the end. It tells whether there are
// others, or are about to be. A number of 0 is for the table to choose; until is when the
// time of the operation is over, if it is not zero.
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
	// The first one after many were answered together has others behind it.
	before := t.many
	t.many = len(t.wait) > 1
	return p, before || t.many
}

// takeOut takes the entry of that number and type out, or returns nil if it is
// gone.
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

// answered takes out the entry of that number and type, for which an answer has come on
// s. It returns nil if the entry is gone, and an error if it is that of another stream.
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

// otherStream is the error of a peer that sends on a stream what belongs to another.
func otherStream(what string, call uint64, of, on *Stream) error {
	return &packet.Error{What: what, Reason: fmt.Sprintf("number %d is of stream %d, and comes on %d", call, of.StreamID(), on.StreamID())}
}

// remove takes p, which waits, out. t.mu is held.
func (t *pendingTable) remove(p *pending) {
	delete(t.wait, p.call)
	p.place.Remove()
}

// recycle keeps p, whose result was taken, for the next begin.
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

// end lets nothing begin any more.
func (t *pendingTable) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
}

// endStream completes all that was sent on a stream that has ended. What was not
// fails where it is sent.
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
		// What of it was not sent is the caller's again.
		unseen := s.d.Abandon(p.typ, p.call)
		p.complete(nil, &geminio.InterruptedError{MaybeExecuted: !unseen, Cause: cause})
	}
}

// complete gives the result to who waits for it. The caller has taken p out.
func (p *pending) complete(resp *response, err error) {
	e := p.s.end // p is somebody else's as soon as it is done
	p.resp, p.err = resp, err
	if p.async == nil {
		p.done <- struct{}{}
	} else {
		p.disarm()
		p.async(p)
	}
	e.settle()
}

// late tells whether the time of p is over.
func (p *pending) late() bool { return !p.until.IsZero() && !time.Now().Before(p.until) }

// disarm has neither the context nor the timeout end p any more, which was taken
// out.
func (p *pending) disarm() {
	if p.timer != nil {
		p.timer.Stop()
	}
	if p.unwatch != nil {
		p.unwatch()
	}
}

// operation is what a user asks for: to send something and to wait for the
// answer. Its head goes beside it, so that the memory of the one can be used
// again at once, and of the other only when all is over.
type operation struct {
	typ     packet.Type
	number  uint64        // of a delivery; 0: the next one
	data    []byte        // left alone by its user until the operation is over
	timeout time.Duration // 0: none
	until   time.Time     // when that is over: set by start, if there is one
}

// left returns what is left of the timeout, above 0, or 0 if there is none.
func (op *operation) left() time.Duration {
	if op.until.IsZero() {
		return 0
	}
	return max(time.Until(op.until), 1)
}

// start sends an operation's packet. On an error nothing waits any more. If
// async is set, it is called with the result instead of wait.
//
// Until the packet is ready to be sent its context and timeout are looked at by Lend
// alone: an operation must not be over while Lend may still use its data.
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
		return p, nil // a peer that has answered what it cannot know has called it
	}
	<-p.done
	return nil, err
}

// started notes that an operation's packet is ready to be sent, and looks whether
// its stream has ended meanwhile.
func (s *Stream) started(p *pending, call uint64, typ packet.Type) {
	p.sent.Store(true) // before looking: who ends the stream does it the other way round
	if s.closed() != nil && s.end.pending.takeOut(call, typ) != nil {
		unseen := s.d.Abandon(typ, call)
		cause := s.end.Cause()
		if cause == nil {
			cause = io.EOF // only the stream has ended
		}
		p.complete(nil, &geminio.InterruptedError{MaybeExecuted: !unseen, Cause: cause})
	}
}

// arm lets the context and the timeout end an async operation, unless it is over.
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

// giveUp completes an operation whose time is up or whose caller has gone, and
// tells the peer.
func (e *End) giveUp(call uint64, typ packet.Type, err error) {
	if p := e.pending.takeOut(call, typ); p != nil {
		e.abandon(p.s, call, typ, err)
		p.complete(nil, err)
	}
}

// abandon takes back what was not yet sent of an operation and tells the peer
// that nobody waits for the answer.
func (e *End) abandon(s *Stream, call uint64, typ packet.Type, err error) {
	unseen := s.d.Abandon(typ, call)
	if typ != packet.TypeRequest || unseen {
		return
	}
	a := packet.Answer{Code: uint32(giveUpCode(err))}
	s.d.Post(packet.TypeCancel, call, a.Append(nil))
}

// wait waits for the answer to an operation that was started without async.
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

// remaining returns the shorter of a timeout (0: none) and the time that ctx
// leaves (0: it does not say).
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
