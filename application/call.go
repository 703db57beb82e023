package application

// This file has calls at the caller: Call, CallAsync, and the handling of a response.

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/ctxkey"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/internal/pairs"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
)

// headSize is the length up to which the head of a packet needs no allocation.
const headSize = 192

// Call calls a method of the peer and waits for the response. If ctx or the timeout ends
// earlier, Call returns context.Canceled or context.DeadlineExceeded, and the context of the
// handler ends. If the handler sets an error, Call returns the response and a
// *geminio.RemoteError with the text and code of that error. If the stream or the connection
// ends, the error is a *geminio.InterruptedError; if that was before the Call, it is io.EOF.
func (s *Stream) Call(ctx context.Context, method string, req geminio.Request, opts ...*options.CallOptions) (geminio.Response, error) {
	switch {
	case ctx == nil:
		return nil, nilarg.New("call", "context")
	case req == nil:
		return nil, nilarg.New("call", "request")
	}
	if i := s.end.cfg.Interceptors; i != nil && len(i.CallMiddleware) > 0 {
		return s.intercepted().Call(ctx, method, req, opts...)
	}
	return s.plainCall(ctx, method, req, opts...)
}

// plainCall is Call without middleware.
func (s *Stream) plainCall(ctx context.Context, method string, req geminio.Request, opts ...*options.CallOptions) (geminio.Response, error) {
	if err := s.check(req.ClientID(), req.StreamID()); err != nil {
		return nil, err
	}
	o := s.end.cfg.Observer
	if !o.Calls() {
		return s.doCall(ctx, 0, method, req, CallTimeout(req, opts))
	}
	begin := s.end.c.Now()
	return o.Call(ctx, s.user(), s.end.user, method, req, s.end.c.Time(begin), func() (geminio.Response, error) {
		return s.doCall(ctx, begin, method, req, CallTimeout(req, opts))
	})
}

// doCall is Call without the checks of the arguments. begin is the time at which the call has begun, by
// the connection's clock; 0 stands for now. A timeout of 0 stands for none.
func (s *Stream) doCall(ctx context.Context, begin time.Duration, method string, req geminio.Request, timeout time.Duration) (geminio.Response, error) {
	var buf [headSize]byte
	op := operation{began: begin, timeout: timeout}
	head, err := s.prepareCall(ctx, &op, buf[:0], method, req)
	if err != nil {
		return nil, err
	}
	resp, err := s.do(ctx, &op, head)
	if resp == nil {
		return nil, err
	}
	s.nameResponse(resp, method, req.ID())
	return resp, err
}

