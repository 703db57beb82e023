package options

import (
	"log/slog"
	"time"

	"github.com/singchia/geminio/internal/merge"
)

// Limits are what an End allows itself and its peer. The options of client and
// server embed them. A field that is zero has the default that is stated with
// its setter. A constructor returns an error, which names the setting and its range, for
// one that is out of range or does not go with the others. Durations are at most a year.
type Limits struct {
	HandshakeTimeout time.Duration
	Heartbeat        time.Duration
	Linger           time.Duration
	MaxMessageSize   int
	MaxStreams       int
	AcceptBacklog    int
	MaxHandlers      int
	MaxHandlerBytes  int
	MemoryBudget     int
	RefuseWireV1     bool
	Logger           *slog.Logger
}

// SetHandshakeTimeout bounds the time from the beginning of a connection until
// both sides have agreed, by default 10 seconds and at least a millisecond. At the
// client it also bounds the dialing of NewEnd.
func (l *Limits) SetHandshakeTimeout(d time.Duration) { l.HandshakeTimeout = d }

// SetHeartbeat sets how often the peer is asked whether it is there, by default
// every 20 seconds and at most every 10 milliseconds. A peer from which nothing at all has
// come for twice that time is taken for dead, and the connection is closed. The two sides
// need not agree.
func (l *Limits) SetHeartbeat(d time.Duration) { l.Heartbeat = d }

// SetLinger bounds how long Close of an End tries to deliver what was written,
// by default 5 seconds; a nanosecond is as good as none. A transport whose own Close does not return is waited for a
// quarter of a second longer.
func (l *Limits) SetLinger(d time.Duration) { l.Linger = d }

// SetMaxMessageSize bounds what the peer may send in one request, response or
// message: data, custom bytes and names together, by default 64 MiB, and almost 2 GiB at
// most. The peer learns of it in the handshake and refuses to send more.
func (l *Limits) SetMaxMessageSize(bytes int) { l.MaxMessageSize = bytes }

// SetMaxStreams bounds how many streams that the peer has opened may be open at
// a time, by default 1024. Others are refused.
func (l *Limits) SetMaxStreams(n int) { l.MaxStreams = n }

// SetAcceptBacklog bounds how many streams that the peer has opened may wait for
// AcceptStream, by default 1024. Others are refused.
func (l *Limits) SetAcceptBacklog(n int) { l.AcceptBacklog = n }

// SetMaxHandlers bounds how many handlers run at a time for requests of the peer,
// by default 4096. Further calls wait at the caller, who knows the limit. The
// calls of one stream get at most three quarters of it, so that handlers which
// hang hold back only themselves.
func (l *Limits) SetMaxHandlers(n int) { l.MaxHandlers = n }

// SetMaxHandlerBytes bounds the bytes that the requests whose handlers run may
// hold, beside 8 KiB for each handler: those of requests above that size. Further
// ones wait at the caller. The default is a quarter of the memory budget, which is
// also the most; a largest message must fit.
func (l *Limits) SetMaxHandlerBytes(bytes int) { l.MaxHandlerBytes = bytes }

// SetMemoryBudget bounds the bytes that the peer can make this End hold: a
// quarter each for the windows of the streams (their raw bytes and small
// messages), for messages above 8 KiB that nobody has received, for requests
// above 8 KiB whose handlers run, and for responses above 8 KiB that arrive. The
// default is 256 MiB, or more if the largest message or the number of streams
// needs it: a quarter must hold one largest message, and 2 KiB for each stream
// of both sides.
func (l *Limits) SetMemoryBudget(bytes int) { l.MemoryBudget = bytes }

// SetRefuseWireV1 has peers refused that speak wire 1 alone, those of the library's
// earlier releases: with geminio.ErrVersion at this side, and a text that says so at the
// other. By default they are served.
func (l *Limits) SetRefuseWireV1() { l.RefuseWireV1 = true }

// SetLogger sets where the End logs what nobody is told of by an error: panics
// of handlers, clients that were turned away, violations of the protocol. The
// default is silence. It goes before a logger of SetLog.
func (l *Limits) SetLogger(log *slog.Logger) { l.Logger = log }

// MergeLimits returns a value that has of each field the last one that is not
// zero. Nil entries are skipped.
func MergeLimits(limits ...*Limits) *Limits { return merge.Merge(limits...) }
