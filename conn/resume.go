package conn

// This file has the session of a Conn: the loss of its link, and the change to another one.

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/chunk"
	"github.com/singchia/geminio/internal/clock"
	"github.com/singchia/geminio/packet"
)

const (
	// MinLog is the smallest log with which a session can be resumed, in bytes.
	MinLog = 64 << 10
	// maxUnreported is how many bytes a side receives at most before it reports them.
	maxUnreported = 1 << 20
	// reportBeside is how many bytes a side reports with a batch that it writes anyway.
	reportBeside = 64 << 10
	// reportAfter is how long a side waits at most before it reports bytes.
	reportAfter = time.Second
	// minStall is the least time without progress of the acknowledged position after
	// which a link counts as dead.
	minStall = 5 * time.Second
	// maxStalls is how many links in a row may die without such progress.
	maxStalls = 2
)

// ErrResumed is the error of Client and Server when the net.Conn has become the link of
// an existing Conn.
var ErrResumed = errors.New("the session was resumed")

// ErrFresh is returned by ResumeConfig.Allow to end the session and to give the
// client a fresh connection.
var ErrFresh = errors.New("the session is not continued")

// The causes of the end of a session for which the client has got a fresh connection.
var (
	// ErrSessionUnknown: the server does not have the session.
	ErrSessionUnknown = errors.New("the server does not know the session")
	// ErrSessionEnded: the server has ended the session.
	ErrSessionEnded = errors.New("the server has ended the session")
)

// ResumeConfig configures the resumption of sessions.
type ResumeConfig struct {
	Keep time.Duration // how long a session is kept without a link
	Log  uint32        // bounds the bytes that are kept until the peer has received them, apart from one frame; at least MinLog
	// MaxLog is the size that the log grows to if the path needs more than Log. 0 stands
	// for Log.
	MaxLog uint64

	// Session is the Conn that the client resumes. If the server continues it,
	// Client returns ErrResumed. If the server answers with a fresh connection, the
	// session ends, and Client returns the fresh Conn. Client only, optional.
	Session *Conn
	// Only says that Client needs the session: if Session has ended, Client fails before
	// it sends anything. If the server does not continue the session, it refuses the client
	// with geminio.CodeClosed. Client only.
	Only bool
	// Issued is called before the client learns the ticket of c: from now on Find may
	// return c. Server only, optional.
	Issued func(c *Conn)
	// Find returns the Conn whose ticket has the id, or nil. Server only.
	Find func(id []byte) *Conn
	// Allow decides whether session continues on the transport of c, after the client
	// has proved that it has the ticket. identified is the result of Config.Identify. ErrFresh ends the session; any other error
	// refuses the client and leaves the session as it is. Server only, optional.
	Allow func(session, c *Conn, identified uint64) error
	// Interrupted is called when the Conn has lost a link. It must not block.
	// Optional.
	Interrupted func(c *Conn, cause error)
	// Resumed is called when the Conn has another link. It must not block. Calls of
	// Interrupted and Resumed may overlap; SessionStats has the present state. Optional.
	Resumed func(c *Conn)
	// Ended is called once when the session of a Conn has ended, which is not before
	// FrameHandler.End and, if the Conn closes, when its peer has received everything or
	// Config.Linger is over. It is not called if the first handshake fails. It must not
	// block. Optional.
	Ended func(c *Conn)
}

// linkPhase tells whether a session has a link.
type linkPhase uint8

const (
	// linkUp: the link works. cut leaves it.
	linkUp linkPhase = iota
	// linkDown: the link was lost. attach leaves it.
	linkDown
)

