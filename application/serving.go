package application

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/internal/list"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/packet"
)

// serving is a request of the peer that is being served.
//
// A handler may run on after its context has ended, and it refers to its serving. Therefore
// a serving does not refer to its stream and End any more when they have ended, so that the
// garbage collector can free them.
type serving struct {
	req    request
	resp   response
	ctx    handlerContext // of the handler
	seq    uint64         // the number of the request's packet, which the response names
	size   int32          // the length of the packet's body, whose credit goes back to the peer
	sent   int32          // the length of its data and custom
	began  time.Duration  // when it has arrived, by the connection's clock
	rpc    geminio.RPC
	hijack geminio.HijackRPC // called instead of rpc; nil if there is no hijack
	stage  atomic.Uint32     // a stage

	registered bool // a method of this name is registered: the peer has not made it up

	next *serving           // the next request that waits for a worker; workers.mu guards it
	link list.Link[serving] // the position in Stream.serving; servingTable.mu guards it

	// Guarded by ctx.mu.
	s          *Stream              // the stream of the response; nil once it has ended
	e          *End                 // nil once it has ended
	asked      *Stream              // the stream if the handler has asked for it; else nil
	former     weak.Pointer[Stream] // the stream once it has ended
	callerErr  error                // why the caller no longer waits; nil while it waits
	callerGone chan struct{}        // closed when callerErr is set; nil if no goroutine waits for that
}

// endStream is called when the stream has ended. It ends the context of the handler.
func (v *serving) endStream() {
	v.ctx.mu.Lock()
	defer v.ctx.mu.Unlock()
	v.leave()
	v.ctx.endLocked(context.Canceled)
}

// endAll is called when the End has ended. It ends the context of the handler.
func (v *serving) endAll() {
	v.ctx.mu.Lock()
	defer v.ctx.mu.Unlock()
	v.leave()
	v.e = nil
	v.ctx.endLocked(context.Canceled)
}

// leave removes the reference to the stream, which has ended. v.ctx.mu is held.
func (v *serving) leave() {
	if v.s != nil {
		v.former, v.s = weak.Make(v.s), nil
	}
}

// stream returns the stream, and keeps it in memory as long as v from now on. It returns nil if
// the stream has ended and is no longer in memory.
func (v *serving) stream() *Stream {
	v.ctx.mu.Lock()
	defer v.ctx.mu.Unlock()
	switch {
	case v.asked != nil:
	case v.s != nil:
		v.asked = v.s
	default:
		v.asked = v.former.Value()
	}
	return v.asked
}

// end returns the End of the stream, under the same condition.
func (v *serving) end() *End {
	if s := v.stream(); s != nil {
		return s.end
	}
	v.ctx.mu.Lock()
	defer v.ctx.mu.Unlock()
	return v.e
}

// finish is called when the handler has returned. It ends the context of the handler, and
// returns the stream and the End, or nil for one that has ended.
func (v *serving) finish() (*Stream, *End) {
	v.ctx.mu.Lock()
	defer v.ctx.mu.Unlock()
	v.ctx.endLocked(context.Canceled)
	return v.s, v.e
}

// servingTable holds the requests of an End that are being served. Its methods are safe for
// concurrent use.
type servingTable struct {
	n atomic.Int64 // the number of requests

	mu    sync.Mutex
	all   byNumber[serving]
	begun uint64 // requests that were added
	ended bool   // the End has ended: add rejects requests
}

// admission is the result of servingTable.add.
type admission uint8

const (
	admitted    admission = iota
	afterTheEnd           // the stream or the End of the request has ended
	inUse                 // another request has the same number
)

// add adds v, a request on s, unless endStream or endAll was called before.
func (t *servingTable) add(s *Stream, v *serving) admission {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ended || s.ended.Load(): // the latter is set before endStream is called
		return afterTheEnd
	case t.all.get(v.seq) != nil:
		return inUse
	}
	t.all.add(v.seq, v)
	t.begun++
	t.n.Add(1)
	s.serving.Add(&v.link, v)
	return admitted
}

// remove removes v. It reports false if endAll has removed it.
func (t *servingTable) remove(v *serving) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all.get(v.seq) != v {
		return false
	}
	t.all.remove(v.seq)
	t.n.Add(-1)
	v.link.Remove()
	return true
}

// trim frees the memory that the table keeps for reuse, unless it has requests.
func (t *servingTable) trim() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all.len() == 0 {
		t.all = byNumber[serving]{}
	}
}

// cancel is called when the caller of the request with a number on s no longer waits. why is
// the error of the caller's context.
func (t *servingTable) cancel(s *Stream, seq uint64, why error) {
	t.mu.Lock()
	v := t.all.get(seq)
	t.mu.Unlock()
	if v != nil {
		(*caller)(v).giveUp(s, why)
	}
}

