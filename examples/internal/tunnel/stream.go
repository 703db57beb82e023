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
	topicEnd     = "end"     // this direction has ended well; the data is the number of bytes, 8 of them, big endian
	topicAbort   = "abort"   // the sender gives up; the data is the reason
)

// maxReason bounds the text of an abort.
const maxReason = 512

// ErrLost is the reason for the break of a stream about which the other side has sent no
// reason.
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
	sent      uint64        // the bytes written; the writer's
	got       uint64        // the bytes read; the reader's
	finished  atomic.Bool   // this side's direction has ended
	ended     chan struct{} // closed when the other side has said that its direction has ended
	total     uint64        // the bytes of the other side's direction; set before ended is closed
	broken    chan struct{} // closed when the stream has broken
	why       error         // the reason for that; set before broken is closed
}

// Stream makes a Leg of a stream, whose other side must have made one too. All
// messages on it are the Leg's.
func Stream(s geminio.Stream) Leg { return newStreamLeg(s) }

// Accepted makes a Leg of a stream that the other side has opened with Open, and returns the
// name of the service and the Origin that were given there.
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

// watch receives the messages of the other side. All of them are received before the end of
// the stream is.
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

// Read implements Leg: it returns io.EOF if as many bytes have come as the other
// side has sent.
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

// Write implements Leg. Its error is the reason of the other side if there is one.
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
	s.finished.Store(true) // before the other side learns of the end, after which it may close
	if err := s.say(topicEnd, binary.BigEndian.AppendUint64(nil, s.sent)); err != nil {
		return err
	}
	return geminio.CloseWrite(s.Stream)
}

// Abort implements Leg: the other side gets the bytes that were written, and then
// an error with the reason.
func (s *streamLeg) Abort(why error) {
	text := why.Error()
	s.say(topicAbort, []byte(text[:min(len(text), maxReason)])) // if that fails, the end of the stream is enough
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
