package setup

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"strconv"
	"testing"
	"time"

	armlog "github.com/jumboframes/armorigo/log"
	"github.com/singchia/go-timer/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/internal/clock"
	"github.com/singchia/geminio/multiplexer"
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
		MaxFrame: 64 << 10, MaxMessage: 64 << 20, MaxStreams: 65599,
		Raw: 256 << 10, Messages: 256 << 10, Handlers: 4096, Large: cc.Settings.Large,
		MaxMetadata: 64 << 10,
	}, cc.Settings)
	assert.Equal(t, 1024, ac.Limits.Backlog)
	assert.EqualValues(t, math.MaxInt32, ac.Limits.MaxWindow)
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
	assert.EqualValues(t, bufferUnit, cc.Settings.Raw)
	assert.EqualValues(t, bufferUnit, cc.Settings.Messages)
	assert.EqualValues(t, bufferUnit, ac.Limits.MaxWindow)
	assert.Equal(t, sendQueue, ac.Limits.SendQueue)
	_, ac, err = (&Common{Limits: &options.Limits{}, ReadBufferSize: -5, WriteBufferSize: -5}).Resolve(geminio.InitiatorSide, nil)
	require.NoError(t, err)
	assert.EqualValues(t, maxWindow, ac.Limits.MaxWindow)
	assert.Equal(t, sendQueue, ac.Limits.SendQueue)
}

// For all limits, a part of the budget has room for the largest message, and for the first
// windows of all streams of both sides and of the default one.
func TestBudget(t *testing.T) {
	for _, limits := range []options.Limits{
		{},
		{MaxStreams: 1},
		{MaxStreams: 100_000},
		{MaxStreams: 1_000_000},
		{MaxStreams: math.MaxInt32},
		{MaxMessageSize: 1},
		{MaxMessageSize: 1 << 30},
		{MaxMessageSize: math.MaxInt32 - packet.MinLarge},
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
		assert.GreaterOrEqual(t, uint64(w.Large), uint64(w.MaxMessage)+packet.MinLarge, "%+v", limits)
		assert.GreaterOrEqual(t, w.Raw, uint32(leastWindow))
		assert.LessOrEqual(t, w.Raw, uint32(firstWindow))
		least := multiplexer.LeastWindows(ac.Limits.Windows, 2*uint64(w.MaxStreams)+1)
		assert.LessOrEqual(t, least+ac.Limits.Spare, ac.Limits.Windows, "%+v", limits)
		assert.GreaterOrEqual(t, ac.Limits.Spare, ac.Limits.Windows/3, "%+v", limits)
		if limits.MaxStreams > 0 {
			assert.EqualValues(t, limits.MaxStreams, w.MaxStreams)
		}
		small := uint64(charge.MaxSmall(w))
		assert.True(t, small*uint64(w.Handlers) <= ac.Limits.Windows/2 || small == leastSmall, "%+v", limits)
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
	least := parts * (100_000 + packet.MinLarge)
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

// noted is a Delegate that records its calls.
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
