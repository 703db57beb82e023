package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/pkg/id"
	"github.com/singchia/geminio/server"
)

// The interfaces of the root package have exactly these methods, since each can be assigned to
// the other.
type (
	request interface {
		ID() uint64
		StreamID() uint64
		ClientID() uint64
		Method() string
		Timeout() time.Duration
		Data() []byte
		Custom() []byte
		SetTimeout(time.Duration)
		SetCustom([]byte)
		SetClientID(uint64)
		SetStreamID(uint64)
	}
	response interface {
		ID() uint64
		StreamID() uint64
		ClientID() uint64
		Method() string
		Data() []byte
		Error() error
		Custom() []byte
		SetData([]byte)
		SetError(error)
		SetCustom([]byte)
		SetClientID(uint64)
		SetStreamID(uint64)
	}
	message interface {
		Done() error
		Error(err error) error
		ID() uint64
		StreamID() uint64
		ClientID() uint64
		Timeout() time.Duration
		Topic() string
		Cnss() options.Cnss
		Data() []byte
		Custom() []byte
		SetTimeout(time.Duration)
		SetCustom([]byte)
		SetTopic(string)
		SetClientID(uint64)
		SetStreamID(uint64)
	}
	rpcer interface {
		NewRequest(data []byte, opts ...*options.NewRequestOptions) geminio.Request
		Call(ctx context.Context, method string, req geminio.Request, opts ...*options.CallOptions) (geminio.Response, error)
		CallAsync(ctx context.Context, method string, req geminio.Request, ch chan *geminio.Call, opts ...*options.CallOptions) (*geminio.Call, error)
		Register(ctx context.Context, method string, rpc geminio.RPC) error
		Hijack(rpc geminio.HijackRPC, opts ...*options.HijackOptions) error
	}
	messager interface {
		NewMessage(data []byte, opts ...*options.NewMessageOptions) geminio.Message
		Publish(ctx context.Context, msg geminio.Message, opts ...*options.PublishOptions) error
		PublishAsync(ctx context.Context, msg geminio.Message, ch chan *geminio.Publish, opts ...*options.PublishOptions) (*geminio.Publish, error)
		Receive(ctx context.Context) (geminio.Message, error)
	}
	stream interface {
		net.Conn
		rpcer
		messager
		StreamID() uint64
		ClientID() uint64
		Meta() []byte
		Side() geminio.Side
		Peer() string
	}
	mux interface {
		OpenStream(opts ...*options.OpenStreamOptions) (geminio.Stream, error)
		AcceptStream() (geminio.Stream, error)
		ListStreams() []geminio.Stream
	}
	end interface {
		stream
		mux
		net.Listener
		Close() error
	}
)

var (
	_ geminio.Request        = request(nil)
	_ request                = geminio.Request(nil)
	_ geminio.Response       = response(nil)
	_ response               = geminio.Response(nil)
	_ geminio.Message        = message(nil)
	_ message                = geminio.Message(nil)
	_ geminio.RPCer          = rpcer(nil)
	_ rpcer                  = geminio.RPCer(nil)
	_ geminio.Messager       = messager(nil)
	_ messager               = geminio.Messager(nil)
	_ geminio.Raw            = net.Conn(nil)
	_ net.Conn               = geminio.Raw(nil)
	_ geminio.RawRPCMessager = stream(nil)
	_ geminio.Stream         = stream(nil)
	_ stream                 = geminio.Stream(nil)
	_ geminio.Multiplexer    = mux(nil)
	_ mux                    = geminio.Multiplexer(nil)
	_ geminio.End            = end(nil)
	_ geminio.End            = (*client.RetryEnd)(nil)
	_ end                    = geminio.End(nil)
)