// session is the state with which a Conn survives the loss of its link. Positions count
// the bytes of a direction since the handshake, without those of link frames.
type session struct {
	// These fields are read-only after the handshake.

	hooks    *ResumeConfig
	ticket   packet.Ticket
	keep     time.Duration
	maxBound uint64   // the size that bound grows to
	report   uint64   // bytes that are reported at once
	identity identity // of the peer's TLS connection

	received uint64 // position of the end of the present frame; the reading goroutine owns it

	position    atomic.Uint64 // position up to which bytes have been received, at the beginning of the last read
	reported    atomic.Uint64 // position of the last Received frame, or of the handshake
	reportDue   atomic.Bool   // the next batch contains a Received frame
	timerSet    atomic.Bool   // reportTimer runs
	reportTimer clock.Timer

	// Conn.mu guards these fields.

	phase     linkPhase
	busy      chan struct{} // holds one value while a handshake resumes the session; nil before the first such handshake
	began     bool          // Start was called, or the first handshake has failed
	begun     chan struct{} // closed when began is set; nil if no goroutine waits for that
	cause     error         // why the last link was lost, or why the session ends
	lost      error         // why the last link was lost
	attempt   uint64        // the highest attempt to resume
	bound     uint64        // the most bytes that the log may have
	full      bool          // the log was full since growSince
	growFrom  uint64        // the value of acked at growSince
	growSince time.Duration // the time at which half of the log was last acknowledged; see growLog
	sent      uint64        // position of the end of the last batch
	acked     uint64        // position that the peer has reported
	ackMoved  time.Duration // when acked last grew, or the first byte behind it was sent
	stalls    int           // links that have died since acked last grew
	closed    bool          // Close was called while there was no link
	holds     int           // calls of HoldClose without ReleaseClose
	paused    bool          // the log is full
	keepTimer clock.Timer   // ends the session
	expired   bool          // keepTimer has fired during a handshake
	parked    bool          // the reading goroutine waits for a link
	wake      chan struct{} // closed when parked ends; nil if no goroutine waits for that
	quiet     *quiet        // the handshake that resumes the session
	stats     SessionStats

	logMu     sync.Mutex  // guards the fields below
	marks     []uint64    // positions of some frames that begin in log, ascending; the first may be before log
	log       chunk.Queue // the bytes that the peer may not have
	logEnd    uint64      // position of the end of log
	replaying bool        // log is being written: nothing is removed
}

// quiet lets a handshake wait until the goroutines of a session have left its old link.
type quiet struct {
	reader     chan struct{} // closed when the reading goroutine has left the link
	writer     chan struct{} // closed when the holder of the write token has left the link
	readerDone bool          // reader is closed
	writerDone bool          // writer is closed
}

// SessionStats counts events of a session.
type SessionStats struct {
	Interruptions uint64 // links that were lost
	Resumes       uint64 // links that have replaced others
	Replayed      uint64 // bytes that were written again
	Logged        uint64 // bytes that the peer has not reported
	Buffered      uint64 // bytes of an incomplete frame that were received, while there is no link
	Connected     bool   // the session has a link
	Expired       bool   // the session has ended because it was without a link for too long
}

// identity is what a TLS connection has proved of its peer.
type identity struct {
	tls  bool
	cert []byte // nil: no certificate
}

// identityOf returns the identity that nc, or a net.Conn beneath it, has proved.
func identityOf(nc net.Conn) (i identity) {
	if t := tlsOf(nc); t != nil {
		i.tls = true
		if certs := t.ConnectionState().PeerCertificates; len(certs) > 0 {
			i.cert = certs[0].Raw
		}
	}
	return i
}

// tlsOf returns the TLS connection that nc is, or has beneath wrappers; nil if there is none.
func tlsOf(nc net.Conn) *tls.Conn {
	for range maxBeneath {
		if t, ok := nc.(*tls.Conn); ok {
			return t
		}
		if nc = beneath(nc); nc == nil {
			return nil
		}
	}
	return nil
}

// allows reports whether a session of i may continue on a link of j.
func (i identity) allows(j identity) bool {
	return !i.tls || j.tls && bytes.Equal(i.cert, j.cert)
}

// linkError is an error of a link whose session may continue on another one.
type linkError struct {
	link *link
	err  error
}

func (e *linkError) Error() string { return e.err.Error() }

// readError returns the error of a read from l.
func (c *Conn) readError(l *link, err error) error {
	if c.session == nil || err == nil {
		return err
	}
	return &linkError{l, err}
}

// offer returns the settings that this side sends.
func (c *Config) offer() packet.Settings {
	s := c.Settings
	if c.Resume != nil {
		s.Log = c.Resume.Log
		s.Features = append(slices.Clone(s.Features), packet.FeatureResume)
	}
	return s
}

// resumes reports whether both sides can resume the session.
func (c *Conn) resumes() bool {
	return c.cfg.Resume != nil && c.peer.Log >= MinLog && slices.Contains(c.peer.Features, packet.FeatureResume)
}

