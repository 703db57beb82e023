package api

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/jumboframes/armorigo/log"
	"github.com/singchia/go-timer/v2"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/pkg/id"
	"github.com/singchia/geminio/server"
)

// Functions.
var (
	_ func(string, string, ...*client.EndOptions) (geminio.End, error) = client.NewEnd
	_ func(client.Dialer, ...*client.EndOptions) (geminio.End, error)  = client.NewEndWithDialer
	_ func(net.Conn, ...*client.EndOptions) (geminio.End, error)       = client.NewEndWithConn
	_ func() *client.EndOptions                                        = client.NewEndOptions
	_ func(...*client.EndOptions) *client.EndOptions                   = client.MergeEndOptions
	_ client.Dialer                                                    = func() (net.Conn, error) { return nil, nil }

	_ func(string, string, ...*server.EndOptions) (server.Listener, error) = server.Listen
	_ func(net.Conn, ...*server.EndOptions) (geminio.End, error)           = server.NewEndWithConn
	_ func() *server.EndOptions                                            = server.NewEndOptions
	_ func(...*server.EndOptions) *server.EndOptions                       = server.MergeEndOptions

	_ func(...*options.CallOptions) *options.CallOptions             = options.MergeCallOptions
	_ func(...*options.PublishOptions) *options.PublishOptions       = options.MergePublishOptions
	_ func(...*options.NewRequestOptions) *options.NewRequestOptions = options.MergeNewRequestOptions
	_ func(...*options.NewMessageOptions) *options.NewMessageOptions = options.MergeNewMessageOptions
	_ func(...*options.OpenStreamOptions) *options.OpenStreamOptions = options.MergeOpenStreamOptions
	_ func(...*options.HijackOptions) *options.HijackOptions         = options.MergeHijackOptions

	_ func(*id.IDCounter) packet.PacketFactory = packet.NewPacketFactory
	_ func(id.Mode) *id.IDCounter              = id.NewIDCounter
	_ id.IDFactory                             = id.DefaultIncIDCounter
	_ error                                    = packet.ErrPacketTooLarge
	_ int                                      = packet.MaxDecodablePacketLen
)

// The interfaces by their methods. A type with exactly these methods satisfies them, so that
// fakes of users still do.
var (
	_ interface {
		AcceptEnd() (geminio.End, error)
		Accept() (net.Conn, error)
		Close() error
		Addr() net.Addr
	} = server.Listener(nil)
	_ server.Listener = (interface {
		AcceptEnd() (geminio.End, error)
		Accept() (net.Conn, error)
		Close() error
		Addr() net.Addr
	})(nil)
	_ delegate.ClientDelegate = (*delegate.UnimplementedDelegate)(nil)
	_ delegate.ServerDelegate = (*delegate.UnimplementedDelegate)(nil)
	_ geminio.End             = (*server.ServerEnd)(nil)
	_ net.Listener            = geminio.End(nil)
	_ net.Conn                = geminio.Stream(nil)
	_ packet.PacketFactory    = (interface{ NewPacketID() uint64 })(nil)
	_ id.IDFactory            = (interface {
		ReserveID(uint64)
		GetID() uint64
		GetIDByMeta([]byte) (uint64, error)
		DelID(uint64)
		Close()
	})(nil)
	_ delegate.ConnDescriber = (interface {
		ClientID() uint64
		Meta() []byte
		LocalAddr() net.Addr
		RemoteAddr() net.Addr
		Side() geminio.Side
	})(nil)
	_ delegate.DialogueDescriber = (interface {
		NegotiatingID() uint64
		ClientID() uint64
		DialogueID() uint64
		Meta() []byte
		Side() geminio.Side
	})(nil)
)

// Constants.
const (
	_ geminio.Side = geminio.InitiatorSide
	_ options.Cnss = options.CnssAtLeastOnce
)

var _ = map[id.Mode]bool{id.Even: true, id.Odd: true, id.Unique: true, id.Inc: true}

// TestOptions uses the options of Ends in all ways that users do: setters, fields and literals.
func TestOptions(t *testing.T) {
	var (
		clock   timer.Timer
		numbers packet.PacketFactory
		logger  log.Logger
		method  = &geminio.MethodRPC{Method: "m", RPC: func(context.Context, geminio.Request, geminio.Response) {}}
		wish    = uint64(7)
	)
	c := &client.EndOptions{
		Timer: clock, TimerOwner: t, PacketFactory: numbers, Log: logger, Delegate: nil,
		ClientID: &wish, Meta: []byte("meta"), RemoteMethods: []string{"r"}, RemoteMethodCheck: true,
		LocalMethods: []*geminio.MethodRPC{method}, ReadBufferSize: 1, WriteBufferSize: 2,
	}
	c.SetTimer(clock)
	c.SetPacketFactory(numbers)
	c.SetLog(logger)
	c.SetDelegate(&delegate.UnimplementedDelegate{})
	c.SetClientID(wish)
	c.SetMeta([]byte("meta"))
	c.SetWaitRemoteRPCs("r")
	c.SetRemoteRPCCheck()
	c.SetRegisterLocalRPCs(method)
	c.SetBufferSize(1, 2)
	c.SetConnectWait(time.Second)

	s := &server.EndOptions{
		Timer: clock, TimerOwner: t, PacketFactory: numbers, Log: logger, Delegate: nil,
		ClientID: &wish, RemoteMethods: []string{"r"}, RemoteMethodCheck: true,
		LocalMethods: []*geminio.MethodRPC{method}, ReadBufferSize: 1, WriteBufferSize: 2,
		AcceptStreamFunc: func(geminio.Stream) {}, ClosedStreamFunc: func(geminio.Stream) {},
	}
	s.SetTimer(clock)
	s.SetPacketFactory(numbers)
	s.SetLog(logger)
	s.SetDelegate(&delegate.UnimplementedDelegate{})
	s.SetClientID(wish)
	s.SetWaitRemoteRPCs("r")
	s.SetRemoteRPCCheck()
	s.SetRegisterLocalRPCs(method)
	s.SetBufferSize(1, 2)
	s.SetAcceptStreamFunc(func(geminio.Stream) {})
	s.SetClosedStreamFunc(func(geminio.Stream) {})

	call, publish := options.Call(), options.Publish()
	call.SetTimeout(time.Second)
	publish.SetTimeout(time.Second)
	request, message := options.NewRequest(), options.NewMessage()
	request.SetCustom(nil)
	message.SetCustom(nil)
	message.SetCnss(options.CnssAtMostOnce)
	message.SetTopic("t")
	open, hijack := options.OpenStream(), options.Hijack()
	open.SetMeta(nil)
	open.SetPeer("p")
	hijack.SetMatch(true, "^m")

	for name, ok := range map[string]bool{
		"timeout": *call.Timeout == time.Second && *publish.Timeout == time.Second,
		"cnss":    *message.Cnss == options.CnssAtMostOnce && options.CnssAtMostOnce == 1 && options.CnssAtLeastOnce == 2,
		"topic":   *message.Topic == "t",
		"peer":    *open.Peer == "p",
		"match":   *hijack.Match && *hijack.Pattern == "^m",
		"wait":    *c.ConnectWait == time.Second,
		"client":  *client.MergeEndOptions(nil, c).ClientID == wish,
		"server":  server.MergeEndOptions(s, &server.EndOptions{ReadBufferSize: -1}).ReadBufferSize == 1,
		"side":    geminio.InitiatorSide == 0 && geminio.RecipientSide == 1,
	} {
		if !ok {
			t.Errorf("%s has another type than in the earlier library", name)
		}
	}
}
