package typed

import (
	"bufio"
	"context"
	"errors"
	"io"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/metadata"
)

// endKey is the key of the metadata of a response whose handler has ended the bytes of the stream.
const endKey = "typed-stream"

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

// session is the items of a streaming call at one side. One goroutine may read and another one
// may write at the same time.
type session struct {
	ctx    context.Context
	stream geminio.Stream
	r      itemReader
	w      itemWriter
	stop   func() bool // ends the effect of ctx on the stream
}

// newSession returns the session of a stream. When ctx ends, reading and writing end.
func newSession(ctx context.Context, stream geminio.Stream, c coder, limit int) *session {
	return &session{
		ctx: ctx, stream: stream,
		r:    itemReader{r: bufio.NewReaderSize(stream, 4<<10), coder: c, max: limit},
		w:    itemWriter{w: stream, coder: c, max: limit},
		stop: context.AfterFunc(ctx, func() { stream.SetDeadline(aLongTimeAgo) }),
	}
}

// end ends the session of a handler that returns: the caller gets the end of the bytes, and its
// writing ends. The caller closes the stream when it has the response.
func (s *session) end() {
	s.stop()
	metadata.SetOutgoing(s.ctx, metadata.MD{endKey: {"end"}})
	geminio.CloseWrite(s.stream)
	geminio.CloseRead(s.stream)
}

// send sends an item to the caller of a handler.
func (s *session) send(v any) error { return s.reason(s.w.write(v)) }

// receive receives an item from the caller of a handler. It returns io.EOF after the last one.
func (s *session) receive(v any) error { return s.reason(s.r.read(v)) }

// reason returns the error of a handler for an error of the stream: why the caller has left, if it
// has, or the error of the context.
func (s *session) reason(err error) error {
	var reset *geminio.StreamError
	switch {
	case err == nil || err == io.EOF:
		return err
	case errors.As(err, &reset) && reset.Remote:
		return &geminio.RemoteError{Code: reset.Code, Text: reset.Text}
	case s.ctx.Err() != nil && !isOwn(err):
		return s.ctx.Err()
	}
	return err
}

// isOwn reports whether err is about a value, and not about the stream.
func isOwn(err error) bool {
	var data *DataError
	var limit *geminio.LimitError
	return errors.As(err, &data) || errors.As(err, &limit)
}
