package application

import (
	"io"
	"net"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
)

// The raw bytes of a Stream are those of its Dialogue. A Stream does not embed the Dialogue, so
// that its users do not see the other methods of the Dialogue.

// Read reads the bytes that have arrived, or waits for at least one. After the last byte it
// returns
//
//   - io.EOF if the peer has ended the stream or the connection in an orderly way, or if this
//     side has closed it,
//   - a *geminio.StreamError if the stream was reset,
//   - an error that matches geminio.ErrConnectionLost if the connection broke or was closed
//     with a reason.
//
// It returns os.ErrDeadlineExceeded after the deadline. When the stream has ended, Read ignores
// the deadline.
func (s *Stream) Read(p []byte) (int, error) { return s.d.Read(p) }

// WriteTo implements io.WriterTo: it writes the bytes that arrive to w until the end of the
// stream, by way of one buffer of the size of a frame.
func (s *Stream) WriteTo(w io.Writer) (int64, error) { return s.d.WriteTo(w) }

// Write sends p. It returns when the peer has given credit for all of p, and all of p is sent or
// queued. Close delivers the bytes that are queued. The error is
//
//   - net.ErrClosed after Close or CloseWrite,
//   - a *geminio.StreamError if the peer reads no more, or if the stream was reset,
//   - an error that matches io.ErrClosedPipe if the peer has closed the stream or the
//     connection has ended,
//   - os.ErrDeadlineExceeded after the deadline.
func (s *Stream) Write(p []byte) (int, error) { return s.d.Write(p) }

// ReadFrom implements io.ReaderFrom: it sends the bytes that it reads from r until the end of r.
func (s *Stream) ReadFrom(r io.Reader) (int64, error) { return s.d.ReadFrom(r) }

// CloseRead discards the raw bytes that have arrived and asks the peer to send no more: its
// Write returns a *geminio.StreamError. Read returns io.EOF from now on. After Close, CloseRead
// returns net.ErrClosed.
func (s *Stream) CloseRead() error { return s.d.CloseRead() }

// CloseWrite ends the raw bytes of this side: the peer reads the written bytes and then io.EOF.
// Calls and messages continue. If a Write is under way, CloseWrite cuts it off, and the peer
// reads an error instead of io.EOF. After Close, CloseWrite returns net.ErrClosed.
func (s *Stream) CloseWrite() error { return s.d.CloseWrite() }

// Reset ends the stream at once, in both directions: Read and Write of the peer return a
// *geminio.StreamError with code and at most 512 bytes of text. Bytes that were not sent yet and
// messages that were not received are dropped. The code must be one that an application may
// choose, as for [geminio.Coder]. After the end of the stream Reset returns net.ErrClosed.
func (s *Stream) Reset(code geminio.Code, text string) error {
	why, err := guard.Reason("reset", code, text)
	if err != nil {
		return err
	}
	if s.closed() != nil {
		return net.ErrClosed
	}
	s.d.Reset(why)
	s.dropInbox()
	return nil
}

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error { return s.d.SetDeadline(t) }

// SetReadDeadline sets the deadline of Read, also of a Read that is blocked. A zero t removes
// the deadline.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.d.SetReadDeadline(t) }

// SetWriteDeadline sets the deadline of Write, also of a Write that is blocked. A zero t
// removes the deadline.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.d.SetWriteDeadline(t) }

// LocalAddr returns the connection's local address.
func (s *Stream) LocalAddr() net.Addr { return s.d.LocalAddr() }

// RemoteAddr returns the connection's remote address.
func (s *Stream) RemoteAddr() net.Addr { return s.d.RemoteAddr() }

// StreamID returns the id of the stream, the same on both sides.
func (s *Stream) StreamID() uint64 { return s.d.DialogueID() }

// ClientID returns the id of the client, the same on both sides.
func (s *Stream) ClientID() uint64 { return s.d.ClientID() }

// Meta returns the bytes that the opener has set with SetMeta.
func (s *Stream) Meta() []byte { return s.d.Meta() }

// Peer returns the name that the opener has set with SetPeer.
func (s *Stream) Peer() string { return s.d.Peer() }

// Side returns geminio.InitiatorSide if this side has opened the stream, and
// geminio.RecipientSide if the peer has.
func (s *Stream) Side() geminio.Side { return s.d.Side() }
