package application

// This file has the life of an End: its start, its streams, Close and Shutdown.

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
)

// Hooks are callbacks of the user. Each may be nil. They are called one after the other, not
// on the reading goroutine, and may use the End.
type Hooks struct {
	Offline            func(delegate.ConnDescriber)
	Heartbeat          func(delegate.ConnDescriber)
	DialogueOnline     func(delegate.DialogueDescriber) error
	DialogueOffline    func(delegate.DialogueDescriber)
	RemoteRegistration func(method string, clientID, streamID uint64)
	AcceptStream       func(geminio.Stream)
	ClosedStream       func(geminio.Stream)

	// GoAway is called when the peer is shutting down. The Reason has the time after which
	// the client may reconnect. Unlike the hooks above it is called at once, by any
	// goroutine, and must not block.
	GoAway func(packet.Reason)

	// OperationEnded is called when an operation or a stream has ended while Shutdown waits.
	// Like GoAway it is called at once, by any goroutine, and must not block.
	OperationEnded func()

	// Done is called when the End has ended, after every operation has its outcome. Like
	// GoAway it is called at once, by any goroutine, and must not block.
	Done func()
}

// Config configures an End.
type Config struct {
	Hooks          Hooks
	Events         *Events              // the queue of the hooks; nil stands for a new one
	IDs            packet.PacketFactory // makes the ids of requests and messages
	Limits         multiplexer.Limits
	User           func(*End) geminio.End // returns the End as the user has it; nil stands for the End itself
	Middleware     []geminio.Middleware   // wraps all handlers; the first one is the outermost
	Interceptors   *geminio.Interceptors  // the other middleware; nil: none
	Hijack         geminio.HijackRPC      // of the default stream, unless Methods is set; nil: none
	HijackOptions  *options.HijackOptions
	Methods        *Methods             // the methods of the default stream; nil stands for new ones
	Observer       *Observer            // nil: nobody is told of events
	MemoryBudget   uint64               // see geminio.EndSnapshot
	LocalMethods   []*geminio.MethodRPC // the methods to register with the peer at the start
	RemoteMethods  []string             // the methods of the peer to wait for, on the default stream
	Deliveries     *Deliveries          // what the peer's session has delivered; nil if it has no session
	RetryAfter     time.Duration        // how long Shutdown asks the peer to wait before it reconnects; 0 names no time
	CheckRemote    bool                 // whether to refuse calls of methods that the peer has not registered
	MaxIdleWorkers int                  // goroutines kept for the next requests; 0 takes 64
}

// End is one side of a connection. All its methods are safe for concurrent use.
type End struct {
	*Stream // the default stream

	// Read-only.
	cfg      *Config
	user     geminio.End             // the End as the user has it
	wrap     *wrapper                // nil if there is no middleware
	acceptor chain[geminio.Acceptor] // see admit
	c        *conn.Conn
	mux      *multiplexer.Mux
	log      *slog.Logger
	connSeq  uint64 // the number of this connection among those of Config.Deliveries

	began time.Time // when the handshake was done; set by announce

	events          events
	pending         pendingTable
	serving         servingTable
	workers         *workers
	remoteMethods   atomic.Int64 // how many methods the peer has registered, on all streams
	remoteNameBytes atomic.Int64 // the length of their names

	peerGoAway atomic.Pointer[packet.Reason] // the reason of the peer's GoAway; nil if none has arrived

	queuedPings atomic.Int64  // how many calls of the Heartbeat hook are queued
	unanswered  atomic.Int64  // how many received messages have no answer yet
	drain       atomic.Uint32 // one of the drain constants

	mu      sync.Mutex
	phase   phase
	closing *packet.Reason // the End is to be closed when it begins; nil: it is not
	streams [2]streamCount // by geminio.Direction
	cause   error          // why the End ended; set once
	drained chan struct{}  // closed in state drainOver; nil before Shutdown
	done    chan struct{}  // closed when the End has ended
}

// streamCount counts the streams of one direction, without the default stream.
type streamCount struct {
	begun uint64
	open  int // have not posted the hooks of their end yet
}

// openStreams returns how many streams have not posted the hooks of their end yet. e.mu is held.
func (e *End) openStreams() int {
	return e.streams[geminio.Outgoing].open + e.streams[geminio.Incoming].open
}

// phase says whether an End carries anything.
type phase uint8

