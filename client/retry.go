package client

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/internal/list"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/multiplexer"
)

// RetryEnd is an End that reconnects: when it loses its connection, it makes the next one, with
// the same client id and the same methods, until it is closed. All its methods are safe for
// concurrent use.
//
// A RetryEnd and the server's Listener keep the session of a lost connection (SetResumeKeep). If
// the session is resumed on the next connection, calls, messages, streams and raw bytes continue.
// The rest of this comment is about sessions that are not resumed.
//
// While there is no connection, Call, Publish, Register and OpenStream wait for one,
// within their context, their timeout and the limits of SetMaxWaiting, and without a
// deadline for at most the time of SetConnectWait. Receive and AcceptStream continue with
// the next connection. A message that is delivered at least
// once is sent again until it is answered, in the order of publishing, and a server's
// Listener hands it out once. A Call that was under way is repeated if the peer has not
// seen it, or if it is marked as idempotent. Otherwise it returns a
// *geminio.InterruptedError, which says that the peer may have acted.
//
// Streams end with their connection. Their Read and Write then return an error that matches
// geminio.ErrConnectionLost. Read and Write of the RetryEnd itself return that error once, if
// they have moved bytes over the lost connection, and then continue with the next connection.
// If the server has closed the connection, Read returns io.EOF instead.
//
// An idle RetryEnd has no goroutines other than those of its connection.
type RetryEnd struct {
	// Read-only after creation.
	dialing      dialing
	opt          *EndOptions
	log          *slog.Logger
	session      []byte // a random name by which the server recognizes messages that are sent again
	methods      *application.Methods
	chains       *application.Chains   // the operations in their middleware
	interceptors *geminio.Interceptors // the middleware of the operations; nil: none
	observer     *application.Observer // nil: nobody is told of events
	first        *conn.Conn            // the connection for which the function of SetPrepareFunc is called
	ctx          context.Context       // ends with Close
	cancel       context.CancelFunc
	done         chan struct{} // closed when the RetryEnd has ended

	last       atomic.Pointer[link] // the last connection that was made
	clientID   atomic.Uint64        // its client id
	draining   atomic.Bool          // Shutdown was called: nothing new may begin
	deliveries atomic.Uint64        // messages that were published
	preparing  atomic.Bool          // the function of SetPrepareFunc has not returned: there is no connection
	operations atomic.Int64         // calls, publications, registrations and openings of streams that have no outcome yet

	callCounts, messageCounts counter // calls and publications of the End, without those of its streams

	events application.Events // callbacks
	dialed lastAddress        // used by DialAny
	calls  retryQueue         // asynchronous calls that wait
	outbox retryQueue         // publications that wait

	// Used by the goroutine that connects, of which there is one at a time.
	unprepared error         // why the function of SetPrepareFunc has refused the connection
	failures   int           // attempts since the last connection that counts as a success
	retryAfter time.Duration // how long the server asked the client to stay away; 0 if it did not
	resumeSoon bool          // the next attempt is made within maxResumePause
	// retryAfterLater takes the place of retryAfter if the next attempt fails: a server that
	// is shutting down resumes sessions.
	retryAfterLater time.Duration

	mu               sync.Mutex
	outage           outage        // the time without a connection
	connChanged      chan struct{} // closed, and made anew, when there is a new connection
	cause            error         // why it ended; set once
	connecting       bool          // the goroutine of reconnect runs
	connections      uint64        // made so far
	resumes          resumeCounts  // of the connections before the last one
	former           formerCounts  // of the connections before the last one
	waitingCalls     list.List[waitingCall]
	formerIDs        []uint64 // client ids that earlier connections had
	waiting          int      // operations that wait for a connection
	waitingBytes     int
	idleCh           chan struct{} // closed when no operation waits; nil if no Shutdown waits for that
	settledCh        chan struct{} // the channel of opsSettled; nil if no Shutdown waits for that
	receiving        cursor        // where Receive is
	accepting        cursor        // where AcceptStream is
	reading, writing rawSide       // where Read and Write are
}

var _ geminio.End = (*RetryEnd)(nil)

// sessionLength is the length of RetryEnd.session, in bytes.
const sessionLength = 16