// The delegates, in the same way.
type (
	clientConn interface {
		ConnOnline(delegate.ConnDescriber) error
		ConnOffline(delegate.ConnDescriber) error
	}
	serverConn interface {
		clientConn
		Heartbeat(delegate.ConnDescriber) error
		GetClientID(wantedID uint64, meta []byte) (uint64, error)
	}
	clientDialogue interface {
		DialogueOnline(delegate.DialogueDescriber) error
		DialogueOffline(delegate.DialogueDescriber) error
	}
	registrations interface {
		RemoteRegistration(method string, clientID uint64, streamID uint64)
	}
	clientDelegate interface {
		clientConn
		clientDialogue
		registrations
		EndReOnline(delegate.ClientDescriber)
	}
	serverDelegate interface {
		serverConn
		clientDialogue
		registrations
	}
)

var (
	_ delegate.ClientConnDelegate     = clientConn(nil)
	_ clientConn                      = delegate.ClientConnDelegate(nil)
	_ delegate.ServerConnDelegate     = serverConn(nil)
	_ serverConn                      = delegate.ServerConnDelegate(nil)
	_ delegate.ClientDialogueDelegate = clientDialogue(nil)
	_ clientDialogue                  = delegate.ClientDialogueDelegate(nil)
	_ delegate.ServerDialogueDelegate = clientDialogue(nil)
	_ clientDialogue                  = delegate.ServerDialogueDelegate(nil)
	_ delegate.ApplicationDelegate    = registrations(nil)
	_ registrations                   = delegate.ApplicationDelegate(nil)
	_ delegate.ClientDelegate         = clientDelegate(nil)
	_ clientDelegate                  = delegate.ClientDelegate(nil)
	_ delegate.ServerDelegate         = serverDelegate(nil)
	_ serverDelegate                  = delegate.ServerDelegate(nil)
	_ delegate.ClientDescriber        = (interface{ ClientID() uint64 })(nil)
	_ delegate.Delegate               = (interface {
		serverDelegate
		EndReOnline(delegate.ClientDescriber)
	})(nil)
)

// embedding is a delegate that embeds UnimplementedDelegate, as users do.
type embedding struct {
	*delegate.UnimplementedDelegate
	online int
}

// ConnOnline replaces one of the methods.
func (e *embedding) ConnOnline(delegate.ConnDescriber) error { e.online++; return nil }

var (
	_ delegate.ClientDelegate = &embedding{}
	_ delegate.ServerDelegate = &embedding{}
)

// The sizes of the earlier library are untyped constants.
const (
	batch               = (packet.MaxDecodablePacketLen - 1024) / 4 * 3
	_     int32         = application.DefaultMaxPacketSize
	_     uint64        = conn.DefaultMaxPacketSize
	_     float64       = packet.MaxDecodablePacketLen
	_     time.Duration = application.DefaultMaxPacketSize
	_                   = uint(conn.DefaultMaxPacketSize - application.DefaultMaxPacketSize)
	_     geminio.Side  = geminio.RecipientSide
	_     options.Cnss  = options.CnssAtMostOnce
	_                   = id.Even + id.Odd + id.Unique + id.Inc
)

func TestSizesOfTheEarlierLibrary(t *testing.T) {
	assert.Equal(t, 10485760, packet.MaxDecodablePacketLen)
	assert.Equal(t, 10485760, application.DefaultMaxPacketSize)
	assert.Equal(t, 10485760, conn.DefaultMaxPacketSize)
	assert.Greater(t, batch, 1<<20, "the largest batch that a program sends")
}

// Programs compare errors in all three ways.
func TestErrorsOfTheEarlierLibrary(t *testing.T) {
	for old, now := range map[error]error{
		application.ErrRemoteRPCUnregistered: geminio.ErrRemoteRPCUnregistered,
		application.ErrMismatchClientID:      geminio.ErrMismatchClientID,
		application.ErrMismatchStreamID:      geminio.ErrMismatchStreamID,
		application.ErrPacketTooLarge:        geminio.ErrTooLarge,
	} {
		assert.True(t, old == now)
	}
	assert.Equal(t, "remote rpc unregistered", application.ErrRemoteRPCUnregistered.Error())
	assert.Equal(t, "mismatch clientID", application.ErrMismatchClientID.Error())
	assert.Equal(t, "mismatch streamID", application.ErrMismatchStreamID.Error())
	assert.True(t, errors.Is(&geminio.LimitError{Err: geminio.ErrTooLarge}, application.ErrPacketTooLarge))
}

