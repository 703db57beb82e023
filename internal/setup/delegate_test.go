package setup

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

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

	assert.Nil(t, DelegateOrNil((*noted)(nil)), "a typed nil is none")
	assert.Equal(t, n, DelegateOrNil(n))
}
