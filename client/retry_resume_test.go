package client

import (
	"context"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// resumePairs returns RetryEnds and their Ends at one listener, whose sessions are kept for a
// time.
func resumePairs(t *testing.T, keep time.Duration, n int) (c, s []geminio.End) {
	so, co := server.NewEndOptions(), NewEndOptions()
	so.SetResumeKeep(keep)
	co.SetResumeKeep(keep)
	so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: func(context.Context, geminio.Request, geminio.Response) {}})
	l, err := server.Listen("tcp", "127.0.0.1:0", so)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	for range n {
		end, err := NewRetryEndWithDialer(func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }, co)
		require.NoError(t, err)
		t.Cleanup(func() { end.Close() })
		peer, err := l.AcceptEnd()
		require.NoError(t, err)
		c, s = append(c, end), append(s, peer)
	}
	return c, s
}

// A call and a message of a session that can be resumed allocate as much as without.
func TestSessionAllocatesNoMore(t *testing.T) {
	measure := func(keep time.Duration) (calls, messages float64) {
		cs, ss := resumePairs(t, keep, 1)
		c := cs[0]
		go func() {
			for {
				m, err := ss[0].Receive(context.Background())
				if err != nil {
					return
				}
				m.Done()
			}
		}()
		ctx := context.Background()
		var err error
		calls = testing.AllocsPerRun(2000, func() { _, err = c.Call(ctx, "m", c.NewRequest(nil)) })
		require.NoError(t, err)
		messages = testing.AllocsPerRun(2000, func() { err = c.Publish(ctx, c.NewMessage(nil)) })
		require.NoError(t, err)
		return calls, messages
	}
	calls, messages := measure(0)
	sessionCalls, sessionMessages := measure(time.Minute)
	t.Logf("without a session: %v per call, %v per message; with one: %v and %v", calls, messages, sessionCalls, sessionMessages)
	if kit.Race {
		return // the race detector allocates
	}
	assert.LessOrEqual(t, sessionCalls, calls+0.5, "allocations per call")
	assert.LessOrEqual(t, sessionMessages, messages+0.5, "allocations per message")
}

// An idle End whose session can be resumed needs little more memory.
func TestIdleSessionCostsLittle(t *testing.T) {
	const ends = 100
	measure := func(keep time.Duration) int64 {
		heap := func() int64 {
			var m runtime.MemStats
			for range 3 {
				runtime.GC()
			}
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := heap()
		t.Run(keep.String(), func(t *testing.T) {
			c, s := resumePairs(t, keep, ends)
			time.Sleep(2 * time.Second) // until both sides have reported what they have received
			before = heap() - before
			runtime.KeepAlive(c)
			runtime.KeepAlive(s)
		})
		return before / ends / 2
	}
	off := measure(0)
	on := measure(time.Minute)
	t.Logf("bytes of an End: %d, with a session %d", off, on)
	if !kit.Race {
		assert.Less(t, on-off, int64(4<<10), "about half a KiB, and what other tests leave behind")
	}
}
