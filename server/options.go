package server

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jumboframes/armorigo/log"
	"github.com/singchia/go-timer/v2"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/internal/merge"
	"github.com/singchia/geminio/internal/setup"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
)

// maxRetryAfter is the longest time that fits the wire: some 49 days.
const maxRetryAfter = math.MaxUint32 * time.Millisecond

// EndOptions are the options of a server's Ends. The zero value and nil stand for the
// defaults. A constructor reads the options once: they may be changed afterwards. Further setters,
// such as SetHeartbeat, SetMiddleware and SetStats, are methods of the embedded
// [options.Limits], [geminio.Interceptors] and [geminio.StatsOptions].
type EndOptions struct {
	Timer             timer.Timer
	TimerOwner        any // not used; kept for programs that set it
	PacketFactory     packet.PacketFactory
	Log               log.Logger
	Delegate          delegate.ServerDelegate
	ClientID          *uint64
	Metadata          metadata.MD
	RemoteMethods     []string
	RemoteMethodCheck bool
	LocalMethods      []*geminio.MethodRPC
	ReadBufferSize    int `merge:"positive"`
	WriteBufferSize   int `merge:"positive"`
	HijackRPC         geminio.HijackRPC
	HijackOptions     *options.HijackOptions
	PrepareFunc       func(geminio.End) error
	AcceptStreamFunc  func(geminio.Stream)
	ClosedStreamFunc  func(geminio.Stream)

	DuplicateID DuplicatePolicy
	SessionKeep time.Duration
	RetryAfter  time.Duration

	ResumeSessions int
	ResumeBytes    int

	// Limits, Interceptors and StatsOptions have further options, each with its setter.
	options.Limits
	geminio.Interceptors
	geminio.StatsOptions
}

// NewEndOptions returns options in which nothing is set.
func NewEndOptions() *EndOptions { return &EndOptions{} }

// SetTimer sets the timer for the heartbeats and for the timeouts of calls and messages. One
// timer can serve thousands of Ends. By default the End uses the timers of the Go runtime. On
// 32-bit machines (386, arm, mips) the timers of go-timer panic, since their 64-bit atomic
// operations are not aligned: use the default there.
func (o *EndOptions) SetTimer(t timer.Timer) { o.Timer = t }

// SetPacketFactory sets the source of the ids of requests and messages. By default the ids
// count up. In the earlier library, whose wire format is wire 1, a factory also made packets.
func (o *EndOptions) SetPacketFactory(f packet.PacketFactory) { o.PacketFactory = f }

// SetLog sets the logger for events that no returned error reports. By default the End does
// not log. SetLogger does the same for log/slog, and has precedence over SetLog.
func (o *EndOptions) SetLog(l log.Logger) { o.Log = l }

// SetDelegate sets the callbacks for connections, streams and registrations.
func (o *EndOptions) SetDelegate(d delegate.ServerDelegate) { o.Delegate = d }

// SetClientID sets the id of all clients. An id that GetClientID of the delegate returns has
// precedence. Without either, a client gets the id that it asks for, unless the library has
// chosen that id for another client. Otherwise the library chooses an id that is not in use,
// cannot be guessed, and is below 2^63.
func (o *EndOptions) SetClientID(clientID uint64) { o.ClientID = &clientID }

// SetMetadata sets metadata that is sent to each client in the answer of the handshake, where
// metadata.From returns it for the client's End. Its size is at most 48000 bytes. A constructor
// refuses metadata that is larger or not valid. A client of the earlier library does not get it,
// and neither does a client that resumes a session.
func (o *EndOptions) SetMetadata(md metadata.MD) { o.Metadata = md }

// SetWaitRemoteRPCs has the constructor, or AcceptEnd, wait until the client has registered
// these methods on the default stream, at most for the time of SetHandshakeTimeout.
func (o *EndOptions) SetWaitRemoteRPCs(methods ...string) { o.RemoteMethods = methods }

// SetRemoteRPCCheck has Call return geminio.ErrRemoteRPCUnregistered for methods that the
// client has not registered on that stream.
func (o *EndOptions) SetRemoteRPCCheck() { o.RemoteMethodCheck = true }

// SetRegisterLocalRPCs registers methods on the default stream, so that the client can call
// them. The handshake registers them. A client that does not support this has to confirm them
// before the constructor, or AcceptEnd, returns its End.
func (o *EndOptions) SetRegisterLocalRPCs(methods ...*geminio.MethodRPC) { o.LocalMethods = methods }

// SetBufferSize bounds the buffers of each stream, in units of 4 KiB. read bounds the bytes
// that have arrived and were not read (the largest window); by default, and for 0, they have
// an eighth of the memory budget. write bounds the bytes that were written and not sent yet; by default, and for 0,
// they are 128 KiB. Each is at most 524287 units, which is almost 2 GiB. A negative number
// counts as not set.
func (o *EndOptions) SetBufferSize(read, write int) {
	o.ReadBufferSize, o.WriteBufferSize = read, write
}

