package application

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
)

// headRoom is how long a head may be without an allocation.
const headRoom = 192

// Call calls a method of the peer and waits for its response, at most until ctx
// or a timeout ends; then it returns context.Canceled or
// context.DeadlineExceeded, and the handler's context ends too. An error of the
// handler is a *geminio.RemoteError with its text, and comes with the response.
func (s *Stream) Call(ctx context.Context, method string, req geminio.Request, opts ...*options.CallOptions) (geminio.Response, error) {
	switch {
	case ctx == nil:
		return nil, nilarg.New("call", "context")
	case req == nil:
		return nil, nilarg.New("call", "request")
	}
	if err := s.check(req.ClientID(), req.StreamID()); err != nil {
		return nil, err
	}
	return s.doCall(ctx, method, req, CallTimeout(req, opts))
}

// doCall is Call for whoever has checked whom the request is for, and knows the
// timeout (0: none): an End that reconnects calls it once for each attempt.
func (s *Stream) doCall(ctx context.Context, method string, req geminio.Request, timeout time.Duration) (geminio.Response, error) {
	var room [headRoom]byte
	op := operation{timeout: timeout}
	head, err := s.prepareCall(ctx, &op, room[:0], method, req)
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

// CallAsync is Call without the wait: the returned Call, with its Response or
// Error, is sent to ch when it is over. If ch is nil, a channel with room for it
// is made; it is the Call's Done. What cannot be sent at once is sent when there
// is room, or forgotten when the End is over. CallAsync waits for nothing but
// the credit that the request needs.
func (s *Stream) CallAsync(ctx context.Context, method string, req geminio.Request, ch chan *geminio.Call, opts ...*options.CallOptions) (*geminio.Call, error) {
	switch {
	case ctx == nil:
		return nil, nilarg.New("call async", "context")
	case req == nil:
		return nil, nilarg.New("call async", "request")
	}
	if err := s.check(req.ClientID(), req.StreamID()); err != nil {
		return nil, err
	}
	if ch == nil {
		ch = make(chan *geminio.Call, 1)
	}
	c := &geminio.Call{Method: method, Request: req, Done: ch}
	err := s.startCall(ctx, method, req, CallTimeout(req, opts), func(resp geminio.Response, err error) {
		c.Response, c.Error = resp, err
		Hand(s.end.log, s.end.done, ch, c)
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// startCall is doCall without the wait: done is told the outcome, and must not
// block. It waits for nothing but the credit that the request needs. On an error
// done is not called.
func (s *Stream) startCall(ctx context.Context, method string, req geminio.Request, timeout time.Duration, done func(geminio.Response, error)) error {
	var room [headRoom]byte
	op := operation{timeout: timeout}
	head, err := s.prepareCall(ctx, &op, room[:0], method, req)
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

// CallTimeout returns the timeout of a call, 0 if there is none: that of the
// options, else the request's.
func CallTimeout(req geminio.Request, opts []*options.CallOptions) time.Duration {
	if len(opts) > 0 {
		if t := options.MergeCallOptions(opts...).Timeout; t != nil {
			return max(*t, 0)
		}
	}
	return max(req.Timeout(), 0)
}

// Hand sends v to ch: at once, or in a goroutine of its own, until over is closed,
// where ch is full. If the user has closed ch, that is logged.
func Hand[T any](log *slog.Logger, over <-chan struct{}, ch chan T, v T) {
	defer survive(log)
	select {
	case ch <- v:
		return
	default:
	}
	go func() {
		defer survive(log)
		select {
		case ch <- v:
		case <-over:
		}
	}()
}

// survive is deferred where something is sent to a channel of the user.
func survive(log *slog.Logger) {
	if v := recover(); v != nil {
		log.Error("the channel of an asynchronous call or publication is closed", "panic", v)
	}
}

// prepareCall checks a call, completes its operation, and appends its head to room.
func (s *Stream) prepareCall(ctx context.Context, op *operation, room []byte, method string, req geminio.Request) (head []byte, err error) {
	if len(method) > packet.MaxName {
		return nil, &geminio.LimitError{What: "method", Value: uint64(len(method)), Limit: packet.MaxName, Err: geminio.ErrTooLarge}
	}
	if err := s.closed(); err != nil {
		return nil, err
	}
	if s.end.cfg.CheckRemote && !s.methods().knows(method) {
		return nil, geminio.ErrRemoteRPCUnregistered
	}
	op.typ = packet.TypeRequest
	p := packet.Request{
		ID: req.ID(), Timeout: remaining(ctx, op.timeout), Method: stringBytes(method), Custom: req.Custom(),
	}
	op.data = req.Data()
	return p.Append(room), nil
}

// closed returns io.EOF if the stream or its End has ended.
func (s *Stream) closed() error {
	if s.ended.Load() {
		return io.EOF
	}
	return nil
}

func (s *Stream) nameResponse(r *response, method string, id uint64) {
	r.id, r.method, r.clientID, r.streamID = id, method, s.ClientID(), s.StreamID()
}

// takeResponse takes the peer's response to a call.
func (e *End) takeResponse(s *Stream, call uint64, body []byte, owned bool) error {
	m, err := packet.ParseResponse(body)
	if err != nil {
		return err
	}
	p, err := e.pending.answered(s, call, packet.TypeRequest)
	if p == nil {
		return err // nil: nobody waits any more
	}
	if p.late() { // so the handler may have answered because its own time is over
		p.complete(nil, context.DeadlineExceeded)
		return nil
	}
	r := &response{err: remoteError(m.Code, m.Text)}
	r.custom, r.data = keep(m.Custom, m.Data, owned)
	p.complete(r, r.err)
	return nil
}

// keep returns custom and data, which stand one behind the other, to be kept: as
// they are if the memory is owned, else copied with one allocation.
func keep(custom, data []byte, owned bool) ([]byte, []byte) {
	n := len(custom)
	if !owned && n+len(data) > 0 {
		both := make([]byte, n+len(data))
		copy(both, custom)
		copy(both[n:], data)
		custom, data = both[:n:n], both[n:]
	}
	if n == 0 {
		custom = nil
	}
	if len(data) == 0 {
		data = nil
	}
	return custom, data
}

// deadlineIn is when a timeout that begins now is over; zero if there is none.
func deadlineIn(timeout time.Duration) time.Time {
	if timeout <= 0 {
		return time.Time{}
	}
	return time.Now().Add(timeout)
}