const (
	// phasePrepared: the handshake is not done. Operations that need the peer wait. begin leads
	// to phaseBegun, abandon to phaseAbandoned.
	phasePrepared phase = iota
	// phaseBegun: the End carries calls, messages and streams, or has ended. Nothing leaves it.
	phaseBegun
	// phaseAbandoned: the handshake has failed. Nothing leaves it.
	phaseAbandoned
)

// New starts an End over c, registers the local methods with the peer, and waits for the
// remote ones, at most until ctx ends. On an error it closes the End.
func New(ctx context.Context, c *conn.Conn, cfg *Config) (*End, error) {
	e, err := Prepare(c, cfg)
	if err != nil {
		return nil, err
	}
	e.announce()
	e.begin()
	return e, e.exchangeOrClose(ctx)
}

// exchangeOrClose exchanges the methods of both sides. On an error it closes the End.
func (e *End) exchangeOrClose(ctx context.Context) error {
	err := e.exchangeMethods(ctx)
	if err != nil {
		e.Close()
	}
	return err
}

// Prepare makes an End over c. The ids of c are known, and the rest of its handshake may not be
// done: the End carries nothing before begin. The error is that of a middleware.
func Prepare(c *conn.Conn, cfg *Config) (*End, error) {
	e := &End{cfg: cfg, c: c, log: c.Log(), done: make(chan struct{})}
	own := cfg.Methods
	if own == nil && (len(cfg.LocalMethods) > 0 || cfg.Hijack != nil || len(cfg.Middleware) > 0) {
		var err error
		if own, err = NewMethods(e.log, cfg); err != nil {
			return nil, err
		}
	}
	if e.events.all = cfg.Events; e.events.all == nil {
		e.events.all = &Events{}
	}
	e.events.log = e.log
	e.mux = multiplexer.New(c, (*handler)(e), &cfg.Limits)
	if o := cfg.Observer; o != nil {
		c.Observe((*connObserver)(e))
		if o.stalls {
			e.mux.OnStall(e.stalled)
		}
	}
	e.Stream = e.newStream(e.mux.Main())
	e.user = e
	if cfg.User != nil {
		e.user = cfg.User(e)
	}
	e.workers = newWorkers(c.Clock(), e.log, cfg.MaxIdleWorkers)
	if own != nil {
		e.wrap = own.wrap
		e.Stream.rpc = own.connect(cfg.CheckRemote)
	}
	return e, nil
}

// announce reports the connection, whose handshake is done. The caller calls begin next, unless it
// calls neither.
func (e *End) announce() {
	e.began = time.Now()
	e.begins()
}

// begin has the End carry calls, messages and streams. The handshake is done.
func (e *End) begin() {
	if e.cfg.Deliveries != nil {
		e.connSeq = e.cfg.Deliveries.connect()
	}
	e.addFromHandshake(e.c.Methods().Peer)
	e.mu.Lock()
	e.phase = phaseBegun
	closing := e.closing
	e.mu.Unlock()
	e.mux.Start()
	if closing != nil {
		e.mux.Close(io.EOF, *closing)
	}
}

// isPrepared tells whether the End has not begun.
func (e *End) isPrepared() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.phase == phasePrepared
}

// closeEarly takes the place of a close before begin. It reports false from begin on.
func (e *End) closeEarly(why packet.Reason) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.phase == phasePrepared && e.closing == nil {
		e.closing = &why
	}
	return e.phase != phaseBegun
}

// neverBegin ends an End whose handshake has failed. Operations that wait return.
func (e *End) neverBegin(cause error) {
	e.mu.Lock()
	first := e.phase == phasePrepared
	if first {
		e.phase = phaseAbandoned
	}
	e.mu.Unlock()
	if first {
		e.mux.Abandon(cause)
	}
}

