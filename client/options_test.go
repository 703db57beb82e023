package client

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// A meta that does not fit into the handshake is an error of the constructor, and not a
// failed attempt after which a RetryEnd tries again.
func TestMetaThatIsTooLarge(t *testing.T) {
	dialer := func() (net.Conn, error) {
		t.Error("the End dials, though its meta is too large")
		return nil, errShut
	}
	opt := NewEndOptions()
	opt.SetMeta(make([]byte, 49<<10))
	opt.SetRetryFirst(context.Background())
	for _, make := range []func(Dialer, ...*EndOptions) (geminio.End, error){NewEndWithDialer, NewRetryEndWithDialer} {
		end, err := make(dialer, opt)
		assert.Nil(t, end)
		assert.ErrorIs(t, err, geminio.ErrTooLarge)
		assert.ErrorContains(t, err, "Meta and Metadata, in the handshake: too large: 50176 exceeds 48000")
	}
}

func TestMergeEndOptions(t *testing.T) {
	meta, methods := []byte("meta"), []string{"a", "b"}
	first, second := NewEndOptions(), NewEndOptions()
	first.SetClientID(1)
	first.SetMeta(meta)
	first.SetWaitRemoteRPCs(methods...)
	first.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: echo})
	first.SetBufferSize(1, 2)
	first.SetRemoteRPCCheck()
	first.SetConnectWait(time.Second)
	second.SetClientID(0)
	second.SetBufferSize(-1, 3)
	second.SetHeartbeat(time.Minute)
	second.SetConnectWait(0)
	second.SetStopOnRefusal()
	got := MergeEndOptions(first, nil, second)
	assert.Zero(t, *got.ClientID, "a pointer to 0 is set")
	assert.Equal(t, "meta", string(got.Meta))
	assert.Equal(t, 1, got.ReadBufferSize, "a negative size is not set")
	assert.Equal(t, 3, got.WriteBufferSize)
	assert.True(t, got.RemoteMethodCheck)
	assert.Equal(t, time.Minute, got.Heartbeat)
	assert.Zero(t, *got.ConnectWait)
	assert.True(t, got.StopOnRefusal)

	meta[0], methods[0], first.LocalMethods[0].Method = 'x', "x", "x"
	assert.Equal(t, "meta", string(got.Meta), "Meta after a change of the original")
	assert.Equal(t, []string{"a", "b"}, got.RemoteMethods, "RemoteMethods after a change of the original")
	assert.Equal(t, "m", got.LocalMethods[0].Method, "LocalMethods after a change of the original")
	assert.Equal(t, &EndOptions{}, MergeEndOptions(), "without options")
}

func TestEndOptionsResolve(t *testing.T) {
	opt := NewEndOptions()
	opt.SetClientID(7)
	opt.SetMeta([]byte("meta"))
	opt.SetWaitRemoteRPCs("remote")
	opt.SetRemoteRPCCheck()
	opt.SetHeartbeat(time.Minute)
	cc, ac, err := opt.resolve()
	require.NoError(t, err)
	assert.EqualValues(t, 7, cc.ClientID)
	assert.Equal(t, "meta", string(cc.Meta))
	assert.Equal(t, time.Minute, cc.Heartbeat)
	assert.Equal(t, []string{"remote"}, ac.RemoteMethods)
	assert.True(t, ac.CheckRemote)

	opt.SetLinger(-1)
	_, _, err = opt.resolve()
	assert.ErrorContains(t, err, "Linger of -1ns")
}

// panickingFactory is a PacketFactory that panics.
type panickingFactory struct{ packet.PacketFactory }

func (panickingFactory) NewPacketID() uint64 { panic("no id") }

func TestPacketFactoryThatPanics(t *testing.T) {
	opt := NewEndOptions()
	opt.SetPacketFactory(panickingFactory{})
	cc, _, err := opt.resolve()
	require.NoError(t, err)
	assert.NotZero(t, cc.PacketID, "the library counts by itself")
}