// SetAcceptStreamFunc has f called with every stream that a client opens. AcceptStream returns
// no streams then. The calls for one End come one after the other.
func (o *EndOptions) SetAcceptStreamFunc(f func(geminio.Stream)) { o.AcceptStreamFunc = f }

// SetClosedStreamFunc has f called after the end of each stream except the default stream. Either
// side may have opened it.
func (o *EndOptions) SetClosedStreamFunc(f func(geminio.Stream)) { o.ClosedStreamFunc = f }

// SetDuplicateID sets what a Listener does with a client that connects with the id of another
// connection. By default the new connection replaces the other. With every policy, the library
// gives an id that it has chosen to no other client: see DuplicatePolicy. All clients may have
// the id of SetClientID at the same time in any case.
func (o *EndOptions) SetDuplicateID(p DuplicatePolicy) { o.DuplicateID = p }

// SetSessionKeep sets how long a Listener remembers the messages of a client that reconnects,
// from the end of its last connection on. So a message that is sent again is not handed out
// again. The default, and 0, is ten minutes. The Listener remembers the last 8192 messages of
// each such client. The memory of clients without a connection is at most 32 MiB. Beyond that,
// the Listener forgets the clients of the remote host that needs most of it.
func (o *EndOptions) SetSessionKeep(d time.Duration) { o.SessionKeep = d }

// SetRetryAfter sets the time for which Shutdown asks clients to stay away. A client.RetryEnd
// waits for at least d, and at most twice as long, before it connects again. By default, and
// for 0, Shutdown names no time. d is at least a millisecond and at most some 49 days.
func (o *EndOptions) SetRetryAfter(d time.Duration) { o.RetryAfter = d }

// SetResumeLimits bounds the Ends of a Listener that are kept without a connection (see
// SetResumeKeep): their number, by default 16384, and the bytes that they hold, by default 1
// GiB. The bytes are those of sent data that the client may not have, of received data that
// was not read, of requests whose handlers run, of streams and of the End itself. If a limit
// is exceeded, the Listener chooses the remote host whose Ends hold most bytes, and ends the
// oldest of them. 0 stands for the default.
func (o *EndOptions) SetResumeLimits(ends, bytes int) { o.ResumeSessions, o.ResumeBytes = ends, bytes }

// SetHijack has rpc handle the calls of the peer on the default stream, as Hijack of the End does,
// from the first call on. A later Hijack of the End replaces it. With a nil rpc, SetHijack has no
// effect.
func (o *EndOptions) SetHijack(rpc geminio.HijackRPC, opts ...*options.HijackOptions) {
	if rpc != nil {
		o.HijackRPC, o.HijackOptions = rpc, options.MergeHijackOptions(opts...)
	}
}

// SetPrepareFunc has f called with each new End before anything of it is served, after ConnOnline
// of the delegate. f can register methods, call Hijack, keep the End, and start goroutines that
// use it. If f returns an error, panics or closes the End, the client is refused, with the text and
// the code (see geminio.Coder) of the reason, and AcceptEnd does not return the End.
//
// The End carries nothing before f has returned. Register returns at once; AcceptEnd returns the
// End when the client has confirmed the methods. All other operations that need the client wait
// for the return of f, so only other goroutines may use them. f must return within the time of
// SetHandshakeTimeout. If the client leaves during the handshake, the End ends: see geminio.Done.
//
// f is not called when a session is resumed, since its End continues.
func (o *EndOptions) SetPrepareFunc(f func(geminio.End) error) { o.PrepareFunc = f }

// MergeEndOptions returns new options. Each field has the last value that is set in opts, each
// buffer size the last one above 0, and the middleware and the Stats are those of all opts. It skips nil entries, and
// changes none. The result shares no slices with opts, which may be changed afterwards.
func MergeEndOptions(opts ...*EndOptions) *EndOptions {
	o := merge.Merge(opts...)
	if o.Metadata != nil {
		o.Metadata = o.Metadata.Copy()
	}
	o.RemoteMethods = slices.Clone(o.RemoteMethods)
	o.LocalMethods = setup.CloneMethods(o.LocalMethods)
	if o.HijackOptions != nil {
		o.HijackOptions = options.MergeHijackOptions(o.HijackOptions)
	}
	return o
}

