package setup

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/jumboframes/armorigo/log"
	"github.com/singchia/go-timer/v2"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/internal/clock"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/internal/logging"
	"github.com/singchia/geminio/internal/wire1"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/pkg/id"
)

// Common has the options that client and server share.
type Common struct {
	Timer           timer.Timer
	PacketFactory   packet.PacketFactory
	Log             log.Logger
	RemoteMethods   []string
	CheckRemote     bool
	LocalMethods    []*geminio.MethodRPC
	ReadBufferSize  int
	WriteBufferSize int
	Hijack          geminio.HijackRPC
	HijackOptions   *options.HijackOptions
	Interceptors    *geminio.Interceptors
	Stats           []geminio.Stats
	Limits          *options.Limits
}

// CloneMethods returns a deep copy of methods, so that later changes by the user have no effect.
func CloneMethods(methods []*geminio.MethodRPC) []*geminio.MethodRPC {
	methods = slices.Clone(methods)
	for i, m := range methods {
		if m != nil {
			own := *m
			methods[i] = &own
		}
	}
	return methods
}

// Delegate has the callbacks that the delegates of both sides share.
type Delegate interface {
	delegate.ClientConnDelegate
	delegate.ClientDialogueDelegate
	delegate.ApplicationDelegate
}

const (
	defaultHandshake = 10 * time.Second
	defaultHeartbeat = 20 * time.Second
	defaultLinger    = 5 * time.Second
	defaultMessage   = 64 << 20
	// streamShare is the part of a quarter of the budget for each stream that a side may open,
	// in bytes. It has room for the least windows of that stream and of one of the other side,
	// and for introShare, the name and the meta of the stream.
	streamShare     = 1 << 10
	introShare      = 64
	defaultBacklog  = 1024
	defaultHandlers = 4096
	// defaultBudget is a little more than 256 MiB, for 65,536 streams from each side.
	defaultBudget = parts * streamShare * (64<<10 + 64)

	// firstWindow is the size of each of the two first windows of a stream, for raw
	// bytes and for messages, in bytes, while the budget has room. leastWindow is the least
	// size of those of the default stream.
	firstWindow = 256 << 10
	leastWindow = 1 << 10
	// The largest small packet has between leastSmall and mostSmall bytes.
	leastSmall = 384
	mostSmall  = 8 << 10
	// maxWindow is the default for the size to which a window may grow, in bytes.
	maxWindow = math.MaxInt32
	// sendQueue is the default for the raw bytes of a stream that wait to be sent.
	sendQueue = 128 << 10
	// bufferUnit is the unit of SetBufferSize, in bytes.
	bufferUnit = 4 << 10
	// maxBuffer is the largest argument of SetBufferSize. It makes a window of almost 2 GiB,
	// the largest that the wire allows.
	maxBuffer = math.MaxInt32 / bufferUnit
	// maxMetadata is the most that metadata may have, in bytes.
	maxMetadata = 16 << 20
	// parts is the number of equal parts of the memory budget.
	parts = 4

	// defaultResumeKeep is the time for which a session is kept without a connection.
	defaultResumeKeep   = 2 * time.Minute
	defaultResumeBuffer = 8 << 20
	maxResumeBuffer     = 1 << 30
	// maxResumeKeep is the longest time that the handshake can express, about 49 days.
	maxResumeKeep = math.MaxUint32 * time.Millisecond

	// leastHeartbeat is the shortest time between two heartbeats. Peers accept a larger
	// number of heartbeats in a second.
	leastHeartbeat = 10 * time.Millisecond
)

