package client

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// echo answers with what it got.
func echo(_ context.Context, req geminio.Request, resp geminio.Response) { resp.SetData(req.Data()) }

// inDefaultLab is inLab with the default back-off.
func inDefaultLab(t *testing.T, sopt *server.EndOptions, opt *EndOptions, test func(t *testing.T, l *retryTest)) {
	t.Helper()
	back := NewEndOptions()
	back.SetRetryBackoff(defaultRetryMin, defaultRetryMax)
	withRetryEnd(t, sopt, MergeEndOptions(back, opt), test)
}

// A link that is cut every 150 ms, over and over: the connections work, so the next one is
// made at once each time, and the work goes on.
func TestFlappingLink(t *testing.T) {
	inDefaultLab(t, serving("echo", echo), nil, func(t *testing.T, l *retryTest) {
		const cuts = 200
		idempotent := options.Call()
		idempotent.SetIdempotent(true)
		var slowest time.Duration
		calls := 0
		stop := make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				start := time.Now()
				_, err := l.end.Call(context.Background(), "echo", l.end.NewRequest(nil), idempotent)
				assert.NoError(t, err)
				slowest = max(slowest, time.Since(start))
				calls++
				time.Sleep(10 * time.Millisecond)
			}
		})
		start := time.Now()
		for range cuts {
			time.Sleep(150 * time.Millisecond)
			l.lose()
		}
		close(stop)
		all.Wait()
		assert.LessOrEqual(t, time.Since(start), cuts*150*time.Millisecond+time.Second)
		assert.LessOrEqual(t, slowest, 2*defaultRetryMin+10*time.Millisecond, "a call waits for the next connection, or the one after it")
		assert.Greater(t, calls, cuts)
		assert.Greater(t, l.end.Stats().Connections, uint64(cuts/2))
	})
}

// A server that lets clients in, tells of its methods and ends the connection is none that
// works: clients come less and less often.
func TestServerThatLetsInAndEnds(t *testing.T) {
	inDefaultLab(t, serving("m", echo), nil, func(t *testing.T, l *retryTest) {
		stop := make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			var last geminio.End
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				if peer := l.server(); peer != nil && peer != last {
					last = peer
					peer.Close()
				}
			}
		})
		time.Sleep(10 * time.Minute)
		close(stop)
		all.Wait()
		assert.Less(t, l.dials.Load(), int64(100), "in ten minutes")
		assert.Greater(t, l.dials.Load(), int64(20))
	})
}

// A server that goes away and does not go: what is under way has the time for draining,
// then the next connection is made.
func TestDrainTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{0, time.Minute} {
		t.Run(timeout.String(), func(t *testing.T) {
			opt := NewEndOptions()
			opt.SetDrainTimeout(timeout)
			want := timeout
			if want == 0 {
				want = 5 * time.Minute
			}
			release := make(chan struct{})
			stuck := func(context.Context, geminio.Request, geminio.Response) { <-release }
			withRetryEnd(t, nil, opt, func(t *testing.T, l *retryTest) {
				release = make(chan struct{})
				require.NoError(t, l.server().Register(t.Context(), "stuck", stuck))
				require.NoError(t, l.server().Register(t.Context(), "echo", echo))
				stream, err := l.end.OpenStream()
				require.NoError(t, err)
				underWay := kit.Run(func() error {
					_, err := l.end.Call(context.Background(), "stuck", l.end.NewRequest(nil))
					return err
				})
				shutdown := kit.Run(func() error {
					return geminio.Shutdown(context.Background(), l.server())
				})
				start := time.Now()
				waits := kit.Run(func() error { return l.end.Publish(context.Background(), l.end.NewMessage(nil)) })
				time.Sleep(want - time.Nanosecond)
				kit.Blocked(t, underWay)
				kit.Blocked(t, waits)
				assert.EqualValues(t, 1, l.end.Stats().Connections)
				time.Sleep(time.Nanosecond)
				err = kit.Returned(t, underWay)
				assert.ErrorIs(t, err, geminio.ErrMaybeExecuted)
				assert.ErrorIs(t, err, geminio.ErrGoingAway)
				_, err = stream.Read(make([]byte, 1))
				assert.ErrorIs(t, err, geminio.ErrConnectionLost)
				assert.ErrorIs(t, err, geminio.ErrGoingAway)
				time.Sleep(time.Second) // the back-off
				m, err := l.server().Receive(t.Context())
				require.NoError(t, err)
				require.NoError(t, m.Done())
				require.NoError(t, kit.Returned(t, waits))
				assert.LessOrEqual(t, time.Since(start), want+time.Second)
				assert.EqualValues(t, 2, l.end.Stats().Connections)
				close(release)
				assert.NoError(t, kit.Returned(t, shutdown))
			})
		})
	}
}

