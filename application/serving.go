package application

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/packet"
)

// serving is a request of the peer and its handler.
type serving struct {
	req  request
	resp response
	ctx  handlerContext
	s    *Stream
	call uint64
	size int // of the body, for which credit is to be given back
	rpc  geminio.RPC
	hij  geminio.HijackRPC // instead of rpc
	next *serving          // of those that wait for a worker, whose lock guards it
}

// servingTable has the requests that are being served.
type servingTable struct {
	n atomic.Int64 // how many there are

	mu  sync.Mutex
	all map[uint64]*serving
}

// add adds v; it reports false if its number is in use, and tells whether there
// are others.
func (t *servingTable) add(v *serving) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = make(map[uint64]*serving)
	}
	if t.all[v.call] != nil {
		return false
	}
	t.all[v.call] = v
	t.n.Add(1)
	v.s.serving++
	return true
}

// remove removes v.
func (t *servingTable) remove(v *serving) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, v.call)
	t.n.Add(-1)
	v.s.serving--
}

// cancel ends the context of the handler of a call that nobody waits for.
func (t *servingTable) cancel(call uint64, why packet.Answer) {
	t.mu.Lock()
	v := t.all[call]
	t.mu.Unlock()
	if v == nil {
		return
	}
	if geminio.Code(why.Code) == geminio.CodeDeadline {
		v.ctx.end(context.DeadlineExceeded)
	} else {
		v.ctx.end(context.Canceled)
	}
}

// endStream ends the contexts of a stream's handlers.
func (t *servingTable) endStream(s *Stream) {
	t.mu.Lock()
	none := s.serving == 0
	t.mu.Unlock()
	if !none {
		t.endIf(func(v *serving) bool { return v.s == s })
	}
}

// endAll ends all contexts.
func (t *servingTable) endAll() { t.endIf(func(*serving) bool { return true }) }

func (t *servingTable) endIf(concerned func(*serving) bool) {
	var all []*serving
	t.mu.Lock()
	for _, v := range t.all {
		if concerned(v) {
			all = append(all, v)
		}
	}
	t.mu.Unlock()
	for _, v := range all {
		v.ctx.end(context.Canceled)
	}
}

// takeRequest has a request of the peer served.
func (e *End) takeRequest(s *Stream, call uint64, body []byte, owned bool) error {
	m, err := packet.ParseRequest(body)
	if err != nil {
		return err
	}
	v := &serving{s: s, call: call, size: len(body)}
	v.req = request{id: m.ID, clientID: s.ClientID(), streamID: s.StreamID(), timeout: m.Timeout}
	v.req.custom, v.req.data = keep(m.Custom, m.Data, owned)
	v.req.method, v.rpc, v.hij = s.find(m.Method)
	v.resp = response{id: m.ID, clientID: v.req.clientID, streamID: v.req.streamID, method: v.req.method}
	v.ctx.clock, v.ctx.deadline = e.c.Clock(), deadlineIn(m.Timeout)
	if !e.serving.add(v) {
		return &packet.Error{What: "request", Reason: fmt.Sprintf("number %d is in use", call)}
	}
	e.workers.run(v)
	return nil
}

// run runs the handler and sends its response.
func (v *serving) run() {
	e := v.s.end
	code := geminio.CodeApplication
	ended := false
	// Also where the handler ends its goroutine instead of returning.
	defer func() {
		if !ended {
			v.done(geminio.CodePanic, errors.New("the handler ended its goroutine"))
		}
	}()
	err := v.handle(e)
	if err != nil {
		code = geminio.CodePanic
	} else if _, isContext := v.resp.err.(interface{ Timeout() bool }); isContext && errors.Is(v.resp.err, context.DeadlineExceeded) {
		code = geminio.CodeDeadline
	} else if errors.Is(v.resp.err, context.Canceled) {
		code = geminio.CodeCanceled
	}
	if v.rpc == nil && v.hij == nil {
		code = geminio.CodeNoMethod
	}
	ended = true
	v.done(code, err)
}

// done sends the response, or err instead, and gives everything back.
func (v *serving) done(code geminio.Code, err error) {
	e := v.s.end
	v.ctx.end(context.Canceled)
	when := multiplexer.AtOnce
	if e.serving.n.Load() > 1 {
		when = multiplexer.Gathered
	}
	if err != nil {
		v.resp = response{err: err}
	}
	v.s.respond(v.call, &v.resp, code, when)
	e.serving.remove(v) // not sooner: Shutdown waits for the response too
	v.s.Release(packet.TypeRequest, v.size)
	e.settle()
}

// handle calls the handler; a panic becomes an error.
func (v *serving) handle(e *End) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic in handler of %q: %v", v.req.method, r)
			e.log.Error("a handler panicked", "method", v.req.method, "client", v.req.clientID,
				"stream", v.req.streamID, "panic", r, "stack", string(debug.Stack()))
		}
	}()
	switch {
	case v.hij != nil:
		v.hij(&v.ctx, v.req.method, &v.req, &v.resp)
	case v.rpc != nil:
		v.rpc(&v.ctx, &v.req, &v.resp)
	default:
		v.resp.err = fmt.Errorf("no such rpc: %s", v.req.method)
	}
	return nil
}
