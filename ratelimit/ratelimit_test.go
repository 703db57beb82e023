package ratelimit

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/server"
)

// echo answers a request with its data.
func echo(_ context.Context, req geminio.Request, rsp geminio.Response) { rsp.SetData(req.Data()) }

// pair returns the client of a pair whose server has the methods a and b behind middleware.
func pair(t *testing.T, m geminio.Middleware) geminio.End {
	so := server.NewEndOptions()
	so.SetMiddleware(m)
	so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "a", RPC: echo}, &geminio.MethodRPC{Method: "b", RPC: echo})
	c, _ := geminiotest.Pair(t, &geminiotest.PairOptions{Server: so})
	return c
}

// call calls a method and reports whether it was allowed.
func call(t *testing.T, c geminio.End, method string) bool {
	t.Helper()
	_, err := c.Call(t.Context(), method, c.NewRequest([]byte("x")))
	if err == nil {
		return true
	}
	var remote *geminio.RemoteError
	require.ErrorAs(t, err, &remote)
	require.Equal(t, geminio.CodeLimit, remote.Code)
	require.ErrorContains(t, err, "retry after")
	return false
}

// Calls beyond the burst are refused until the time for the next one has come.
func TestAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := pair(t, All(10, 3))
		for i, want := range []bool{true, true, true, false, false} {
			assert.Equal(t, want, call(t, c, []string{"a", "b"}[i%2]), "call %d", i)
		}
		time.Sleep(100 * time.Millisecond)
		assert.True(t, call(t, c, "a"))
		assert.False(t, call(t, c, "a"))
	})
}

// Each method, and each client, has a limit of its own.
func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := pair(t, PerMethod(1, 1))
		assert.True(t, call(t, c, "a"))
		assert.True(t, call(t, c, "b"))
		assert.False(t, call(t, c, "a"))
	})
	synctest.Test(t, func(t *testing.T) {
		limit := PerClient(1, 1)
		for id := range uint64(2) {
			so := server.NewEndOptions()
			so.SetMiddleware(limit)
			so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "a", RPC: echo})
			co := client.NewEndOptions()
			co.SetClientID(id + 1)
			c, _ := geminiotest.Pair(t, &geminiotest.PairOptions{Client: co, Server: so})
			assert.True(t, call(t, c, "a"))
			assert.False(t, call(t, c, "a"))
		}
	})
}

// A burst of 0 allows no call.
func TestNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { assert.False(t, call(t, pair(t, All(1, 0)), "a")) })
}

// Keys that are not used any more are forgotten.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &table[int]{limit: 1, burst: 1, all: make(map[int]*rate.Limiter)}
		for i := range 100_000 {
			require.NoError(t, take(table.get(i)))
			if i%100 == 0 {
				time.Sleep(time.Second)
			}
		}
		require.LessOrEqual(t, len(table.all), 4*minSweep)
		require.NoError(t, take(table.get(-1)))
		for i := range 10 * minSweep {
			table.get(i + 1e6)
		}
		require.Error(t, take(table.get(-1)), "the key was forgotten too early")
	})
}