// NewRetryEndWithDialer returns a *RetryEnd. It dials and shakes hands once. If that fails, it
// returns the error of dialer or of NewEndWithConn. With SetRetryFirst it tries again until it
// succeeds or the context of SetRetryFirst ends. Then the error matches that of the context and
// the last failure. The dialer of SetContextDialer takes the place of dialer, which may be nil
// then.
func NewRetryEndWithDialer(dialer Dialer, opts ...*EndOptions) (geminio.End, error) {
	r := &RetryEnd{
		opt: MergeEndOptions(opts...), session: make([]byte, sessionLength), done: make(chan struct{}), connChanged: make(chan struct{}),
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
	if r.dialing, err = r.opt.dialing(dialer, cc.HandshakeTimeout); err != nil {
		return nil, err
	}
	r.log = cc.Log
	if r.methods, err = application.NewMethods(r.log, ac); err != nil {
		return nil, err
	}
	r.interceptors, r.observer = ac.Interceptors, ac.Observer
	r.chains = application.NewChains(r.log, r, ac.Interceptors, application.Plain{
		Call: r.plainCall, StartCall: r.plainStartCall,
		Publish: r.plainPublish, StartPublish: r.plainStartPublish,
		Receive: r.receive, Open: r.openStream,
	})
	r.opt.LocalMethods = nil // they are among r.methods now
	r.preparing.Store(r.opt.PrepareFunc != nil)
	r.opt.PacketFactory = ac.IDs // one for all connections
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.calls.r, r.outbox.r = r, r
	r.reading.changed, r.writing.changed = make(chan struct{}), make(chan struct{})
	if err := r.connectFirst(); err != nil {
		r.end(err)
		return nil, err
	}
	return r, nil
}

// connectFirst makes the first connection.
func (r *RetryEnd) connectFirst() error {
	ctx := r.opt.RetryFirst // nil: one attempt
	stop := func() bool { return true }
	if ctx != nil {
		stop = context.AfterFunc(ctx, r.cancel)
	}
	l, err := r.connect(nil)
	for err != nil && ctx != nil && r.ctx.Err() == nil && r.unprepared == nil {
		r.afterFailure(err)
		if r.pause() {
			l, err = r.connect(nil)
		}
	}
	if r.unprepared != nil {
		stop()
		return err
	}
	if !stop() { // ctx has ended
		if err == nil {
			l.e.Close()
		}
		return r.withFailure(ctx.Err())
	}
	if err != nil {
		return err
	}
	if !r.install(l) {
		go r.reconnect(l)
	}
	return nil
}

// Close ends the End, its connection and all streams. Blocked operations return at once. The
// written bytes are still delivered, within the time of SetLinger. Without a connection, Close
// resumes the session to tell the server. It tries once, or as long as SetLinger allows if a
// stream is open or the server has not received everything. A second Close has no effect. Close
// returns nil.
func (r *RetryEnd) Close() error {
	r.end(io.EOF)
	if l := r.last.Load(); l != nil {
		r.deliver(l)
		l.e.Close()
	}
	return nil
}

// CloseWithError is Close with a reason for the server: the Cause of its End is a
// *geminio.RemoteError with code and at most 512 bytes of text. The code must be one that an
// application may choose, as for [geminio.Coder].
func (r *RetryEnd) CloseWithError(code geminio.Code, text string) error {
	if _, err := guard.Reason("close", code, text); err != nil {
		return err
	}
	r.end(io.EOF)
	if l := r.last.Load(); l != nil {
		r.deliver(l)
		l.e.CloseWithError(code, text)
	}
	return nil
}

// Reset is CloseWithError: the End is its own default stream.
func (r *RetryEnd) Reset(code geminio.Code, text string) error { return r.CloseWithError(code, text) }

// Shutdown has new operations fail with geminio.ErrGoingAway. It waits until the operations
// that wait for a connection and those that are under way have ended, and closes the End. If
// ctx ends earlier, Shutdown closes the End at once and returns ctx's error. Shutdown does not
// wait for a connection if this side has no operation under way and no stream open.
func (r *RetryEnd) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return nilarg.New("shutdown", "context")
	}
	r.draining.Store(true)
	defer r.Close()
	// Close, unlike the Shutdown of a connection, also delivers over a resumed one.
	stop := context.AfterFunc(ctx, func() { r.Close() })
	defer stop()
	for {
		select {
		case <-r.idle():
		case <-r.done:
			return ctx.Err()
		}
		// The connection may be one whose peer is going away, or may have ended; then
		// Shutdown returns at once.
		l := r.last.Load()
		if l == nil { // the function of SetPrepareFunc calls Shutdown
			return nil
		}
		r.closeIfUnused(l)
		l.e.Shutdown(context.Background())
		select {
		case <-r.opsSettled():
		case <-r.done:
		}
		switch {
		case r.ended():
			return ctx.Err()
		case r.operations.Load() == 0 && r.last.Load() == l:
			return nil
		}
		// The connection was lost, and operations that were under way wait for the next one,
		// or are under way there.
	}
}