// CallAsync is Call without the wait for the response. When the call has ended, the returned
// Call is sent to ch, with its Response or Error. If ch is nil, CallAsync makes a channel with
// room for the Call. The channel is the Done of the Call. If the channel is full, the Call is
// sent when there is room, and dropped when the End has ended. CallAsync waits for the credit
// that the request needs.
func (s *Stream) CallAsync(ctx context.Context, method string, req geminio.Request, ch chan *geminio.Call, opts ...*options.CallOptions) (*geminio.Call, error) {
	switch {
	case ctx == nil:
		return nil, nilarg.New("call async", "context")
	case req == nil:
		return nil, nilarg.New("call async", "request")
	}
	if ch == nil {
		ch = make(chan *geminio.Call, 1)
	}
	c := &geminio.Call{Method: method, Request: req, Done: ch}
	done := func(resp geminio.Response, err error) {
		c.Response, c.Error = resp, err
		Hand(s.end.log, s.end.done, ch, c)
	}
	var err error
	if i := s.end.cfg.Interceptors; i != nil && len(i.CallMiddleware) > 0 {
		err = s.intercepted().StartCall(ctx, method, req, opts, done)
	} else {
		err = s.plainStartCall(ctx, method, req, opts, done)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// plainStartCall is plainCall without the wait. It calls done with the outcome, unless it returns
// an error.
func (s *Stream) plainStartCall(ctx context.Context, method string, req geminio.Request, opts []*options.CallOptions, done func(geminio.Response, error)) error {
	if err := s.check(req.ClientID(), req.StreamID()); err != nil {
		return err
	}
	start := func(done func(geminio.Response, error)) error {
		return s.startCall(ctx, method, req, CallTimeout(req, opts), done)
	}
	if o := s.end.cfg.Observer; o.Calls() {
		return o.StartCall(ctx, s.user(), s.end.user, method, req, time.Now(), start, done)
	}
	return start(done)
}

// startCall is doCall without the wait for the response. It calls done with the outcome; done
// must not block. If startCall returns an error, it does not call done.
func (s *Stream) startCall(ctx context.Context, method string, req geminio.Request, timeout time.Duration, done func(geminio.Response, error)) error {
	var buf [headSize]byte
	op := operation{timeout: timeout}
	head, err := s.prepareCall(ctx, &op, buf[:0], method, req)
	if err != nil {
		return err
	}
	_, err = s.start(ctx, &op, head, func(p *pending) {
		if p.resp == nil {
			done(nil, p.err)
			return
		}
		s.nameResponse(p.resp, method, req.ID())
		done(p.resp, p.err)
	})
	return err
}

// CallTimeout returns the timeout of the options, or of the request if the options have none. It
// returns 0 if the request has none either.
func CallTimeout(req geminio.Request, opts []*options.CallOptions) time.Duration {
	if len(opts) > 0 {
		if t := options.MergeCallOptions(opts...).Timeout; t != nil {
			return max(*t, 0)
		}
	}
	return max(req.Timeout(), 0)
}

// Hand sends v to ch without blocking. If ch is full, Hand starts a goroutine that sends v, or
// drops it when done is closed. If the user has closed ch, Hand logs that.
func Hand[T any](log *slog.Logger, done <-chan struct{}, ch chan T, v T) {
	defer recoverClosed(log)
	select {
	case ch <- v:
		return
	default:
	}
	go func() {
		defer recoverClosed(log)
		select {
		case ch <- v:
		case <-done:
		}
	}()
}

// recoverClosed recovers from the panic of a send to a channel that the user has closed, and
// logs it. It is called by a defer statement.
func recoverClosed(log *slog.Logger) {
	if v := recover(); v != nil {
		log.Error("the channel of an asynchronous call or publication is closed", "panic", v)
	}
}

// prepareCall checks a call, completes its operation, and appends the head of its packet to
// buf.
func (s *Stream) prepareCall(ctx context.Context, op *operation, buf []byte, method string, req geminio.Request) (head []byte, err error) {
	if len(method) > packet.MaxName {
		return nil, &geminio.LimitError{What: "method", Value: uint64(len(method)), Limit: packet.MaxName, Err: geminio.ErrTooLarge}
	}
	if err := s.closed(); err != nil {
		return nil, err
	}
	if s.end.cfg.CheckRemote && !s.methods().knows(method) && ctx.Value(ctxkey.Unchecked{}) == nil {
		return nil, geminio.ErrRemoteRPCUnregistered
	}
	md, err := s.end.outgoing(ctx)
	if err != nil {
		return nil, err
	}
	op.typ, op.method = packet.TypeRequest, method
	p := packet.Request{
		ID: req.ID(), Timeout: remaining(ctx, op.timeout), Method: stringBytes(method), Metadata: md, Custom: req.Custom(),
	}
	op.data = req.Data()
	return p.Append(buf), nil
}

// closed returns io.EOF if the stream or its End has ended.
func (s *Stream) closed() error {
	if s.ended.Load() {
		return io.EOF
	}
	return nil
}

// nameResponse sets the ids and the method of a response to those of its call.
func (s *Stream) nameResponse(r *response, method string, id uint64) {
	r.id, r.method, r.clientID, r.streamID = id, method, s.ClientID(), s.StreamID()
}

// takeResponse completes the call to which the peer has sent a response. Package multiplexer
// calls it on the reading goroutine. owned says that body is not reused afterwards.
func (e *End) takeResponse(s *Stream, seq uint64, body []byte, owned bool) error {
	m, err := packet.ParseResponse(body)
	if err != nil {
		return err
	}
	p, err := e.pending.answered(s, seq, packet.TypeRequest)
	if p == nil {
		return err // nil if the caller no longer waits
	}
	if p.expired() { // the handler may have answered because its own deadline has passed
		p.complete(nil, context.DeadlineExceeded)
		return nil
	}
	if err := e.checkIncoming("response", m.Metadata); err != nil {
		p.complete(nil, err)
		return nil
	}
	r := &response{err: remoteError(m.Code, m.Text)}
	r.metadata, r.custom, r.data = keep(m.Metadata, m.Custom, m.Data, owned)
	p.complete(r, r.err)
	return nil
}

// keep returns metadata, custom and data in memory that the caller may keep: the slices
// themselves if owned is set, else copies in one allocation.
func keep(md pairs.List, custom, data []byte, owned bool) (pairs.List, []byte, []byte) {
	n, m := len(data), len(data)+len(md)
	if size := m + len(custom); !owned && size > 0 {
		// The largest part is first: the compiler leaves out the zeroing of the part that
		// the first copy fills.
		all := make([]byte, size)
		copy(all, data)
		copy(all[n:], md)
		copy(all[m:], custom)
		data, md, custom = all[:n:n], all[n:m:m], all[m:]
	}
	if len(md) == 0 {
		md = nil
	}
	if len(custom) == 0 {
		custom = nil
	}
	if len(data) == 0 {
		data = nil
	}
	return md, custom, data
}

// deadlineIn returns when a timeout that begins now has passed, and the zero time if there
// is none.
func deadlineIn(timeout time.Duration) time.Time {
	if timeout <= 0 {
		return time.Time{}
	}
	return time.Now().Add(timeout)
}
