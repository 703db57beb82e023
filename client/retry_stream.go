package client

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// OpenStream opens a stream and waits until the server has accepted it, where there
// is no connection for one, at most for the timeout of the options; then it returns
// context.DeadlineExceeded. A refusal is a *geminio.RefusedError. The stream ends
// with its connection.
func (r *RetryEnd) OpenStream(opts ...*options.OpenStreamOptions) (geminio.Stream, error) {
	if err := r.admit(); err != nil {
		return nil, err
	}
	opt := options.MergeOpenStreamOptions(opts...)
	var late time.Time
	if opt.Timeout != nil {
		late = until(*opt.Timeout)
	}
	for sent := false; ; sent = true {
		l, err := r.await(context.Background(), late, len(opt.Meta), sent, sent)
		if err != nil {
			return nil, err
		}
		timeout, err := left(late)
		if err != nil {
			return nil, err
		}
		opt.Timeout = &timeout
		s, err := l.e.OpenStream(opt)
		if !r.again(l, err, true) {
			return s, err
		}
	}
}

// AcceptStream returns the next stream that the server has opened, and goes on over
// reconnects. The streams that a connection has left behind are returned before those of
// the next, with what had come. After the end it returns io.EOF.
func (r *RetryEnd) AcceptStream() (geminio.Stream, error) {
	for !r.over() {
		l, news := r.position(&r.accepting)
		if l == nil {
			select {
			case <-news:
			case <-r.done:
			}
			continue
		}
		if s, err := l.e.AcceptStream(); err != io.EOF {
			return s, err
		}
		r.pass(&r.accepting, l)
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

// ListStreams returns the End itself and all streams that are open. After the end
// there are none.
func (r *RetryEnd) ListStreams() []geminio.Stream {
	if r.over() {
		return nil
	}
	all := r.cur.Load().e.ListStreams()
	if len(all) == 0 { // there is no connection
		return []geminio.Stream{r}
	}
	all[0] = r
	return all
}
