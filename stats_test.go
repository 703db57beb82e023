package geminio

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestNamesOfConstants(t *testing.T) {
	for want, got := range map[string]interface{ String() string }{
		"outgoing": Outgoing, "incoming": Incoming,
		"raw": CreditRaw, "messages": CreditMessages, "handlers": CreditHandlers,
		"large-messages": CreditLargeMessages, "large-requests": CreditLargeRequests, "large-responses": CreditLargeResponses,
		"preparing": EndPreparing, "connected": EndConnected, "interrupted": EndInterrupted, "reconnecting": EndReconnecting,
		"draining": EndDraining, "closing": EndClosing, "closed": EndClosed,
		"open": HalfOpen, "ending": HalfEnding,
		"waits-for-connection": CallWaitsForConnection, "waits-for-credit": CallWaitsForCredit, "sent": CallSent,
		"running": CallRunning, "abandoned": CallAbandoned,
	} {
		assert.Equal(t, want, got.String())
	}
	assert.Equal(t, "closed", HalfClosed.String())
	for _, other := range []interface{ String() string }{Credit(99), EndState(99), HalfState(99), CallState(99)} {
		assert.Equal(t, "unknown", other.String())
	}
}

func TestCountsEnded(t *testing.T) {
	assert.Equal(t, uint64(3), Counts{Begun: 5, InFlight: 2}.Ended())
}

// observable is an End with the optional methods of this file.
type observable struct{ End }

func (observable) Snapshot() EndSnapshot          { return EndSnapshot{ClientID: 7} }
func (observable) StreamSnapshot() StreamSnapshot { return StreamSnapshot{StreamID: 1} }
func (observable) Calls(max int) []CallSnapshot   { return make([]CallSnapshot, max) }
func (observable) Ping(ctx context.Context) (time.Duration, error) {
	return time.Second, ctx.Err()
}

func TestSnapshotFunctions(t *testing.T) {
	e := observable{}
	end, ok := SnapshotOf(e)
	assert.True(t, ok)
	assert.Equal(t, uint64(7), end.ClientID)
	stream, ok := StreamSnapshotOf(e)
	assert.True(t, ok)
	assert.Equal(t, uint64(1), stream.StreamID)
	assert.Len(t, CallsOf(e, 3), 3)
	rtt, err := Ping(t.Context(), e)
	assert.NoError(t, err)
	assert.Equal(t, time.Second, rtt)
}

func TestSnapshotFunctionsThatAValueDoesNotHave(t *testing.T) {
	e := plain{}
	_, ok := SnapshotOf(e)
	assert.False(t, ok)
	_, ok = StreamSnapshotOf(e)
	assert.False(t, ok)
	assert.Nil(t, CallsOf(e, 3))
	_, err := Ping(t.Context(), e)
	assert.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestSetStatsAdds(t *testing.T) {
	var o StatsOptions
	o.SetStats(Stats{}, Stats{})
	o.SetStats(Stats{})
	assert.Len(t, o.Stats, 3)
}