// prepare calls f, the function of SetPrepareFunc. It returns an error if f refuses the
// connection: by its error, a panic, or a close of the End. When over is closed, operations that f
// waits for return.
func (e *End) prepare(f func(geminio.End) error, over <-chan struct{}) error {
	result := guard.Start(e.log, "the function of SetPrepareFunc", func() error { return f(e.user) })
	var err error
	select {
	case err = <-result:
	case <-over:
		late := fmt.Errorf("%w: the function of SetPrepareFunc has not returned", geminio.ErrHandshakeTimeout)
		e.neverBegin(late)
		if err = <-result; err == nil {
			err = late // the transport may not be closed yet: the peer must not take the End for begun
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil && e.closing != nil {
		err = &geminio.RefusedError{Code: max(geminio.Code(e.closing.Code), geminio.CodeApplication), Text: e.closing.Text}
	}
	return err
}

// exchangeMethods registers the local methods with the peer and waits for the remote ones, at
// most until ctx ends.
func (e *End) exchangeMethods(ctx context.Context) error {
	if err := e.registerInTime(ctx); err != nil {
		return e.constructError(err)
	}
	if len(e.cfg.RemoteMethods) == 0 {
		return nil
	}
	return e.constructError(e.methods().waitRemote(ctx, e.cfg.RemoteMethods, e.done))
}

// registerInTime registers the methods with the peer that the handshake has not registered. The peer
// has to confirm them within the time of a handshake.
func (e *End) registerInTime(ctx context.Context) error {
	names := without(e.ownMethods(), e.c.Methods().Own)
	e.c.ForgetMethods()
	if len(names) == 0 {
		return nil
	}
	timeout := e.c.HandshakeTimeout()
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := e.registerAll(bounded, names)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: the peer has not confirmed the methods after %v", geminio.ErrHandshakeTimeout, timeout)
	}
	return err
}

// without returns the names that are not in others.
func without(names, others []string) []string {
	if slices.Equal(names, others) {
		return nil
	}
	known := make(map[string]struct{}, len(others))
	for _, name := range others {
		known[name] = struct{}{}
	}
	return slices.DeleteFunc(names, func(name string) bool {
		_, is := known[name]
		return is
	})
}

// constructError returns the error of a constructor that has failed with err: the cause of
// the connection's end instead of io.EOF, and a temporary refusal if the peer wants no new
// work.
func (e *End) constructError(err error) error {
	if cause := e.c.Cause(); err == io.EOF && cause != nil {
		err = cause
	}
	if n := e.peerGoAway.Load(); n != nil && err != nil {
		err = fmt.Errorf("%w: %w", &geminio.RefusedError{
			Code: geminio.CodeGoingAway, Text: geminio.ErrGoingAway.Error(), RetryAfter: n.Retry,
		}, err)
	}
	return err
}

// OpenStream opens a stream and waits until the peer has accepted it. After the timeout of the
// options it returns context.DeadlineExceeded. If the peer refuses the stream, the error is a
// *geminio.RefusedError. After the end of the End it returns io.EOF. If one of the two sides is
// shutting down, it returns geminio.ErrGoingAway.
func (e *End) OpenStream(opts ...*options.OpenStreamOptions) (geminio.Stream, error) {
	return e.OpenStreamContext(context.Background(), opts...)
}

// OpenStreamContext is OpenStream that stops waiting when ctx ends, and returns ctx's error. Then
// neither side has the stream: one that the peer accepts at that moment is reset. After the
// opening, ctx has no effect on the stream.
func (e *End) OpenStreamContext(ctx context.Context, opts ...*options.OpenStreamOptions) (geminio.Stream, error) {
	if ctx == nil {
		return nil, nilarg.New("open", "context")
	}
	if i := e.cfg.Interceptors; i != nil && len(i.OpenMiddleware) > 0 {
		return e.intercepted().Open(ctx, opts...)
	}
	return e.openStream(ctx, opts...)
}

// openStream is OpenStreamContext without middleware.
func (e *End) openStream(ctx context.Context, opts ...*options.OpenStreamOptions) (geminio.Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	md, err := e.outgoing(ctx)
	if err != nil {
		return nil, err
	}
	opt := options.MergeOpenStreamOptions(opts...)
	peer := ""
	if opt.Peer != nil {
		peer = *opt.Peer
	}
	d := e.mux.NewDialogue(peer, md, slices.Clone(opt.Meta))
	s := e.newStream(d)
	bounded := opt.Timeout != nil && *opt.Timeout > 0
	if bounded {
		d.SetWriteDeadline(time.Now().Add(*opt.Timeout))
	}
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { d.SetWriteDeadline(time.Unix(0, 0)) })
	}
	err = e.mux.Open(d)
	switch ended := !stop(); {
	case ended && (err == nil || err == os.ErrDeadlineExceeded):
		if err == nil {
			s.Reset(geminio.CodeCanceled, context.Canceled.Error())
		}
		return nil, ctx.Err()
	case err == os.ErrDeadlineExceeded:
		return nil, context.DeadlineExceeded
	case err != nil:
		return nil, err
	case bounded:
		d.SetWriteDeadline(time.Time{})
	}
	return s, nil
}

