package tunnel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// The topics of the messages that a stream carries beside its bytes.
const (
	topicConfirm = "confirm" // the receiver of the stream has connected with the service; no data
	topicEnd     = "end"     // this direction has ended in an orderly way; the data is the number of its bytes, in 8 bytes, big endian
	topicAbort   = "abort"   // the sender gives up; the data is the reason
)

// maxReason bounds the text of an abort.
const maxReason = 512

// ErrLost is the error of a stream that ended although the other side has sent neither the end of
// its direction nor a reason.
var ErrLost = errors.New("the stream ended early: a connection on the way is lost, or the other side has stopped")

// AbortError is the reason that the other side of a stream gave for breaking it.
type AbortError struct{ Text string }

func (e *AbortError) Error() string { return e.Text }

// streamLeg is a geminio stream as a Leg. One goroutine receives the messages until the
// stream has ended.
type streamLeg struct {
	geminio.Stream
	confirm   bool          // the other side waits for a confirmation
	confirmed chan struct{} // closed when the other side has sent one
	sent      uint64        // the number of bytes written; the writing goroutine owns it
	got       uint64        // the number of bytes read; the reading goroutine owns it
	finished  atomic.Bool   // this side's direction has ended
	ended     chan struct{} // closed when the other side has sent topicEnd
	total     uint64        // the number of bytes of the other side's direction; set before ended is closed
	broken    chan struct{} // closed when the stream has broken
	why       error         // the reason for that; set before broken is closed
}

// Stream returns a Leg for a stream. The other side of the stream must have a Leg too. The Leg
// receives all messages of the stream.
func Stream(s geminio.Stream) Leg { return newStreamLeg(s) }

// Accepted returns a Leg for a stream that the other side has opened with Open, and the service
// and Origin that were passed to Open.
func Accepted(s geminio.Stream) (leg Leg, service string, o Origin) {
	o = parseOrigin(s.Meta())
	l := newStreamLeg(s)
	l.confirm = o.confirm
	return l, s.Peer(), o
}

func newStreamLeg(s geminio.Stream) *streamLeg {
	leg := &streamLeg{
		Stream: s, confirmed: make(chan struct{}), ended: make(chan struct{}), broken: make(chan struct{}),
	}
	go leg.watch()
	return leg
}

// watch receives the messages of the other side. They arrive before the end of the stream.
func (s *streamLeg) watch() {
	confirmed, ended := false, false
	for {
		msg, err := s.Receive(context.Background())
		switch {
		case err == io.EOF && ended && s.finished.Load():
			return
		case err == io.EOF:
			s.fail(ErrLost)
			return
		case err != nil:
			s.fail(err)
			return
		case msg.Topic() == topicAbort:
			s.fail(&AbortError{string(msg.Data())})
			return
		case msg.Topic() == topicConfirm && !confirmed:
			confirmed = true
			close(s.confirmed)
		case msg.Topic() == topicEnd && !ended && len(msg.Data()) == 8:
			ended = true
			s.total = binary.BigEndian.Uint64(msg.Data())
			close(s.ended)
		default:
			s.fail(fmt.Errorf("unexpected message %q", msg.Topic()))
			return
		}
	}
}

func (s *streamLeg) fail(why error) {
	s.why = why
	close(s.broken)
}

// Connected implements Leg: it sends the confirmation that the other side waits for.
func (s *streamLeg) Connected() error {
	if !s.confirm {
		return nil
	}
	return s.say(topicConfirm, nil)
}

// Broken implements Leg.
func (s *streamLeg) Broken() <-chan struct{} { return s.broken }

// Err implements Leg.
func (s *streamLeg) Err() error { return s.why }

// Read implements Leg. It returns io.EOF if all bytes have arrived that the other side has sent.
func (s *streamLeg) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	s.got += uint64(n)
	if err == nil {
		return n, nil
	}
	select {
	case <-s.ended:
	default:
		select {
		case <-s.ended:
		case <-s.broken:
			return n, s.why
		}
	}
	switch {
	case err != io.EOF:
		return n, err
	case s.got != s.total:
		return n, ErrLost
	}
	return n, io.EOF
}

// Write implements Leg. Its error is the reason that the other side has sent, if there is one.
func (s *streamLeg) Write(p []byte) (int, error) {
	n, err := s.Stream.Write(p)
	s.sent += uint64(n)
	if err == nil {
		return n, nil
	}
	select {
	case <-s.broken:
		return n, s.why
	case <-time.After(drain):
		return n, err
	}
}

// CloseWrite implements Leg.
func (s *streamLeg) CloseWrite() error {
	s.finished.Store(true) // before topicEnd is sent: the other side may close after it
	if err := s.say(topicEnd, binary.BigEndian.AppendUint64(nil, s.sent)); err != nil {
		return err
	}
	return geminio.CloseWrite(s.Stream)
}

// Abort implements Leg. The other side receives the bytes that were written, and then an error
// with the reason.
func (s *streamLeg) Abort(why error) {
	text := why.Error()
	s.say(topicAbort, []byte(text[:min(len(text), maxReason)])) // without the message the other side reports ErrLost
	s.Stream.Close()
}

// say sends a message that the other side does not answer.
func (s *streamLeg) say(topic string, data []byte) error {
	opt := options.NewMessage()
	opt.SetTopic(topic)
	opt.SetCnss(options.CnssAtMostOnce)
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	return s.Publish(ctx, s.NewMessage(data, opt))
}
