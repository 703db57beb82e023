package client

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/multiplexer"
)

// RetryEnd is an End that outlives its connections: when one is lost it makes the
// next, with the same client id and the same methods, until it is closed. All its
// methods are safe for concurrent use.
//
// While there is no connection, Call, Publish, Register and OpenStream wait for
// one, within their context and timeout, and within what SetMaxWaiting allows.
// Receive and AcceptStream go on with what comes from the next. A message that is
// to be delivered at least once is sent again until it is answered, in the order of
// publishing, and a server's Listener hands it out once. A Call that was under way
// returns a *geminio.InterruptedError that says whether the peer may have acted,
// and is repeated only if it has not, or if it is marked as idempotent.
//
// Streams live as long as their connection; then their Read and Write return an
// error that matches geminio.ErrConnectionLost. For the raw bytes of the RetryEnd
// itself, Read and Write return it once, if they had moved bytes over the
// connection that was lost (Read: io.EOF, if the server has closed it), and then
// go on with the next.
//
// At rest it owns no goroutine beside that of its connection.
type RetryEnd struct {
	// Read-only after creation.
	dialer  Dialer
	opt     *EndOptions
	log     *slog.Logger
	session []byte // what tells the server whose messages are sent again
	methods *application.Methods
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	done    chan struct{} // closed when it has ended

	cur        atomic.Pointer[link] // the last connection that was made
	clientID   atomic.Uint64        // its client id
	draining   atomic.Bool          // Shutdown was called: nothing new may begin
	deliveries atomic.Uint64        // messages that were published

	events application.Events // callbacks
	calls  retryQueue         // asynchronous calls that wait
	outbox retryQueue         // publications that wait

	// The connecting goroutine's, of which there is one at a time.
	fails int           // attempts since a connection that lived
	hint  time.Duration // how long the server wants to be left alone

	mu           sync.Mutex
	connChanged  chan struct{} // closed, and made anew, when there is a new connection
	cause        error         // why it ended; set once
	connections  uint64        // made so far
	former       []uint64      // client ids that earlier connections had
	waiting      int           // operations that wait for a connection
	waitingBytes int
	idleCh       chan struct{} // closed when no operation waits; nil if no Shutdown waits for that
	rx           cursor        // where Receive is
	accepting    cursor        // where AcceptStream is
	rd, wr       rawSide       // where Read and Write are
}

var _ geminio.End = (*RetryEnd)(nil)

// sessionLength is that of a random name that no other client has.
const sessionLength = 16

// NewRetryEndWithDialer returns an End that reconnects by itself, a *RetryEnd. It
// dials and shakes hands once, and returns the error if that fails: dialer's or
// NewEndWithConn's. With SetRetryFirst it goes on until it succeeds.
func NewRetryEndWithDialer(dialer Dialer, opts ...*EndOptions) (geminio.End, error) {
	r := &RetryEnd{
		dialer: dialer, opt: MergeEndOptions(opts...), methods: &application.Methods{},
		session: make([]byte, sessionLength), done: make(chan struct{}), connChanged: make(chan struct{}),
	}
	if err := r.opt.RetryOptions.resolve(); err != nil {
		return nil, err
	}
	cc, ac, err := r.opt.resolve()
	if err != nil {
		return nil, err
	}
	rand.Read(r.session)
	cc.Settings.Session = r.session
	if err := checkMeta(cc); err != nil {
		return nil, err
	}
	if dialer == nil {
		return nil, errNoDialer
	}
	r.log = cc.Log
	r.opt.PacketFactory = ac.IDs // one for all connections
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.calls.r, r.outbox.r = r, r
	r.rd.changed, r.wr.changed = make(chan struct{}), make(chan struct{})
	if err := r.first(); err != nil {
		r.end(err)
		return nil, err
	}
	return r, nil
}

// first makes the first connection.
func (r *RetryEnd) first() error {
	patience := r.opt.RetryFirst
	stop := func() bool { return true }
	if patience != nil {
		stop = context.AfterFunc(patience, r.cancel)
	}
	l, err := r.connect()
	for err != nil && patience != nil {
		if r.failed(err); !r.pause() {
			break
		}
		l, err = r.connect()
	}
	if !stop() { // it has ended
		if err == nil {
			l.e.Close()
		}
		return errors.Join(patience.Err(), err)
	}
	if err != nil {
		return err
	}
	r.opt.LocalMethods = nil // they are among r.methods now
	if !r.keep(l) {
		go r.reconnect(l)
	}
	return nil
}

