package setup

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	armlog "github.com/jumboframes/armorigo/log"
	"github.com/singchia/go-timer/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/internal/clock"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/pkg/id"
)

func TestDefaults(t *testing.T) {
	limits := &options.Limits{}
	cc, ac, err := (&Common{Limits: limits}).Resolve(geminio.InitiatorSide, nil)
	require.NoError(t, err)
	assert.Equal(t, &options.Limits{}, limits, "the user's are not changed")
	assert.Equal(t, 10*time.Second, cc.HandshakeTimeout)
	assert.Equal(t, 20*time.Second, cc.Heartbeat)
	assert.Equal(t, 5*time.Second, cc.Linger)
	assert.Equal(t, clock.Runtime(), cc.Clock)
	assert.NotNil(t, cc.Log)
	assert.Nil(t, cc.Online)
	assert.Nil(t, cc.Offline)
	assert.Equal(t, packet.Settings{
		MaxFrame: 64 << 10, MaxMessage: 64 << 20, MaxStreams: 1024,
		Raw: 16 << 10, Messages: 16 << 10, Handlers: 4096, Large: cc.Settings.Large,
	}, cc.Settings)
	assert.Equal(t, 1024, ac.Limits.Backlog)
	assert.EqualValues(t, 16<<20, ac.Limits.MaxWindow)
	assert.Equal(t, 128<<10, ac.Limits.SendQueue)
	assert.False(t, ac.CheckRemote)
}

func TestNumbersBySide(t *testing.T) {
	for side, want := range map[geminio.Side]uint64{geminio.InitiatorSide: 1, geminio.RecipientSide: 0} {
		_, ac, err := (&Common{Limits: &options.Limits{}}).Resolve(side, nil)
		require.NoError(t, err)
		for range 10 {
			assert.Equal(t, want, ac.IDs.NewPacketID()%2, side)
		}
	}
	mine := packet.NewPacketFactory(id.NewIDCounter(id.Even))
	_, ac, err := (&Common{Limits: &options.Limits{}, PacketFactory: mine}).Resolve(geminio.InitiatorSide, nil)
	require.NoError(t, err)
	for range 10 {
		assert.Zero(t, ac.IDs.NewPacketID()%2, "those of the user's factory")
	}
}

// badFactory is a user's PacketFactory that panics.
type badFactory struct{}

func (badFactory) NewPacketID() uint64 { panic("oops") }

func TestPacketFactoryThatPanics(t *testing.T) {
	_, ac, err := (&Common{Limits: &options.Limits{}, PacketFactory: badFactory{}}).Resolve(geminio.InitiatorSide, nil)
	require.NoError(t, err)
	for want := range uint64(10) {
		assert.Equal(t, want+1, ac.IDs.NewPacketID(), "it counts by itself")
	}
	_, again, err := (&Common{Limits: &options.Limits{}, PacketFactory: ac.IDs}).Resolve(geminio.InitiatorSide, nil)
	require.NoError(t, err)
	assert.Same(t, ac.IDs, again.IDs)
}

func TestSettingsReachTheLayers(t *testing.T) {
	limits := &options.Limits{}
	limits.SetHandshakeTimeout(1 * time.Second)
	limits.SetHeartbeat(2 * time.Second)
	limits.SetLinger(3 * time.Second)
	limits.SetMaxMessageSize(4000)
	limits.SetMaxStreams(5)
	limits.SetAcceptBacklog(6)
	limits.SetMaxHandlers(7)
	limits.SetMemoryBudget(8 << 20)
	var logged bytes.Buffer
	limits.SetLogger(slog.New(slog.NewTextHandler(&logged, nil)))
	methods := []*geminio.MethodRPC{{Method: "m", RPC: func(context.Context, geminio.Request, geminio.Response) {}}}
	cc, ac, err := (&Common{
		Limits: limits, LocalMethods: methods, RemoteMethods: []string{"r"}, CheckRemote: true,
		ReadBufferSize: 10, WriteBufferSize: 20,
	}).Resolve(geminio.RecipientSide, nil)
	require.NoError(t, err)
	assert.Equal(t, 1*time.Second, cc.HandshakeTimeout)
	assert.Equal(t, 2*time.Second, cc.Heartbeat)
	assert.Equal(t, 3*time.Second, cc.Linger)
	assert.EqualValues(t, 4000, cc.Settings.MaxMessage)
	assert.EqualValues(t, 5, cc.Settings.MaxStreams)
	assert.EqualValues(t, 6, ac.Limits.Backlog)
	assert.EqualValues(t, 7, cc.Settings.Handlers)
	assert.EqualValues(t, 2<<20, cc.Settings.Large)
	assert.EqualValues(t, 2<<20, ac.Limits.Windows)
	assert.Equal(t, methods, ac.LocalMethods)
	assert.Equal(t, []string{"r"}, ac.RemoteMethods)
	assert.True(t, ac.CheckRemote)
	assert.EqualValues(t, 10*bufferUnit, ac.Limits.MaxWindow)
	assert.Equal(t, 20*bufferUnit, ac.Limits.SendQueue)
	cc.Log.Error("something")
	assert.Contains(t, logged.String(), "something")
}