// end ends the RetryEnd for the given cause. Only the first call has an effect.
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

// Done returns a channel that is closed when the End has ended: by Close, by Shutdown, or by a
// refusal if SetStopOnRefusal is set.
func (r *RetryEnd) Done() <-chan struct{} { return r.done }

// Cause returns why the End has ended: io.EOF after Close and Shutdown, or the refusal. It
// returns nil as long as the End has not ended.
func (r *RetryEnd) Cause() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause
}

// RetryStats has the counters of a RetryEnd.
type RetryStats struct {
	Connected    bool   // there is a connection, and the server takes new work
	Connections  uint64 // made so far
	Waiting      int    // operations that wait for a connection
	WaitingBytes int    // of the requests and messages among them

	// These fields are 0 if no session can be resumed; see SetResumeKeep.

	Interruptions uint64         // connections that were lost while their session was kept
	Resumes       uint64         // sessions that have continued on another connection
	Fallbacks     RetryFallbacks // sessions that have not continued
	ReplayedBytes uint64         // bytes that were sent again
	LogBytes      uint64         // sent bytes that the server may not have, at this moment
}

// RetryFallbacks counts sessions that were interrupted and have not continued: a RetryEnd
// has made a fresh connection instead.
type RetryFallbacks struct {
	Expired uint64 // there was no connection for too long
	Unknown uint64 // the server does not have the session, for instance because it was restarted
	Ended   uint64 // the server has ended the session
}

// Stats returns the counters at this moment.
func (r *RetryEnd) Stats() RetryStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := RetryStats{
		Connections: r.connections, Waiting: r.waiting, WaitingBytes: r.waitingBytes,
		Interruptions: r.resumes.interruptions, Resumes: r.resumes.resumes,
		Fallbacks: r.resumes.fallbacks, ReplayedBytes: r.resumes.replayed,
	}
	if l := r.last.Load(); l != nil {
		now := l.control().Conn().SessionStats()
		s.Connected = l.takesWork()
		s.Interruptions += now.Interruptions
		s.Resumes += now.Resumes
		s.ReplayedBytes += now.Replayed
		s.LogBytes = now.Logged
	}
	return s
}

// StreamID returns 1: the End is its own default stream.
func (r *RetryEnd) StreamID() uint64 { return multiplexer.DefaultID }

// ClientID returns the id that the server has given. It is the same after a reconnect,
// unless the server gives another one.
func (r *RetryEnd) ClientID() uint64 { return r.clientID.Load() }

// Meta returns the bytes that were set with SetMeta.
func (r *RetryEnd) Meta() []byte { return r.opt.Meta }

// Metadata returns a copy of the metadata that the server has sent with the handshake of the last
// connection, apart from those that have resumed a session; nil if there is none.
func (r *RetryEnd) Metadata() metadata.MD { return r.last.Load().e.Metadata() }

// Side returns geminio.InitiatorSide.
func (r *RetryEnd) Side() geminio.Side { return geminio.InitiatorSide }

// End returns the RetryEnd itself: see geminio.EndOf.
func (r *RetryEnd) End() geminio.End { return r }

// Peer returns "".
func (r *RetryEnd) Peer() string { return "" }

// LocalAddr returns the local address of the last connection.
func (r *RetryEnd) LocalAddr() net.Addr { return r.describe().LocalAddr() }

// RemoteAddr returns the remote address of the last connection.
func (r *RetryEnd) RemoteAddr() net.Addr { return r.describe().RemoteAddr() }

// describe returns the last connection, or the first one while it is prepared.
func (r *RetryEnd) describe() delegate.ConnDescriber {
	if l := r.last.Load(); l != nil {
		return l.control().Conn()
	}
	return r.first
}

// Addr is LocalAddr.
func (r *RetryEnd) Addr() net.Addr { return r.LocalAddr() }

// check returns an error for a request or message that was made for another client or stream.
// It accepts those that this End has made before a reconnect, even if the client had another
// id then.
func (r *RetryEnd) check(clientID, streamID uint64) error {
	if streamID != multiplexer.DefaultID {
		return geminio.ErrMismatchStreamID
	}
	if clientID == r.clientID.Load() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.formerIDs, clientID) {
		return geminio.ErrMismatchClientID
	}
	return nil
}
