package client

import (
	"bytes"
	"slices"

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

// EndOptions are the options of a client's End. The zero value and nil stand for the
// defaults. A constructor reads the options once: they may be changed afterwards. Further setters,
// such as SetHeartbeat, SetMiddleware and SetStats, are methods of the embedded
// [options.Limits], [geminio.Interceptors], [geminio.StatsOptions] and [RetryOptions].
type EndOptions struct {
	Timer             timer.Timer
	TimerOwner        any // not used; kept for programs that set it
	PacketFactory     packet.PacketFactory
	Log               log.Logger
	Delegate          delegate.ClientDelegate
	ClientID          *uint64
	Meta              []byte
	Metadata          metadata.MD
	RemoteMethods     []string
	RemoteMethodCheck bool
	LocalMethods      []*geminio.MethodRPC
	ReadBufferSize    int `merge:"positive"`
	WriteBufferSize   int `merge:"positive"`
	ContextDialer     ContextDialer
	HijackRPC         geminio.HijackRPC
	HijackOptions     *options.HijackOptions
	PrepareFunc       func(geminio.End) error

	// Limits, Interceptors and StatsOptions have further options, each with its setter.
	options.Limits
	geminio.Interceptors
	geminio.StatsOptions

	// RetryOptions are for NewRetryEndWithDialer.
	RetryOptions
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
func (o *EndOptions) SetDelegate(d delegate.ClientDelegate) { o.Delegate = d }

// SetClientID asks the server for an id. The delegate or the options of the server may give
// the client another id, or refuse it. If the library has chosen the wanted id for another
// client, which it still remembers, the client gets another id. By default, and for 0, the
// server chooses. A RetryEnd gets the id of its first connection again without asking for it.
func (o *EndOptions) SetClientID(clientID uint64) { o.ClientID = &clientID }

// SetMeta sets bytes that describe the client to the server: GetClientID of its delegate gets
// them, and Meta of both Ends returns them. They have at most 48000 bytes, together with the
// metadata of SetMetadata. A constructor refuses more with a *geminio.LimitError.
func (o *EndOptions) SetMeta(meta []byte) { o.Meta = meta }

// SetMetadata sets metadata that is sent to the server in the handshake. The Authenticate of the
// server's delegate gets it, and metadata.From returns it for the server's End. Its size is at
// most 48000 bytes, together with the bytes of SetMeta. A constructor refuses metadata that is
// larger or not valid. A RetryEnd sends it with each connection that it makes. A server of the
// earlier library ignores it.
func (o *EndOptions) SetMetadata(md metadata.MD) { o.Metadata = md }

// SetWaitRemoteRPCs has the constructor wait until the server has registered these methods on
// the default stream.
func (o *EndOptions) SetWaitRemoteRPCs(methods ...string) { o.RemoteMethods = methods }

// SetRemoteRPCCheck has Call return geminio.ErrRemoteRPCUnregistered for methods that the
// server has not registered on that stream. After a reconnect, a RetryEnd also accepts the
// methods of the connection before, until one second after the first registration on the new
// connection.
func (o *EndOptions) SetRemoteRPCCheck() { o.RemoteMethodCheck = true }

// SetRegisterLocalRPCs registers methods on the default stream, so that the server can call
// them. The handshake registers them. A server that does not support this has to confirm them before
// the constructor returns; if it does not do so within the time of SetHandshakeTimeout, the
// constructor returns an error that matches geminio.ErrHandshakeTimeout.
func (o *EndOptions) SetRegisterLocalRPCs(methods ...*geminio.MethodRPC) { o.LocalMethods = methods }

// SetBufferSize bounds the buffers of each stream, in units of 4 KiB. read bounds the bytes
// that have arrived and were not read (the largest window); by default, and for 0, they have
// an eighth of the memory budget. write bounds the bytes that were written and not sent yet; by default, and for 0,
// they are 128 KiB. Each is at most 524287 units, which is almost 2 GiB. A negative number
// counts as not set.
func (o *EndOptions) SetBufferSize(read, write int) {
	o.ReadBufferSize, o.WriteBufferSize = read, write
}

// SetContextDialer sets the function that connects. It takes the place of the Dialer of
// NewEndWithDialer and NewRetryEndWithDialer, which may be nil then. Its context ends after the
// time of SetHandshakeTimeout, when a RetryEnd is closed, and with the context of SetRetryFirst. If
// the function returns later, nothing waits for it, and its connection is closed. By default the
// Dialer connects, without a time limit. NewEnd and NewEndWithConn call neither.
func (o *EndOptions) SetContextDialer(d ContextDialer) { o.ContextDialer = d }

// SetHijack has rpc handle the calls of the peer on the default stream, as Hijack of the End does,
// from the first call on. A later Hijack of the End replaces it. With a nil rpc, SetHijack has no
// effect.
func (o *EndOptions) SetHijack(rpc geminio.HijackRPC, opts ...*options.HijackOptions) {
	if rpc != nil {
		o.HijackRPC, o.HijackOptions = rpc, options.MergeHijackOptions(opts...)
	}
}

// SetPrepareFunc has f called with the End before anything of it is served, after ConnOnline of
// the delegate. f can register methods, call Hijack, keep the End, and start goroutines that use
// it. If f returns an error, panics or closes the End, the constructor returns an error, and the
// server learns the text and the code (see geminio.Coder) of the reason.
//
// The End carries nothing before f has returned. Register returns at once; the constructor waits
// until the server has confirmed the methods. All other operations that need the server wait for
// the return of f, so only other goroutines may use them. f must return within the time of
// SetHandshakeTimeout.
//
// A RetryEnd calls f once, for its first connection: methods and the hijack stay in effect after
// a reconnect. The callback EndReOnline of the delegate is called for each further connection.
func (o *EndOptions) SetPrepareFunc(f func(geminio.End) error) { o.PrepareFunc = f }

// MergeEndOptions returns new options. Each field has the last value that is set in opts, each
// buffer size the last one above 0, and the middleware and the Stats are those of all opts. It skips nil entries, and
// changes none. The result shares no slices with opts, which may be changed afterwards.
func MergeEndOptions(opts ...*EndOptions) *EndOptions {
	o := merge.Merge(opts...)
	o.Meta = bytes.Clone(o.Meta)
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
	cc, ac, err := common.Resolve(geminio.InitiatorSide, setup.DelegateOrNil(o.Delegate))
	if err != nil {
		return nil, nil, err
	}
	if o.ClientID != nil {
		cc.ClientID = *o.ClientID
	}
	cc.Meta = o.Meta
	cc.Metadata, err = setup.Metadata(o.Metadata, len(o.Meta))
	switch {
	case err != nil:
	case o.PacketFactory == nil: // no function of the user is called
		cc.PacketID = ac.IDs.NewPacketID()
	default:
		err = guard.Wait(cc.Log, "NewPacketID", func() error { cc.PacketID = ac.IDs.NewPacketID(); return nil })
	}
	if err != nil {
		return nil, nil, err
	}
	return cc, ac, nil
}