// AcceptStream returns the next stream that the peer has opened. After the end of the End it
// returns io.EOF.
func (e *End) AcceptStream() (geminio.Stream, error) {
	for {
		d, err := e.mux.Accept()
		if err != nil {
			return nil, err
		}
		if s, ok := e.admit(d.Owner.(*Stream)); ok {
			return s, nil
		}
	}
}

// Accept is AcceptStream.
func (e *End) Accept() (net.Conn, error) {
	s, err := e.AcceptStream()
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Addr is LocalAddr.
func (e *End) Addr() net.Addr { return e.LocalAddr() }

// ListStreams returns all open streams, the default one first.
func (e *End) ListStreams() []geminio.Stream {
	all := e.mux.Dialogues()
	streams := make([]geminio.Stream, len(all))
	for i, d := range all {
		streams[i] = d.Owner.(*Stream).user()
	}
	return streams
}

// Close ends the End and all its streams. Blocked operations return at once. Close waits until
// the written bytes are delivered, at most for the time of SetLinger.
func (e *End) Close() error {
	e.close(packet.Reason{})
	return nil
}

// close is Close with a reason for the peer.
func (e *End) close(why packet.Reason) {
	if e.closeEarly(why) {
		return
	}
	e.mux.Close(io.EOF, why)
	<-e.c.Done()
}

// CloseWithError is Close that tells the peer why: the Cause of its End is a
// *geminio.RemoteError with code and text. At most 512 bytes of the text are sent. The
// code must be one that an application may choose, as for [geminio.Coder].
func (e *End) CloseWithError(code geminio.Code, text string) error {
	why, err := guard.Reason("close", code, text)
	if err != nil {
		return err
	}
	e.close(why)
	return nil
}

// Reset is CloseWithError: the End is its own default stream.
func (e *End) Reset(code geminio.Code, text string) error { return e.CloseWithError(code, text) }

// Shutdown stops both sides from beginning calls, messages and streams. It waits until those
// that are under way have ended and the peer has received everything that this side has sent.
// Then it closes the End. If ctx ends earlier, Shutdown closes the End at once and returns
// ctx's error.
func (e *End) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return nilarg.New("shutdown", "context")
	}
	if e.closeEarly(packet.Reason{Code: uint32(geminio.CodeGoingAway), Text: geminio.ErrGoingAway.Error()}) {
		return nil
	}
	e.mu.Lock()
	first := e.drain.CompareAndSwap(drainNone, drainAsked)
	if first {
		e.drained = make(chan struct{})
	}
	drained := e.drained
	e.mu.Unlock()
	if first {
		e.goAway()
	}
	var err error
	select {
	case <-drained:
	case <-e.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	e.Close()
	return err
}

// The states of a Shutdown.
const (
	// drainNone: Shutdown was not called. Shutdown leads to drainAsked.
	drainNone uint32 = iota
	// drainAsked: the peer was asked to begin nothing new, and has not acknowledged that.
	// OnGoAwayAcked leads to drainWaits.
	drainAsked
	// drainWaits: the peer begins nothing new, and operations are under way. When there are
	// none, checkIdle leads to drainLast.
	drainWaits
	// drainLast: nothing is under way, and the peer was asked again, behind everything that
	// this side has sent. OnGoAwayAcked leads to drainOver, or back to drainWaits if an
	// operation is under way again.
	drainLast
	// drainOver: the peer has received everything that this side has sent. Nothing leaves
	// this state.
	drainOver
)

// goAway asks the peer to begin nothing new, and to acknowledge that.
func (e *End) goAway() {
	e.mux.GoAway(packet.Reason{
		Code: uint32(geminio.CodeGoingAway), Text: geminio.ErrGoingAway.Error(), Retry: e.cfg.RetryAfter,
	})
}

// idle tells whether nothing is under way. It is exact from state drainWaits on.
func (e *End) idle() bool {
	return e.pending.empty() && e.serving.n.Load() == 0 && e.unanswered.Load() == 0 && e.mux.Idle()
}

// checkIdle is called when an operation or a stream has ended, or when Mux.Idle may have become
// true. If nothing is under way, it asks the peer for the last acknowledgement.
func (e *End) checkIdle() {
	state := e.drain.Load()
	if state == drainNone {
		return
	}
	if state == drainWaits && e.idle() && e.drain.CompareAndSwap(drainWaits, drainLast) {
		e.goAway()
	}
	if f := e.cfg.Hooks.OperationEnded; f != nil {
		f()
	}
}

// Cause returns why the End ended, or nil if it has not.
func (e *End) Cause() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cause
}

// Done is closed when the End has ended.
func (e *End) Done() <-chan struct{} { return e.done }