// Close ends the End, its connection and all streams. What waits returns at once;
// what was written is still delivered, within the time for lingering. Closing again
// does no harm. It returns nil.
func (r *RetryEnd) Close() error {
	r.end(io.EOF)
	if l := r.cur.Load(); l != nil {
		l.e.Close()
	}
	return nil
}

// CloseWithError is Close that tells the server why: the Cause of its End is a
// *geminio.RemoteError with code and text, of which at most 512 bytes travel. The code
// must be one that an application may choose, as for [geminio.Coder].
func (r *RetryEnd) CloseWithError(code geminio.Code, text string) error {
	if _, err := guard.Reason("close", code, text); err != nil {
		return err
	}
	r.end(io.EOF)
	if l := r.cur.Load(); l != nil {
		l.e.CloseWithError(code, text)
	}
	return nil
}

// Reset is CloseWithError: the End is its own default stream.
func (r *RetryEnd) Reset(code geminio.Code, text string) error { return r.CloseWithError(code, text) }

// Shutdown lets nothing new begin (geminio.ErrGoingAway), waits until what waits
// for a connection and what is under way has ended, and closes the End. When ctx is
// done before, it closes the End at once and returns ctx's error.
func (r *RetryEnd) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return nilarg.New("shutdown", "context")
	}
	r.draining.Store(true)
	defer r.Close()
	for {
		select {
		case <-r.idle():
		case <-r.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		// Also of a connection whose peer wants no new work; it returns at once if
		// there is none.
		if err := r.cur.Load().e.Shutdown(ctx); err != nil {
			return err
		}
		if r.Stats().Waiting == 0 {
			return nil
		}
		// It was lost meanwhile, and what was under way is to be tried again.
	}
}

// end ends it for the given cause, the first time it is called.
func (r *RetryEnd) end(cause error) {
	r.mu.Lock()
	first := r.cause == nil
	if first {
		r.cause = cause
		close(r.done)
	}
	r.mu.Unlock()
	if first {
		r.cancel()
		r.calls.end()
		r.outbox.end()
	}
}

// ended tells whether the RetryEnd has ended.
func (r *RetryEnd) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// Done is closed when the End has ended for good: by Close, by Shutdown, or by a
// refusal if SetStopOnRefusal is set.
func (r *RetryEnd) Done() <-chan struct{} { return r.done }

// Cause returns why the End has ended for good, io.EOF after Close, and nil as long
// as it has not.
func (r *RetryEnd) Cause() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause
}

// RetryStats says how a RetryEnd is.
type RetryStats struct {
	Connected    bool   // there is a connection that takes new work
	Connections  uint64 // made so far
	Waiting      int    // operations that wait for a connection
	WaitingBytes int    // of the requests and messages among them
}

// Stats returns how the End is at this moment.
func (r *RetryEnd) Stats() RetryStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return RetryStats{r.working() != nil, r.connections, r.waiting, r.waitingBytes}
}

// StreamID returns 1: the End is its own default stream.
func (r *RetryEnd) StreamID() uint64 { return multiplexer.DefaultID }

// ClientID returns the id that the server has given, which is the same after a
// reconnect unless the server does not grant it again.
func (r *RetryEnd) ClientID() uint64 { return r.clientID.Load() }

// Meta returns what was set with SetMeta.
func (r *RetryEnd) Meta() []byte { return r.opt.Meta }

// Side returns geminio.InitiatorSide.
func (r *RetryEnd) Side() geminio.Side { return geminio.InitiatorSide }

// Peer returns "".
func (r *RetryEnd) Peer() string { return "" }

// LocalAddr returns the local address of the last connection.
func (r *RetryEnd) LocalAddr() net.Addr { return r.cur.Load().e.LocalAddr() }

// RemoteAddr returns the remote address of the last connection.
func (r *RetryEnd) RemoteAddr() net.Addr { return r.cur.Load().e.RemoteAddr() }

// Addr is LocalAddr.
func (r *RetryEnd) Addr() net.Addr { return r.LocalAddr() }

// check refuses what was made for another client or stream. What was made for this
// End before a reconnect is good, also if the client has another id since.
func (r *RetryEnd) check(clientID, streamID uint64) error {
	if streamID != multiplexer.DefaultID {
		return geminio.ErrMismatchStreamID
	}
	if clientID == r.clientID.Load() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.former, clientID) {
		return geminio.ErrMismatchClientID
	}
	return nil
}