func TestBufferSizes(t *testing.T) {
	cc, ac, err := (&Common{Limits: &options.Limits{}, ReadBufferSize: 1}).Resolve(geminio.InitiatorSide, nil)
	require.NoError(t, err)
	assert.EqualValues(t, cc.Settings.Raw, ac.Limits.MaxWindow, "never less than the first window")
	assert.Equal(t, sendQueue, ac.Limits.SendQueue)
	_, ac, err = (&Common{Limits: &options.Limits{}, ReadBufferSize: -5, WriteBufferSize: -5}).Resolve(geminio.InitiatorSide, nil)
	require.NoError(t, err)
	assert.EqualValues(t, maxWindow, ac.Limits.MaxWindow)
	assert.Equal(t, sendQueue, ac.Limits.SendQueue)
}

func TestContradictionsAreReported(t *testing.T) {
	for _, test := range []struct {
		name   string
		limits options.Limits
		want   string
	}{
		{"message size", options.Limits{MaxMessageSize: -1}, "MaxMessageSize of -1"},
		{"message size", options.Limits{MaxMessageSize: math.MaxInt32}, "MaxMessageSize of 2147483647"},
		{"streams", options.Limits{MaxStreams: -2}, "MaxStreams of -2"},
		{"backlog", options.Limits{AcceptBacklog: -3}, "AcceptBacklog of -3"},
		{"handlers", options.Limits{MaxHandlers: -4}, "MaxHandlers of -4"},
		{"handshake", options.Limits{HandshakeTimeout: -1}, "HandshakeTimeout of -1ns"},
		{"heartbeat", options.Limits{Heartbeat: -time.Second}, "Heartbeat of -1s"},
		{"linger", options.Limits{Linger: -time.Second}, "Linger of -1s"},
		{"budget", options.Limits{MemoryBudget: -1}, "MemoryBudget of -1"},
		{"heartbeat that breaks the peer's rule", options.Limits{Heartbeat: time.Millisecond}, "Heartbeat of 1ms is not between 10ms and 8760h0m0s"},
		{"budget for the default message", options.Limits{MemoryBudget: 64 << 20}, "MemoryBudget of 67108864 is too small: messages of 67108864 bytes"},
		{"budget for many streams", options.Limits{MemoryBudget: 1 << 20, MaxMessageSize: 1000, MaxStreams: 1000}, "1000 streams need"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cc, ac, err := (&Common{Limits: &test.limits}).Resolve(geminio.InitiatorSide, nil)
			assert.ErrorContains(t, err, test.want)
			assert.Nil(t, cc)
			assert.Nil(t, ac)
		})
	}
}

// What is not a number has its range too.
func TestOtherSettingsAreChecked(t *testing.T) {
	rpc := func(context.Context, geminio.Request, geminio.Response) {}
	long := strings.Repeat("x", 1001)
	for want, c := range map[string]Common{
		"ReadBufferSize of 9223372036854775807 is not between":  {ReadBufferSize: math.MaxInt},
		"WriteBufferSize of 9223372036854775807 is not between": {WriteBufferSize: math.MaxInt},
		"ReadBufferSize of 524288 is not between":               {ReadBufferSize: maxBuffer + 1},
		"WriteBufferSize of 524288 is not between":              {WriteBufferSize: maxBuffer + 1},
		`the RPC of method "m" in LocalMethods is nil`:          {LocalMethods: []*geminio.MethodRPC{{Method: "m"}}},
		"in LocalMethods has 1001 bytes":                        {LocalMethods: []*geminio.MethodRPC{nil, {Method: long, RPC: rpc}}},
		"in RemoteMethods has 1001 bytes":                       {RemoteMethods: []string{long}},
		"number of RemoteMethods of 16385 is not between":       {RemoteMethods: make([]string, 16385)},
		"number of LocalMethods of 16385 is not between":        {LocalMethods: make([]*geminio.MethodRPC, 16385)},
	} {
		c.Limits = &options.Limits{}
		_, _, err := c.Resolve(geminio.InitiatorSide, nil)
		if strconv.IntSize == 32 {
			want = strings.ReplaceAll(want, "9223372036854775807", "2147483647")
		}
		assert.ErrorContains(t, err, want)
	}
	c := Common{
		Limits: &options.Limits{}, ReadBufferSize: maxBuffer, WriteBufferSize: maxBuffer,
		LocalMethods:  []*geminio.MethodRPC{nil, {RPC: rpc}, {Method: long[1:], RPC: rpc}},
		RemoteMethods: []string{"", long[1:]},
	}
	_, ac, err := c.Resolve(geminio.InitiatorSide, nil)
	require.NoError(t, err)
	assert.EqualValues(t, maxBuffer*bufferUnit, ac.Limits.MaxWindow)
	assert.Equal(t, maxBuffer*bufferUnit, ac.Limits.SendQueue)
}

