package application

import (
	"io"
	"net"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
)

// The raw bytes of a Stream are those of its Dialogue. The methods are listed here one by
// one, so that a Stream has no other method of its Dialogue.

// Read reads the bytes that have come, at least one, or waits for them. After the last
// byte of a peer that has closed the stream or the connection, and after the end by this
// side, it returns io.EOF. It returns a *geminio.StreamError after a reset, an error that
// matches geminio.ErrConnectionLost where the connection broke or was closed for a
// reason, and os.ErrDeadlineExceeded after the deadline. Once nothing more can come, Read
// ignores the deadline: it returns the bytes that are there, and then the end.
func (s *Stream) Read(p []byte) (int, error) { return s.d.Read(p) }

// WriteTo implements io.WriterTo: it writes the bytes that come to w until the end, with
// a buffer of the size of a frame and no other copy.
func (s *Stream) WriteTo(w io.Writer) (int64, error) { return s.d.WriteTo(w) }

// Write sends p. It returns when all of p is on its way or stands in the stream's queue,
// and when the peer has given credit for it: Close delivers such bytes. Its error is
// net.ErrClosed after Close or CloseWrite, one that matches io.ErrClosedPipe when the
// peer or the connection is gone, a *geminio.StreamError when the peer reads no more, and
// os.ErrDeadlineExceeded after the deadline.
func (s *Stream) Write(p []byte) (int, error) { return s.d.Write(p) }

// ReadFrom implements io.ReaderFrom: it sends the bytes that it reads from r until the end.
func (s *Stream) ReadFrom(r io.Reader) (int64, error) { return s.d.ReadFrom(r) }

// CloseRead discards the raw bytes that have come and tells the peer to send no more: the
// peer's Write returns a *geminio.StreamError. Read returns io.EOF from now on. After
// Close it returns net.ErrClosed.
func (s *Stream) CloseRead() error { return s.d.CloseRead() }

// CloseWrite ends this side's raw bytes, after those that were written: the peer reads
// io.EOF. Calls and messages go on. CloseWrite cuts off a Write that is under way, and
// the peer gets an error instead of io.EOF then. After Close it returns net.ErrClosed.
func (s *Stream) CloseWrite() error { return s.d.CloseWrite() }

// Reset ends the stream at once, in both directions, and tells the peer why: its Read and
// Write return a *geminio.StreamError with code and text. Bytes that were not sent yet are
// discarded, and so are messages that were not received. The code must be one that an
// application may choose, as for [geminio.Coder]; of the text at most 512 bytes travel.
// After the end of the stream Reset returns net.ErrClosed.
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

// SetReadDeadline sets the deadline of Read, also of one that waits already. A zero t
// removes it.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.d.SetReadDeadline(t) }

// SetWriteDeadline sets the deadline of Write, also of one that waits already. A zero t
// removes it.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.d.SetWriteDeadline(t) }

// LocalAddr returns the connection's local address.
func (s *Stream) LocalAddr() net.Addr { return s.d.LocalAddr() }

// RemoteAddr returns the connection's remote address.
func (s *Stream) RemoteAddr() net.Addr { return s.d.RemoteAddr() }

// StreamID returns the id, the same on both sides.
func (s *Stream) StreamID() uint64 { return s.d.DialogueID() }

// ClientID returns the client's id, the same on both sides.
func (s *Stream) ClientID() uint64 { return s.d.ClientID() }

// Meta returns the bytes that the opener attached.
func (s *Stream) Meta() []byte { return s.d.Meta() }

// Peer returns the name that the opener attached.
func (s *Stream) Peer() string { return s.d.Peer() }

// Side tells whether this side opened the stream.
func (s *Stream) Side() geminio.Side { return s.d.Side() }