// endStream is called when a stream has ended. It ends the contexts of its handlers.
func (t *servingTable) endStream(s *Stream) {
	var all []*serving
	t.mu.Lock()
	for v := s.serving.First(); v != nil; v = s.serving.First() {
		all = append(all, v)
		v.link.Remove()
	}
	t.mu.Unlock()
	for _, v := range all {
		v.endStream()
	}
}

// endAll is called when the End and its streams have ended. It ends the contexts of all
// handlers, and removes and returns their requests.
func (t *servingTable) endAll() (all []*serving) {
	t.mu.Lock()
	t.ended = true
	all = slices.Collect(t.all.all)
	t.all = byNumber[serving]{}
	t.n.Store(0)
	for _, v := range all {
		v.link.Remove()
	}
	t.mu.Unlock()
	for _, v := range all {
		v.endAll()
	}
	return all
}

// takeRequest starts the handler of a request of the peer. Package multiplexer calls it on
// the reading goroutine. owned says that body is not reused afterwards.
func (e *End) takeRequest(s *Stream, seq uint64, body []byte, owned bool) error {
	m, err := packet.ParseRequest(body)
	if err != nil {
		return err
	}
	v := &serving{s: s, e: e, seq: seq, size: int32(len(body)), sent: int32(len(m.Custom) + len(m.Data)), began: e.c.LastRead()}
	v.req = request{id: m.ID, clientID: s.ClientID(), streamID: s.StreamID(), timeout: m.Timeout}
	v.ctx.incoming, v.req.custom, v.req.data = keep(m.Metadata, m.Custom, m.Data, owned)
	v.req.method, v.rpc, v.hijack, v.registered = s.find(m.Method)
	if err := e.checkIncoming("request", m.Metadata); err != nil {
		v.rpc, v.hijack, v.ctx.incoming = refuseCall(err), nil, nil
	}
	v.resp = response{id: m.ID, clientID: v.req.clientID, streamID: v.req.streamID, method: v.req.method, v: v}
	if e.wrap != nil {
		v.stage.Store(stageEntered)
	}
	v.ctx.v, v.ctx.clock, v.ctx.deadline = v, e.c.Clock(), deadlineIn(m.Timeout)
	if o := e.cfg.Observer; o.Calls() {
		ev := v.event(e, s)
		o.BeginCall(&ev)
	}
	switch e.serving.add(s, v) {
	case inUse:
		err := &packet.Error{What: "request", Reason: fmt.Sprintf("number %d is in use", seq)}
		v.ends(e, err)
		return err
	case afterTheEnd:
		v.ends(e, io.EOF)
		s.d.Release(packet.TypeRequest, int(v.size))
		return nil
	}
	e.workers.run(v)
	return nil
}

// run calls the handler and sends its response. A worker calls it.
func (v *serving) run(log *slog.Logger) {
	var why packet.Reason
	returned := false
	defer func() {
		if !returned { // the handler, or a method of its error, has called runtime.Goexit
			v.resp = response{}
			why = packet.Reason{Code: uint32(geminio.CodePanic), Text: "the handler ended its goroutine"}
		}
		v.done(why)
	}()
	why = v.handle(log)
	returned = true
}

// handle calls the handler and returns why the call has failed, or a zero Reason. A panic
// becomes an error.
func (v *serving) handle(log *slog.Logger) (why packet.Reason) {
	defer func() {
		if r := recover(); r != nil {
			why = packet.Reason{Code: uint32(geminio.CodePanic), Text: fmt.Sprintf("panic in handler of %q: %v", v.req.method, r)}
			v.resp = response{}
			log.Error("a handler panicked", "method", v.req.method, "client", v.req.clientID,
				"stream", v.req.streamID, "panic", r, "stack", string(debug.Stack()))
		}
	}()
	switch {
	case v.hijack != nil:
		v.hijack(&v.ctx, v.req.method, &v.req, &v.resp)
	case v.rpc != nil:
		v.rpc(&v.ctx, &v.req, &v.resp)
	default:
		return packet.Reason{Code: uint32(geminio.CodeNoMethod), Text: "no such rpc: " + v.req.method}
	}
	if why := misused(&v.stage, v.req.method); why.Code != 0 {
		v.resp = response{}
		return why
	}
	if v.resp.err == nil {
		return packet.Reason{}
	}
	return guard.Describe(log, v.resp.err)
}

// done sends the response, removes the request and gives its credit back. It skips the
// stream and the End if they have ended.
func (v *serving) done(why packet.Reason) {
	s, e := v.finish()
	if e == nil {
		return
	}
	when := multiplexer.AtOnce
	if e.serving.n.Load() > 1 {
		when = multiplexer.Gathered
	}
	var sent answered
	if s != nil {
		sent = v.respond(s, why, when)
	}
	if e.serving.remove(v) { // not earlier: Shutdown waits for the response too
		v.answers(e, s, sent)
	}
	e.Stream.d.Release(packet.TypeRequest, int(v.size)) // the credit of requests is one for all streams
	e.checkIdle()
}