// Whatever the limits, a part of the budget holds the largest message and the
// first windows of all streams of both sides and of the default one.
func TestBudget(t *testing.T) {
	for _, limits := range []options.Limits{
		{},
		{MaxStreams: 1},
		{MaxStreams: 100_000},
		{MaxStreams: 1_000_000},
		{MaxStreams: math.MaxInt32},
		{MaxMessageSize: 1},
		{MaxMessageSize: 1 << 30},
		{MaxMessageSize: math.MaxInt32 - packet.MaxHead},
		{MaxMessageSize: 1000, MaxStreams: 1, MemoryBudget: 64 << 10},
		{MaxMessageSize: 1 << 20, MaxStreams: 100, MemoryBudget: 8 << 20},
		{MemoryBudget: math.MaxInt},
	} {
		cc, ac, err := (&Common{Limits: &limits}).Resolve(geminio.InitiatorSide, nil)
		if strconv.IntSize == 32 && (limits.MaxStreams > 100_000 || limits.MaxMessageSize >= 1<<29) {
			require.ErrorContains(t, err, "more than the 2147483647 that this machine can address", "%+v", limits)
			continue
		}
		require.NoError(t, err, "%+v", limits)
		w := cc.Settings
		assert.GreaterOrEqual(t, uint64(w.Large), uint64(w.MaxMessage)+packet.MaxHead, "%+v", limits)
		assert.Equal(t, w.Raw, w.Messages)
		assert.GreaterOrEqual(t, w.Raw, uint32(leastWindow))
		assert.LessOrEqual(t, w.Raw, uint32(firstWindow))
		first := uint64(w.Raw) + uint64(w.Messages)
		assert.LessOrEqual(t, first*(2*uint64(w.MaxStreams)+1), ac.Limits.Windows, "%+v", limits)
		_, err = packet.AppendConn(nil, packet.Conn{Settings: &w})
		require.NoError(t, err)
		if limits.MemoryBudget > 0 {
			assert.LessOrEqual(t, ac.Limits.Windows+3*uint64(w.Large), uint64(limits.MemoryBudget), "%+v", limits)
		}
	}
}

// The least budget that is enough is the one that the error names.
func TestLeastBudget(t *testing.T) {
	limits := options.Limits{MaxMessageSize: 100_000, MaxStreams: 10}
	least := parts * (100_000 + packet.MaxHead)
	limits.MemoryBudget = least
	_, _, err := (&Common{Limits: &limits}).Resolve(geminio.InitiatorSide, nil)
	assert.NoError(t, err)
	limits.MemoryBudget = least - 1
	_, _, err = (&Common{Limits: &limits}).Resolve(geminio.InitiatorSide, nil)
	assert.Error(t, err)
}

func TestTimerAndLogger(t *testing.T) {
	wheel := struct{ timer.Timer }{}
	cc, _, err := (&Common{Limits: &options.Limits{}, Timer: wheel}).Resolve(geminio.InitiatorSide, nil)
	require.NoError(t, err)
	assert.NotEqual(t, clock.Runtime(), cc.Clock)

	cc, _, err = (&Common{Limits: &options.Limits{}, Log: armlog.DefaultLog}).Resolve(geminio.InitiatorSide, nil)
	require.NoError(t, err)
	assert.NotNil(t, cc.Log)
}

// noted is a Delegate that notes what it is told.
type noted struct {
	*delegate.UnimplementedDelegate
	calls []string
}

func (n *noted) ConnOnline(delegate.ConnDescriber) error {
	n.calls = append(n.calls, "online")
	return errors.New("no")
}

func (n *noted) ConnOffline(delegate.ConnDescriber) error {
	n.calls = append(n.calls, "offline")
	return nil
}

func TestDelegateReachesTheLayers(t *testing.T) {
	n := &noted{}
	cc, ac, err := (&Common{Limits: &options.Limits{}}).Resolve(geminio.InitiatorSide, n)
	require.NoError(t, err)
	assert.EqualError(t, cc.Online(nil), "no")
	cc.Offline(nil)
	ac.Hooks.Offline(nil)
	assert.Equal(t, []string{"online", "offline", "offline"}, n.calls)
	assert.NotNil(t, ac.Hooks.DialogueOnline)
	assert.NotNil(t, ac.Hooks.DialogueOffline)
	assert.NotNil(t, ac.Hooks.RemoteRegistration)

	assert.Nil(t, NotNil((*noted)(nil)), "a typed nil is none")
	assert.Equal(t, n, NotNil(n))
}
