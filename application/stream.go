package application

import (
	"sync"
	"sync/atomic"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/list"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/packet"
)

// Stream is one stream of an End: raw bytes (raw.go), calls and messages. All its methods
// are safe for concurrent use.
type Stream struct {
	d   *multiplexer.Dialogue
	end *End

	waiting list.List[pending] // its entries in End.pending, whose lock guards the list
	serving list.List[serving] // its entries in End.serving, whose lock guards the list

	mu           sync.Mutex
	rpc          *methods    // nil until the first method is registered
	chains       *Chains     // nil until the first operation in its middleware
	box          *inbox      // nil until the first message arrives or Receive is called
	ended        atomic.Bool // no operation begins any more; set with mu held
	unanswered   uint32      // how many received messages have no answer yet; 0 once ended is set
	discards     bool        // Close or Reset was called: messages are dropped
	onlinePosted bool        // the stream is open, and DialogueOnline was posted if there is one
	uncounted    bool        // End.streams does not count the stream any more

	offlineDue bool // the stream was not refused; only the goroutine of the hooks uses it
}

var (
	_ geminio.Stream   = (*Stream)(nil)
	_ metadata.Carrier = (*Stream)(nil)
)

// newStream makes the Stream of a dialogue.
func (e *End) newStream(d *multiplexer.Dialogue) *Stream {
	s := &Stream{d: d, end: e}
	d.Owner = s
	return s
}

// user returns the stream as the user has it: the End for the default stream.
func (s *Stream) user() geminio.Stream {
	if s == s.end.Stream {
		return s.end.user
	}
	return s
}

// End returns the End of the stream.
func (s *Stream) End() geminio.End { return s.end.user }

// Close closes the stream. The written bytes are still delivered. Then the peer reads io.EOF, or
// a *geminio.StreamError if a Write was under way. Calls and publications that are under way
// end, and messages that were not received are dropped. Close does not wait.
func (s *Stream) Close() error {
	err := s.d.Close()
	s.dropInbox()
	return err
}

// Metadata returns a copy of the metadata with which the stream was opened, at both sides; nil if
// there is none. That of the default stream is the metadata of the peer's handshake.
func (s *Stream) Metadata() metadata.MD { return s.d.Metadata() }

// dropInbox drops the messages that were not received, and those that arrive from now on.
func (s *Stream) dropInbox() {
	s.mu.Lock()
	s.discards = true
	box := s.box
	s.mu.Unlock()
	if box != nil {
		for _, m := range box.drop() {
			s.d.Release(packet.TypeMessage, m.size)
		}
	}
}

// endOperations is called when the stream has ended. It ends its calls and publications, in both
// directions. Its messages cannot be answered any more, so Shutdown does not wait for their
// answers.
func (s *Stream) endOperations(cause error) {
	s.mu.Lock()
	s.ended.Store(true)
	s.end.unanswered.Add(-int64(s.unanswered))
	s.unanswered = 0
	box := s.box
	s.mu.Unlock()
	if box != nil {
		s.messagesEnd(box.end())
	}
	s.end.pending.endStream(s, cause)
	s.end.serving.endStream(s)
	s.end.checkIdle()
}

// methods returns the stream's methods, made on first use.
func (s *Stream) methods() *methods {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rpc == nil {
		s.rpc = &methods{served: &Methods{wrap: s.end.wrap}}
	}
	return s.rpc
}

// inbox returns the stream's inbox, made on first use.
func (s *Stream) inbox() *inbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.box == nil {
		s.box = newInbox(s.ended.Load(), s.discards)
	}
	return s.box
}

// check returns an error for a request or message that was made for another client or stream.
func (s *Stream) check(clientID, streamID uint64) error {
	switch {
	case clientID != s.ClientID():
		return geminio.ErrMismatchClientID
	case streamID != s.StreamID():
		return geminio.ErrMismatchStreamID
	}
	return nil
}