// A program uses all operations of the earlier library.
func TestDependent(t *testing.T) {
	l, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() { done <- serve(l) }()

	opt := client.NewEndOptions()
	opt.SetClientID(7)
	opt.SetDelegate(&embedding{})
	opt.SetWaitRemoteRPCs("echo")
	opt.SetRemoteRPCCheck()
	end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }, opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	resp, err := end.Call(ctx, "echo", end.NewRequest([]byte("hi")))
	if err != nil {
		t.Fatal(err)
	}
	assert.Equal(t, "hi", string(resp.Data()))
	assert.NoError(t, resp.Error())
	call, err := end.CallAsync(ctx, "echo", end.NewRequest(nil), make(chan *geminio.Call, 1))
	if err != nil {
		t.Fatal(err)
	}
	assert.NoError(t, (<-call.Done).Error)
	_, err = end.Call(ctx, "nope", end.NewRequest(nil))
	assert.True(t, err == application.ErrRemoteRPCUnregistered)
	req := end.NewRequest(nil)
	req.SetClientID(8)
	_, err = end.Call(ctx, "echo", req)
	assert.True(t, err == application.ErrMismatchClientID)
	msg := end.NewMessage(make([]byte, batch))
	msg.SetStreamID(8)
	assert.True(t, end.Publish(ctx, msg) == application.ErrMismatchStreamID)
	msg.SetStreamID(1)
	publish, err := end.PublishAsync(ctx, msg, nil)
	if err != nil {
		t.Fatal(err)
	}
	assert.NoError(t, (<-publish.Done).Error)

	s, err := end.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(s, "raw")
	back := make([]byte, 3)
	_, err = io.ReadFull(s, back)
	assert.NoError(t, err)
	assert.Equal(t, "raw", string(back))
	assert.Len(t, end.ListStreams(), 2)
	assert.NoError(t, s.Close())
	_, err = s.Call(ctx, "echo", s.NewRequest(nil))
	assert.True(t, err == io.EOF)
	assert.NoError(t, end.Close())
	assert.NoError(t, <-done)

	// There is no server any more.
	l.Close()
	_, err = client.NewEnd("tcp", l.Addr().String())
	var op *net.OpError
	assert.True(t, errors.As(err, &op))
	assert.False(t, errors.Is(err, geminio.ErrNotConnected), "of a client.RetryEnd only")
}

// serve serves one client.
func serve(l server.Listener) error {
	end, err := l.AcceptEnd()
	if err != nil {
		return err
	}
	if end.ClientID() != 7 {
		return fmt.Errorf("client %d", end.ClientID())
	}
	err = end.Register(context.Background(), "echo", func(_ context.Context, req geminio.Request, resp geminio.Response) {
		resp.SetData(req.Data())
	})
	if err != nil {
		return err
	}
	streams := make(chan error, 1)
	go func() {
		s, err := end.AcceptStream()
		if err == nil {
			_, err = io.CopyN(s, s, 3)
		}
		streams <- err
	}()
	msg, err := end.Receive(context.Background())
	if err != nil {
		return err
	}
	if len(msg.Data()) != batch {
		return fmt.Errorf("the batch has %d bytes", len(msg.Data()))
	}
	if err := msg.Done(); err != nil {
		return err
	}
	if err := <-streams; err != nil {
		return err
	}
	if _, err := end.Receive(context.Background()); err != io.EOF {
		return err
	}
	return end.Close()
}