// resolve makes the configurations of packages conn and application.
func (o *EndOptions) resolve() (*conn.Config, *application.Config, error) {
	common := setup.Common{
		Timer: o.Timer, PacketFactory: o.PacketFactory, Log: o.Log,
		RemoteMethods: o.RemoteMethods, CheckRemote: o.RemoteMethodCheck, LocalMethods: o.LocalMethods,
		ReadBufferSize: o.ReadBufferSize, WriteBufferSize: o.WriteBufferSize, Limits: &o.Limits,
		Hijack: o.HijackRPC, HijackOptions: o.HijackOptions, Interceptors: &o.Interceptors, Stats: o.Stats,
	}
	cc, ac, err := common.Resolve(geminio.RecipientSide, setup.DelegateOrNil(o.Delegate))
	if err != nil {
		return nil, nil, err
	}
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	if cc.Metadata, err = setup.Metadata(o.Metadata, 0); err != nil {
		return nil, nil, err
	}
	if o.Delegate != nil {
		cc.Identify = o.identify
		_, cc.Watch = o.Delegate.(delegate.AuthenticateDelegate)
	}
	cc.Admit = func(c *conn.Conn, identified, wanted uint64, _ <-chan struct{}) (uint64, error) {
		want := o.choose(identified, wanted)
		if want.by == byLibrary {
			want.id = idOf(string(c.Session()))
		}
		return want.id, nil
	}
	ac.RetryAfter = o.RetryAfter
	ac.Hooks.AcceptStream, ac.Hooks.ClosedStream = o.AcceptStreamFunc, o.ClosedStreamFunc
	if log := cc.Log; o.Delegate != nil {
		ac.Hooks.Heartbeat = func(c delegate.ConnDescriber) {
			setup.LogError(log, "Heartbeat", c, o.Delegate.Heartbeat(c))
		}
	}
	return cc, ac, nil
}

// check checks the settings that only servers have.
func (o *EndOptions) check() error {
	err := errors.Join(
		setup.Range("SessionKeep", o.SessionKeep, 0, math.MaxInt64),
		setup.Range("ResumeSessions", o.ResumeSessions, 0, math.MaxInt),
		setup.Range("ResumeBytes", o.ResumeBytes, 0, math.MaxInt),
		setup.Range("DuplicateID", int(o.DuplicateID), int(DuplicateReplaces), int(DuplicateAllowed)),
	)
	if o.RetryAfter != 0 {
		err = errors.Join(err, setup.Range("RetryAfter", o.RetryAfter, time.Millisecond, maxRetryAfter))
	}
	return err
}

// identify asks the delegate for the id of a client, which is 0 if it leaves the choice to the
// library: its Authenticate, or GetClientID if it has none.
func (o *EndOptions) identify(ctx context.Context, c *conn.Conn, wanted uint64, resumes bool) (id uint64, err error) {
	a, ok := o.Delegate.(delegate.AuthenticateDelegate)
	if !ok {
		err = guard.Wait(c.Log(), "GetClientID", func() (err error) {
			id, err = o.Delegate.GetClientID(wanted, c.Meta())
			return err
		})
		return id, err
	}
	info := delegate.ConnInfo{
		WantedID: wanted, Meta: c.Meta(), Metadata: withTransport(c.Metadata(), c.TransportMetadata()),
		LocalAddr: c.LocalAddr(), RemoteAddr: c.RemoteAddr(), TLS: c.TLS(), Resumes: resumes,
	}
	err = guard.Wait(c.Log(), "Authenticate", func() (err error) {
		id, err = a.Authenticate(ctx, info)
		return err
	})
	return id, err
}

// transportPrefix begins the keys of metadata that the transport adds. A client cannot send such
// keys in its place.
const transportPrefix = "http-"

// withTransport returns the metadata of a client's handshake, without the keys that begin with
// transportPrefix, and with the keys of the transport that do.
func withTransport(client, transport metadata.MD) metadata.MD {
	for key := range client {
		if strings.HasPrefix(key, transportPrefix) {
			client.Delete(key)
		}
	}
	for key, values := range transport {
		if strings.HasPrefix(key, transportPrefix) {
			if client == nil {
				client = metadata.MD{}
			}
			client.Set(key, values...)
		}
	}
	return client
}

// choose returns the id with which the delegate has identified the client, or what the option or
// the client asks for if that is 0. If none has an id, the library chooses it.
func (o *EndOptions) choose(identified, wanted uint64) idChoice {
	switch {
	case identified != 0:
		return idChoice{identified, byServer}
	case o.ClientID != nil && *o.ClientID != 0:
		return idChoice{*o.ClientID, byServer}
	case wanted != 0:
		return idChoice{wanted, byClient}
	}
	return idChoice{}
}

// duplicates returns the policy for a second client with the given id.
func (o *EndOptions) duplicates(clientID uint64) DuplicatePolicy {
	if o.ClientID != nil && *o.ClientID == clientID && clientID != 0 {
		return DuplicateAllowed
	}
	return o.DuplicateID
}