// Resolve returns the configurations of the layers. The caller sets the fields that
// only one side has.
func (c *Common) Resolve(side geminio.Side, d Delegate) (*conn.Config, *application.Config, error) {
	l := *c.Limits
	if err := errors.Join(resolveLimits(&l), c.check()); err != nil {
		return nil, nil, err
	}
	part := uint64(l.MemoryBudget) / parts
	spare := spareOf(part, uint64(l.MaxStreams))
	window, most := max(min(spare/8, firstWindow), leastWindow), uint64(maxWindow)
	if c.ReadBufferSize > 0 {
		most = uint64(c.ReadBufferSize) * bufferUnit
		window = min(window, most)
	}
	cc := &conn.Config{Base: &conn.Base{
		Clock:            clock.Runtime(),
		Log:              l.Logger,
		HandshakeTimeout: l.HandshakeTimeout,
		Heartbeat:        l.Heartbeat,
		Linger:           l.Linger,
		Settings: packet.Settings{
			MaxFrame:   packet.DefaultMaxFrame,
			MaxMessage: uint32(l.MaxMessageSize),
			MaxStreams: uint32(l.MaxStreams),
			Raw:        uint32(window),
			Messages:   uint32(window),
			Small:      smallOf(part, uint64(l.MaxHandlers)),
			Handlers:   uint32(l.MaxHandlers),
			Large:      uint32(min(part, math.MaxInt32)),
			Requests:   uint32(l.MaxHandlerBytes),

			MaxMetadata: uint32(l.MaxMetadataSize),
		},
	}}
	if keep := *l.ResumeKeep; keep > 0 {
		cc.Resume = &conn.ResumeConfig{Keep: keep, Log: uint32(*l.ResumeBuffer), MaxLog: min(part, maxResumeBuffer)}
	}
	if !l.RefuseWireV1 {
		cc.Translate, cc.Wire1Offer = translate, wire1.Offer
		cc.Wire1Budget = uint64(l.MemoryBudget) / parts * (parts - 1) // without the part for the windows of streams
	}
	if c.Timer != nil {
		cc.Clock = clock.FromTimer(c.Timer)
	}
	if cc.Log == nil {
		cc.Log = logging.FromLogger(c.Log)
	}
	cc.Log = logging.Contain(cc.Log)
	ac := &application.Config{
		IDs: c.PacketFactory,
		Limits: multiplexer.Limits{
			Backlog:   l.AcceptBacklog,
			MaxWindow: most,
			Windows:   part,
			Spare:     spare,
			SendQueue: sendQueue,
		},
		LocalMethods:  c.LocalMethods,
		RemoteMethods: c.RemoteMethods,
		CheckRemote:   c.CheckRemote,
		Hijack:        c.Hijack,
		HijackOptions: c.HijackOptions,
		Observer:      application.NewObserver(cc.Log, c.Stats),
		MemoryBudget:  uint64(l.MemoryBudget),
	}
	if i := c.Interceptors; i != nil {
		ac.Middleware = i.Middleware
		if len(i.CallMiddleware)+len(i.PublishMiddleware)+len(i.ReceiveMiddleware)+len(i.OpenMiddleware)+len(i.AcceptMiddleware) > 0 {
			ac.Interceptors = i
		}
	}
	switch ac.IDs.(type) {
	case *numbers:
	default:
		ac.IDs = &numbers{PacketFactory: ac.IDs, log: cc.Log}
	case nil:
		ac.IDs = NewIDs(side)
	}
	if c.WriteBufferSize > 0 {
		ac.Limits.SendQueue = c.WriteBufferSize * bufferUnit
	}
	if log := cc.Log; d != nil {
		cc.Online = func(c *conn.Conn) error {
			return guard.Wait(log, "ConnOnline", func() error { return d.ConnOnline(c) })
		}
		offline := func(c delegate.ConnDescriber) { LogError(log, "ConnOffline", c, d.ConnOffline(c)) }
		cc.Offline = func(c *conn.Conn) {
			guard.Wait(log, "ConnOffline", func() error { offline(c); return nil })
		}
		ac.Hooks.Offline = offline
		ac.Hooks.DialogueOnline = d.DialogueOnline
		ac.Hooks.DialogueOffline = func(v delegate.DialogueDescriber) { LogError(log, "DialogueOffline", v, d.DialogueOffline(v)) }
		ac.Hooks.RemoteRegistration = d.RemoteRegistration
	}
	return cc, ac, nil
}

// NewIDs returns a PacketFactory of its own for an End of a side.
func NewIDs(side geminio.Side) packet.PacketFactory {
	mode := id.Odd
	if side == geminio.RecipientSide {
		mode = id.Even
	}
	return packet.NewPacketFactory(id.NewIDCounter(mode))
}

// noneNil returns an error that names the first function in all that is nil.
func noneNil[F any](name string, all []F) error {
	for i, f := range all {
		if reflect.ValueOf(f).IsNil() {
			return fmt.Errorf("options: %s %d is nil", name, i)
		}
	}
	return nil
}

// spareOf returns the rest of part, the budget for windows, when each side has opened a number of
// streams with the smallest windows. The rest is for larger windows.
func spareOf(part, streams uint64) uint64 {
	used := multiplexer.LeastWindows(part, 2*(streams+1)) + streams*introShare
	return part - min(used, part)
}

// smallOf returns the largest body of a small packet. The small requests of all handlers have at
// most half of part, a quarter of the budget, unless there are so many handlers that the
// smallest size needs more. It returns 0, which means mostSmall, if part has room for that.
func smallOf(part, handlers uint64) uint32 {
	small := max(part/2/handlers, leastSmall)
	if small >= mostSmall {
		return 0
	}
	return uint32(small)
}

