package setup

import (
	"context"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

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

// Settings that are not numbers have ranges too.
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