// What a server asks for, to be left alone, is obeyed up to a bound.
func TestHintsAreBounded(t *testing.T) {
	const most = math.MaxUint32 * time.Millisecond // what the wire can tell
	for _, c := range []struct {
		name        string
		set         time.Duration
		least, most time.Duration
	}{
		{"ten times the longest back-off", 0, 10 * time.Second, 20 * time.Second},
		{"as set", time.Hour, time.Hour, 2 * time.Hour},
		{"as asked for", 10 * 8760 * time.Hour, most, 2 * most},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, refused := range []bool{true, false} {
				t.Run(fmt.Sprintf("refused %v", refused), func(t *testing.T) {
					door := new(refusingDelegate)
					sopt := server.NewEndOptions()
					sopt.SetDelegate(door)
					sopt.SetRetryAfter(most)
					opt := NewEndOptions()
					opt.SetMaxRetryAfter(c.set)
					opt.SetHeartbeat(8760 * time.Hour) // there would be very many
					withRetryEnd(t, sopt, opt, func(t *testing.T, l *retryTest) {
						start := time.Now()
						if refused {
							door.err.Store(&geminio.RefusedError{Text: "not now", RetryAfter: most})
							l.lose()
							for l.dials.Load() < 2 {
								time.Sleep(10 * time.Millisecond)
							}
							door.err.Store(nil)
							start = time.Now()
						} else {
							kit.Run(func() error {
								return geminio.Shutdown(context.Background(), l.server())
							})
						}
						l.end.mu.Lock()
						news := l.end.connChanged
						l.end.mu.Unlock()
						<-news
						assert.GreaterOrEqual(t, time.Since(start), c.least-time.Second)
						assert.LessOrEqual(t, time.Since(start), c.most+time.Second)
					})
				})
			}
		})
	}
}

// The methods that a server registers are those of its connection: a server that has
// registered as many as it may leaves room for those of the next. Until the next has
// registered its own, those of the one before are known.
func TestRegisteredMethodsBelongToTheConnection(t *testing.T) {
	var many []*geminio.MethodRPC
	for i := range 1 << 14 {
		many = append(many, &geminio.MethodRPC{Method: fmt.Sprint("old ", i), RPC: echo})
	}
	greedy := server.NewEndOptions()
	greedy.SetRegisterLocalRPCs(many...)
	opt := NewEndOptions()
	opt.SetRemoteRPCCheck()
	call := func(l *retryTest, method string) error {
		_, err := l.end.Call(context.Background(), method, l.end.NewRequest(nil))
		return err
	}
	withRetryEnd(t, greedy, opt, func(t *testing.T, l *retryTest) {
		require.NoError(t, call(l, "old 0"))
		require.ErrorIs(t, call(l, "new"), geminio.ErrRemoteRPCUnregistered)
		time.Sleep(time.Minute)

		l.sopt = nil
		l.cut()
		l.mend()
		require.ErrorContains(t, call(l, "old 1"), "no such rpc", "the next one has not registered yet")
		require.ErrorIs(t, call(l, "new"), geminio.ErrRemoteRPCUnregistered)
		require.NoError(t, l.server().Register(t.Context(), "new", echo))
		require.NoError(t, call(l, "new"))
		require.ErrorContains(t, call(l, "old 1"), "no such rpc", "it may still be registering")
		time.Sleep(time.Second)
		require.ErrorIs(t, call(l, "old 1"), geminio.ErrRemoteRPCUnregistered)
		require.NoError(t, call(l, "new"))

		for range 3 { // each ends before its server has registered anything
			l.cut()
			l.mend()
		}
		require.ErrorContains(t, call(l, "new"), "no such rpc")
		require.ErrorIs(t, call(l, "old 1"), geminio.ErrRemoteRPCUnregistered)
		require.NoError(t, l.server().Register(t.Context(), "newer", echo))
		l.cut()
		l.mend()
		require.ErrorContains(t, call(l, "new"), "no such rpc")
		require.ErrorContains(t, call(l, "newer"), "no such rpc")
	})
}