// check checks the settings outside of Limits.
func (c *Common) check() error {
	err := errors.Join(
		Range("ReadBufferSize", c.ReadBufferSize, math.MinInt, maxBuffer),
		Range("WriteBufferSize", c.WriteBufferSize, math.MinInt, maxBuffer),
		Range("number of LocalMethods", len(c.LocalMethods), 0, application.MaxRemoteMethods),
		Range("number of RemoteMethods", len(c.RemoteMethods), 0, application.MaxRemoteMethods),
	)
	if hijackErr := application.CheckHijackOptions(c.HijackOptions); hijackErr != nil {
		err = errors.Join(err, fmt.Errorf("options: Hijack: %w", hijackErr))
	}
	if i := c.Interceptors; i != nil {
		err = errors.Join(err, noneNil("Middleware", i.Middleware), noneNil("CallMiddleware", i.CallMiddleware),
			noneNil("PublishMiddleware", i.PublishMiddleware), noneNil("ReceiveMiddleware", i.ReceiveMiddleware),
			noneNil("OpenMiddleware", i.OpenMiddleware), noneNil("AcceptMiddleware", i.AcceptMiddleware))
	}
	for _, m := range c.LocalMethods {
		switch {
		case m == nil: // skipped
		case m.RPC == nil:
			err = errors.Join(err, fmt.Errorf("options: the RPC of method %.100q in LocalMethods is nil", m.Method))
		default:
			err = errors.Join(err, checkMethod("LocalMethods", m.Method))
		}
	}
	for _, name := range c.RemoteMethods {
		err = errors.Join(err, checkMethod("RemoteMethods", name))
	}
	return err
}

// checkMethod returns an error if the name of a method in a setting is too long.
func checkMethod(setting, name string) error {
	if len(name) <= application.MaxMethodName {
		return nil
	}
	return fmt.Errorf("options: the method %.20q… in %s has %d bytes, more than %d", name, setting, len(name), application.MaxMethodName)
}

// resolveLimits sets the fields of l that are zero to their defaults. It returns an error for
// values that are out of range or contradict each other.
func resolveLimits(l *options.Limits) error {
	err := errors.Join(
		Default("MaxMessageSize", &l.MaxMessageSize, defaultMessage, 1, math.MaxInt32-packet.MinLarge),
		Default("MaxMetadataSize", &l.MaxMetadataSize, packet.MaxMetadata, 1, maxMetadata),
		Range("MaxStreams", l.MaxStreams, 0, math.MaxInt32),
		Default("AcceptBacklog", &l.AcceptBacklog, defaultBacklog, 1, math.MaxInt32),
		Default("MaxHandlers", &l.MaxHandlers, defaultHandlers, 1, math.MaxInt32),
		Default("HandshakeTimeout", &l.HandshakeTimeout, defaultHandshake, time.Millisecond, LongestTime),
		Default("Heartbeat", &l.Heartbeat, defaultHeartbeat, leastHeartbeat, LongestTime),
		Default("Linger", &l.Linger, defaultLinger, 1, LongestTime),
	)
	if err != nil {
		return err
	}
	keep, buffer := time.Duration(defaultResumeKeep), 0
	if l.ResumeKeep != nil {
		keep = *l.ResumeKeep
	}
	if l.ResumeBuffer != nil {
		buffer = *l.ResumeBuffer
	}
	l.ResumeKeep, l.ResumeBuffer = &keep, &buffer
	if keep != 0 {
		err = Range("ResumeKeep", keep, time.Millisecond, maxResumeKeep)
	}
	err = errors.Join(err, Default("ResumeBuffer", &buffer, defaultResumeBuffer, conn.MinLog, maxResumeBuffer))
	if err != nil {
		return err
	}
	// The computation uses 64 bits because an int may have 32.
	need := parts * max(int64(l.MaxMessageSize)+packet.MinLarge, streamShare*(int64(l.MaxStreams)+1))
	budget := int64(l.MemoryBudget)
	if budget == 0 {
		budget = max(defaultBudget, need)
	}
	switch {
	case need > math.MaxInt:
		return fmt.Errorf("options: MaxMessageSize of %d and MaxStreams of %d need a MemoryBudget of %d, more than the %d that this machine can address",
			l.MaxMessageSize, l.MaxStreams, need, math.MaxInt)
	case budget < need:
		return fmt.Errorf("options: MemoryBudget of %d is too small: messages of %d bytes and %d streams need %d",
			l.MemoryBudget, l.MaxMessageSize, l.MaxStreams, need)
	}
	l.MemoryBudget = int(budget)
	if l.MaxStreams == 0 {
		l.MaxStreams = int(min(max(budget/parts/streamShare-1, 1), math.MaxInt32))
	}
	if b := l.MaxHandlerBytes; b != 0 && (b < l.MaxMessageSize+packet.MaxHead || b > l.MemoryBudget/parts) {
		return fmt.Errorf("options: MaxHandlerBytes of %d is not between a largest message of %d and a quarter of the budget, %d",
			b, l.MaxMessageSize+packet.MaxHead, l.MemoryBudget/parts)
	}
	return nil
}
