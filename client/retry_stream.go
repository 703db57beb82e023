package client

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/options"
)

// OpenStream opens a stream and waits until the server has accepted it. If there is no
// connection, OpenStream waits for one. After the timeout of the options it returns an error
// that matches context.DeadlineExceeded. If the server refuses the stream, the error is a
// *geminio.RefusedError. The stream ends with its connection.
func (r *RetryEnd) OpenStream(opts ...*options.OpenStreamOptions) (geminio.Stream, error) {
	return r.OpenStreamContext(context.Background(), opts...)
}

// OpenStreamContext is OpenStream that stops waiting when ctx ends, also for a connection. Then
// it returns an error that matches ctx's, and neither side has the stream. After the opening, ctx
// has no effect on the stream.
func (r *RetryEnd) OpenStreamContext(ctx context.Context, opts ...*options.OpenStreamOptions) (geminio.Stream, error) {
	if ctx == nil {
		return nil, nilarg.New("open", "context")
	}
	if i := r.interceptors; i != nil && len(i.OpenMiddleware) > 0 {
		return r.chains.Open(ctx, opts...)
	}
	return r.openStream(ctx, opts...)
}

// openStream is OpenStreamContext without middleware.
func (r *RetryEnd) openStream(ctx context.Context, opts ...*options.OpenStreamOptions) (geminio.Stream, error) {
	if err := r.beginOperation(); err != nil {
		return nil, err
	}
	defer r.endOperation()
	opt := options.MergeOpenStreamOptions(opts...)
	op := operation{ctx: ctx, size: len(opt.Meta) + metadataSize(ctx), repeatable: true}
	if opt.Timeout != nil {
		op.deadline = deadlineAfter(*opt.Timeout)
	}
	var s geminio.Stream
	err := r.do(&op, func(l *link, timeout time.Duration) (err error) {
		opt.Timeout = &timeout
		s, err = l.control().OpenStream(ctx, opt)
		return err
	})
	return s, err
}

// AcceptStream returns the next stream that the server has opened, over all connections. If a
// connection has ended, AcceptStream returns its remaining streams, with the bytes and messages
// that have arrived on them, before those of the next connection. After the end of the
// RetryEnd it returns io.EOF.
func (r *RetryEnd) AcceptStream() (geminio.Stream, error) {
	for !r.ended() {
		l, connChanged := r.position(&r.accepting)
		if l == nil {
			select {
			case <-connChanged:
			case <-r.done:
			}
			continue
		}
		if s, err := l.e.AcceptStream(); err != io.EOF {
			return s, err
		}
		r.advance(&r.accepting, l)
	}
	return nil, io.EOF
}

// Accept is AcceptStream.
func (r *RetryEnd) Accept() (net.Conn, error) {
	s, err := r.AcceptStream()
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ListStreams returns the End itself and all streams that are open. After the end of the
// RetryEnd it returns none.
func (r *RetryEnd) ListStreams() []geminio.Stream {
	if r.ended() {
		return nil
	}
	if l := r.last.Load(); l != nil {
		if all := l.e.ListStreams(); len(all) > 0 {
			return all
		}
	}
	return []geminio.Stream{r} // there is no connection
}
