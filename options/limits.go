package options

import (
	"log/slog"
	"time"

	"github.com/singchia/geminio/internal/merge"
)

// Limits bound the resources of an End. The options of client and server embed them. A
// zero field means the default, which the comment of its setter states. A constructor
// returns an error, which names the setting and its range, if a value is out of range
// or contradicts another one. Durations are at most a year.
type Limits struct {
	HandshakeTimeout time.Duration
	Heartbeat        time.Duration
	Linger           time.Duration
	MaxMessageSize   int
	MaxMetadataSize  int
	MaxStreams       int
	AcceptBacklog    int
	MaxHandlers      int
	MaxHandlerBytes  int
	MemoryBudget     int
	RefuseWireV1     bool
	Logger           *slog.Logger
	ResumeKeep       *time.Duration
	ResumeBuffer     *int
}

// SetHandshakeTimeout bounds the time of the handshake. The default is 10 seconds, and the
// least a millisecond. At the client it also bounds the dialing of NewEnd.
func (l *Limits) SetHandshakeTimeout(d time.Duration) { l.HandshakeTimeout = d }

// SetHeartbeat sets the time between two pings to the peer. The default is 20 seconds,
// the least 10 milliseconds. If no byte arrives from the peer for twice that time, the
// connection is closed. The two sides may have different settings.
func (l *Limits) SetHeartbeat(d time.Duration) { l.Heartbeat = d }

// SetLinger bounds the time in which Close of an End delivers the written data. The default is
// 5 seconds; a nanosecond delivers practically nothing. If Close of the transport does not
// return, the End waits for it for a further quarter of a second.
func (l *Limits) SetLinger(d time.Duration) { l.Linger = d }

// SetMaxMessageSize bounds the size of one request, response or message of the peer: data,
// metadata, custom bytes and names together. The default is 64 MiB, and the most almost 2 GiB. The peer
// learns the limit in the handshake and refuses to send more.
func (l *Limits) SetMaxMessageSize(bytes int) { l.MaxMessageSize = bytes }

// SetMaxMetadataSize bounds the size of the metadata of one request, response, message or open
// of the peer: see MD.Size of package metadata. The default is 64 KiB, and the most 16 MiB. The
// peer learns the limit in the handshake and refuses to send more. Metadata counts for
// SetMaxMessageSize too.
func (l *Limits) SetMaxMetadataSize(bytes int) { l.MaxMetadataSize = bytes }

// SetMaxStreams bounds the number of open streams that the peer has opened, and reserves room
// for them, and for as many of this side, in the memory budget. Further streams are refused. The
// default is one for each 4 KiB of the memory budget: 65,599. A peer of wire 1 has at most 4096.
// While there are few streams, each has large windows. The more streams are reserved, the less of
// the budget is left for that.
func (l *Limits) SetMaxStreams(n int) { l.MaxStreams = n }

// SetAcceptBacklog bounds the number of streams of the peer that wait for AcceptStream. The
// default is 1024. Further streams are refused.
func (l *Limits) SetAcceptBacklog(n int) { l.AcceptBacklog = n }

// SetMaxHandlers bounds the number of handlers that run at the same time for requests of the
// peer. The default is 4096. Further calls wait at the peer, which knows the limit. The calls
// of one stream have at most three quarters of the handlers, so that handlers of one stream
// which hang do not block the others.
func (l *Limits) SetMaxHandlers(n int) { l.MaxHandlers = n }

// SetMaxHandlerBytes bounds the bytes of the requests above 8 KiB whose handlers run. Further
// requests of that size wait at the peer. The default, and the most, is a quarter of the
// memory budget. A message of the largest size must fit.
func (l *Limits) SetMaxHandlerBytes(bytes int) { l.MaxHandlerBytes = bytes }

// SetMemoryBudget bounds the bytes that the peer can make this End hold. A quarter each is for
//
//   - the windows of the streams: raw bytes, small messages, and the metas and names of streams,
//   - messages above 8 KiB that were not received yet, and smaller ones for which the windows of
//     their streams are too small,
//   - requests above 8 KiB whose handlers run,
//   - responses above 8 KiB that arrive.
//
// A quarter must hold one message of the largest size and 160 bytes, and 1 KiB for each stream of
// SetMaxStreams and one more. The default is 256 MiB, or more if that is necessary. The memory of
// the streams themselves, about 512 bytes each, is not part of the budget.
func (l *Limits) SetMemoryBudget(bytes int) { l.MemoryBudget = bytes }

// SetRefuseWireV1 refuses peers that speak only wire 1, the wire of the earlier library. The
// error of this side matches geminio.ErrVersion, and the peer gets a text. By default such
// peers are served.
func (l *Limits) SetRefuseWireV1() { l.RefuseWireV1 = true }

// SetLogger sets the logger for events that no error reports to the program: panics of
// handlers, refused clients, violations of the protocol. By default the End does not
// log. SetLogger has precedence over SetLog.
func (l *Limits) SetLogger(log *slog.Logger) { l.Logger = log }

// SetResumeKeep sets how long an End keeps its session after it has lost its connection.
// If the client is back within that time, the session continues: streams, calls, messages
// and registrations do not notice. 0 turns that off: an End ends with its connection.
// Both sides must have it turned on, and the shorter of the two times holds. The default
// is two minutes. It is at most 49 days. It has an effect on the Ends of
// client.NewRetryEndWithDialer and on those of a Listener.
func (l *Limits) SetResumeKeep(d time.Duration) { l.ResumeKeep = &d }

// SetResumeBuffer sets how many sent bytes an End keeps until its peer has received them,
// so that they can be sent again. The default, and 0, is 8 MiB; the least is 64 KiB, and
// the most 1 GiB. If the path needs a larger buffer to be kept busy, the buffer grows up
// to a quarter of the memory budget. This memory is not part of the budget. An idle End
// keeps nothing.
func (l *Limits) SetResumeBuffer(bytes int) { l.ResumeBuffer = &bytes }

// MergeLimits returns new Limits. Each field has the last value in limits that is not
// zero. Nil entries are skipped.
func MergeLimits(limits ...*Limits) *Limits { return merge.Merge(limits...) }