// newTicket returns a ticket for a new session.
func newTicket(keep time.Duration) *packet.Ticket {
	t := &packet.Ticket{
		ID: make([]byte, packet.TicketIDLen), Secret: make([]byte, packet.SecretLen),
		Keep: uint32(min(keep/time.Millisecond, math.MaxUint32)),
	}
	rand.Read(t.ID)
	rand.Read(t.Secret)
	return t
}

// keepSession makes the session of c resumable with the ticket t.
func (c *Conn) keepSession(t *packet.Ticket) {
	s := &session{
		hooks: c.cfg.Resume, ticket: *t, keep: min(c.cfg.Resume.Keep, t.KeepTime()),
		bound: uint64(c.cfg.Resume.Log), maxBound: max(uint64(c.cfg.Resume.Log), c.cfg.Resume.MaxLog),
		report: min(uint64(c.peer.Log)/8, maxUnreported), identity: identityOf(c.link.nc),
	}
	c.session = s
	c.done = make(chan struct{})
}

// TicketID returns the public id of the session, or nil if it cannot be resumed.
func (c *Conn) TicketID() []byte {
	if c.session == nil {
		return nil
	}
	return c.session.ticket.ID
}

// SessionStats returns the counters of the session.
func (c *Conn) SessionStats() SessionStats {
	s := c.session
	if s == nil {
		return SessionStats{Connected: c.State() < Closed}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stats := s.stats
	stats.Logged, stats.Connected = s.sent-s.acked, s.phase == linkUp && c.State() < Closed
	return stats
}

// Expire ends the session if it has no link, and reports whether it has ended the session.
// A nil cause stands for the cause of the lost link. If a handshake is about to resume the
// session, Expire returns false, and the session ends if that handshake fails.
func (c *Conn) Expire(cause error) bool {
	s := c.session
	if s == nil {
		return false
	}
	c.mu.Lock()
	down := s.phase == linkDown && c.State() < Closed
	if cause == nil {
		cause = s.cause
	} else if down {
		s.cause = cause
	}
	if down && s.quiet != nil {
		s.expired, down = true, false
	}
	c.mu.Unlock()
	if down {
		c.abort(cause)
	}
	return down
}

// cut ends the connection or, if its session can be resumed, gives up the link l. It does
// nothing if another link has replaced l.
func (c *Conn) cut(l *link, cause error) {
	s := c.session
	if s == nil {
		c.abort(cause)
		return
	}
	c.mu.Lock()
	if c.link != l || s.phase == linkDown || c.State() == Closed {
		c.mu.Unlock()
		return
	}
	s.phase, s.cause, s.lost = linkDown, cause, cause
	s.stats.Interruptions++
	lasted := c.change()
	open := c.State() < Closing
	c.stopHeartbeat()
	// A peer that has closed discards everything that it has not received.
	delivered := c.peerClosed || c.closeState == closeSent && s.acked == s.sent
	if c.State() < Closing {
		number := s.stats.Interruptions
		s.keepTimer = c.base.Clock.AfterFunc(s.keep, func() { c.expire(number) })
	}
	c.mu.Unlock()
	l.close(0)
	if delivered {
		c.terminate(false)
		return
	}
	if c.observer != nil && open {
		c.observer.Interrupted(cause, lasted)
	}
	if f := c.session.hooks.Interrupted; f != nil {
		f(c, cause)
	}
}

// expire ends the session if it has had no link since the interruption with the given
// number. keepTimer calls it.
func (c *Conn) expire(number uint64) {
	s := c.session
	c.mu.Lock()
	down := s.phase == linkDown && s.stats.Interruptions == number
	s.expired = s.expired || down && s.quiet != nil // the handshake decides
	down = down && s.quiet == nil
	s.stats.Expired = down
	cause := s.cause
	c.mu.Unlock()
	if down {
		c.abort(cause)
	}
}

// readNext calls readNext of the transport. If the link is lost, it continues on
// the next link.
func (c *Conn) readNext() error {
	c.noteReceived()
	return c.park(c.io.readNext())
}

// readMore calls readMore of the transport. If the link is lost, it continues on
// the next link.
func (c *Conn) readMore() error {
	c.noteReceived()
	return c.park(c.io.readMore())
}

// readSink calls readSink of the transport. If the link is lost, it continues on
// the next link.
func (c *Conn) readSink(s Sink) error {
	c.noteReceived()
	return c.park(c.io.readSink(s))
}

// noteReceived updates the position of the received bytes, and has the position
// reported if that is due. The reading goroutine calls it before it reads.
func (c *Conn) noteReceived() {
	c.received.publish()
	s := c.session
	if s == nil {
		return
	}
	position := s.received - uint64(c.left)
	if c.rb != nil && c.rb.Len() > 0 && !c.beginsLinkFrame() {
		position += uint64(c.rb.Len())
	}
	s.position.Store(position)
	switch due := position - s.reported.Load(); {
	case due >= s.report:
		s.reportDue.Store(true)
		c.Kick()
	case due > 0 && s.timerSet.CompareAndSwap(false, true):
		s.reportTimer.Reset(reportAfter)
	}
}

// beginsLinkFrame reports whether the bytes of the read buffer, which are no complete
// frame, belong to a link frame.
func (c *Conn) beginsLinkFrame() bool {
	return c.left == 0 && packet.Type(c.rb.Bytes()[0]).IsLink()
}

// onReportTimer reports the bytes that were received.
func (c *Conn) onReportTimer() {
	s := c.session
	s.timerSet.Store(false)
	if s.position.Load() != s.reported.Load() && c.State() < Closed {
		s.reportDue.Store(true)
		c.Kick()
	}
}

// park returns err, unless it is the error of a link. Then the reading goroutine waits for
// another link, and continues in the middle of the present frame.
func (c *Conn) park(err error) error {
	lost, ok := err.(*linkError)
	if !ok {
		return err
	}
	s := c.session
	cause := lost.err
	if cause == io.EOF {
		cause = io.ErrUnexpectedEOF
	}
	c.cut(lost.link, writeError(cause))
	if c.rb != nil && c.rb.Len() > 0 && c.beginsLinkFrame() {
		c.rb.Took(c.rb.Len()) // its rest does not follow on another link
	}
	c.noteReceived()
	rest := c.stow()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.stats.Buffered = uint64(len(rest))
	for c.State() < Closed && (s.phase == linkDown || c.link == lost.link) {
		s.parked = true
		s.quiet.readerLeft()
		if s.wake == nil {
			s.wake = make(chan struct{})
		}
		wake := s.wake
		c.mu.Unlock()
		<-wake
		c.mu.Lock()
	}
	s.parked, s.stats.Buffered = false, 0
	if c.State() == Closed {
		return lost.err
	}
	if len(rest) > 0 {
		c.rb = chunk.Get(chunk.MaxSize)
		c.rb.Wrote(copy(c.rb.Space(), rest))
	}
	return nil
}

// wakeReader wakes the reading goroutine if it waits for a link. The caller holds Conn.mu.
func (s *session) wakeReader() {
	if s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
}

// stow frees the read buffer before the reading goroutine waits for a link, and returns a
// copy of the bytes in it.
func (c *Conn) stow() (rest []byte) {
	if c.rb == nil {
		return nil
	}
	rest = bytes.Clone(c.rb.Bytes())
	c.rb.Free()
	c.rb = nil
	return rest
}

// readerEnded records that the reading goroutine has ended.
func (c *Conn) readerEnded() {
	if s := c.session; s != nil {
		c.mu.Lock()
		s.parked = true
		s.quiet.readerLeft()
		c.mu.Unlock()
	}
}

// readerLeft closes q.reader. The caller holds Conn.mu; q may be nil.
func (q *quiet) readerLeft() {
	if q != nil && !q.readerDone {
		q.readerDone = true
		close(q.reader)
	}
}

// handOver gives the write token to the handshake that resumes the session, if there is
// one. The holder of the token calls it.
func (c *Conn) handOver() bool {
	s := c.session
	if s == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	q := s.quiet
	if q == nil || q.writerDone {
		return false
	}
	q.writerDone = true
	close(q.writer)
	return true
}

// beQuiet gives up the link and waits until no goroutine uses it. The caller is a handshake
// that holds Conn.busy. It has the write token when beQuiet returns nil. If over is closed
// earlier, beQuiet returns an error, and the caller does not have the token.
func (c *Conn) beQuiet(over <-chan struct{}, cause error) error {
	s := c.session
	c.mu.Lock()
	l := c.link
	c.mu.Unlock()
	c.cut(l, cause)
	q := &quiet{reader: make(chan struct{}), writer: make(chan struct{})}
	c.mu.Lock()
	s.quiet = q
	if s.parked || c.State() == Closed {
		q.readerLeft()
	}
	c.mu.Unlock()
	if c.acquireWrite() {
		c.mu.Lock()
		q.writerDone = true
		close(q.writer)
		c.mu.Unlock()
	}
	for _, left := range []chan struct{}{q.reader, q.writer} {
		select {
		case <-left:
		case <-over:
			c.endQuiet()
			return errOver
		}
	}
	return nil
}

// endQuiet releases the write token that beQuiet has acquired, and leaves the session without
// a link. It ends the session if the session has expired meanwhile.
func (c *Conn) endQuiet() {
	s := c.session
	c.mu.Lock()
	held := s.quiet.writerDone
	s.quiet = nil
	expired, cause := s.expired, s.cause
	s.expired, s.stats.Expired = false, expired
	c.mu.Unlock()
	if held {
		c.write(nil, true) // there is no link: this releases the token
	}
	if expired {
		c.abort(cause)
	}
}

// attach makes l the link of the session, and sends again what the peer has not received.
// The caller has called beQuiet.
func (c *Conn) attach(l *link, peerReceived uint64) {
	s := c.session
	l.lost = func(err error) { c.cut(l, err) }
	if c.State() < Closed {
		c.upper.OnLink()
	}
	c.mu.Lock()
	s.quiet, s.expired = nil, false
	if c.State() == Closed {
		c.mu.Unlock()
		l.close(0)
		c.write(nil, true)
		return
	}
	c.link, c.io = l, newTransport(c, l)
	s.phase = linkUp
	now := c.Now()
	if peerReceived > s.acked {
		s.acked, s.stalls = peerReceived, 0
	}
	s.ackMoved = now
	s.paused = false
	s.reported.Store(s.position.Load())
	s.stats.Resumes++
	lasted := c.change()
	open := c.State() < Closing
	if s.keepTimer != nil {
		s.keepTimer.Stop()
	}
	c.lastRead.Store(int64(now))
	c.rtt.Store(0)
	c.workSeen = false // the reading goroutine waits
	c.worked.Store(false)
	c.pongDue, c.pingDue = false, true // a lost Ping is sent again, and the new path is measured
	if c.State() < Closing {
		c.nextPing = now + c.base.Heartbeat
		c.heartbeatTimer.Reset(c.base.Heartbeat)
	}
	s.wakeReader()
	c.mu.Unlock()
	if c.observer != nil && open {
		c.observer.Resumed(lasted)
	}
	if f := c.session.hooks.Resumed; f != nil {
		f(c)
	}
	go c.replay()
}

// stalled reports whether the peer has acknowledged nothing for too long. The caller holds
// c.mu.
func (c *Conn) stalled(now time.Duration) bool {
	s := c.session
	return s != nil && s.sent != s.acked && now-s.ackMoved >= max(2*c.base.Heartbeat, minStall)
}

// onStall gives up a link whose peer acknowledges nothing. It ends the session if that has
// happened on several links in a row. It does nothing if another link has replaced l.
func (c *Conn) onStall(l *link) {
	s := c.session
	c.mu.Lock()
	if c.link != l || s.phase == linkDown {
		c.mu.Unlock()
		return
	}
	s.stalls++
	end := s.stalls >= maxStalls
	c.mu.Unlock()
	if end {
		c.abort(geminio.ErrSilent)
	} else {
		c.cut(l, geminio.ErrSilent)
	}
}

// endSession wakes the goroutines that wait for a link, and frees the log. It is called
// once, when the connection is Closed.
func (c *Conn) endSession() {
	s := c.session
	c.mu.Lock()
	s.wakeReader()
	s.quiet.readerLeft()
	if s.keepTimer != nil {
		s.keepTimer.Stop()
	}
	if s.reportTimer != nil {
		s.reportTimer.Stop()
	}
	c.mu.Unlock()
	s.logMu.Lock()
	s.log.Forget() // a replay may still read it
	s.marks = nil
	s.logMu.Unlock()
	if f := c.session.hooks.Ended; f != nil {
		f(c)
	}
}
