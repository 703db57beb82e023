package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// withDefaultBackoff is withRetryEnd with the default back-off.
func withDefaultBackoff(t *testing.T, sopt *server.EndOptions, opt *EndOptions, test func(t *testing.T, l *retryTest)) {
	t.Helper()
	back := NewEndOptions()
	back.SetRetryBackoff(defaultRetryMin, defaultRetryMax)
	withRetryEnd(t, sopt, MergeEndOptions(back, opt), test)
}

// The link is cut every 150 ms. Each connection works, so the next one is made at once, and
// calls succeed.
func TestFlappingLink(t *testing.T) {
	withDefaultBackoff(t, serving("echo", echo), nil, func(t *testing.T, l *retryTest) {
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
		assert.LessOrEqual(t, slowest, 2*defaultRetryMin+10*time.Millisecond, "the longest call, which waits for the next connection or the one after it")
		assert.Greater(t, calls, cuts)
		assert.Greater(t, l.end.Stats().Connections, uint64(cuts/2))
	})
}

// A server accepts clients, registers its methods and ends the connection. Its connections do
// not count as working, so the client backs off.
func TestServerThatLetsInAndEnds(t *testing.T) {
	withDefaultBackoff(t, serving("m", echo), nil, func(t *testing.T, l *retryTest) {
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
		assert.Less(t, l.dials.Load(), int64(100), "dials in ten minutes")
		assert.Greater(t, l.dials.Load(), int64(20))
	})
}

// A server sends GoAway and does not close. Operations in flight have the drain timeout, and
// then the client makes the next connection.
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

// The time for which a server asks clients to stay away is bounded.
func TestHintsAreBounded(t *testing.T) {
	const most = math.MaxUint32 * time.Millisecond // the largest time of the wire
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
					opt.SetHeartbeat(8760 * time.Hour) // heartbeats would slow the test down
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

// refusingDelegate is a delegate that refuses clients while err is set.
type refusingDelegate struct {
	*delegate.UnimplementedDelegate
	err atomic.Pointer[geminio.RefusedError]
}

func (d *refusingDelegate) GetClientID(wanted uint64, _ []byte) (uint64, error) {
	if err := d.err.Load(); err != nil {
		return 0, err
	}
	return wanted, nil
}

// SetRetryFailedFunc gets the refusal. A RetryEnd with SetStopOnRefusal ends, unless the
// server is going away.
func TestStopOnRefusal(t *testing.T) {
	for _, c := range []struct {
		name    string
		refusal geminio.RefusedError
		told    geminio.Code
		stops   bool
	}{
		{"for good", geminio.RefusedError{Text: "who are you?"}, geminio.CodeApplication, true},
		{"for good, with a code", geminio.RefusedError{Code: geminio.CodeVersion, Text: "too old"}, geminio.CodeVersion, true},
		{"with a time to come back", geminio.RefusedError{Text: "full", RetryAfter: time.Minute}, geminio.CodeApplication, true},
		{"while shutting down", geminio.RefusedError{Code: geminio.CodeGoingAway, Text: "bye"}, geminio.CodeGoingAway, false},
		{"for now", geminio.RefusedError{Code: geminio.CodeGoingAway, Text: "bye", RetryAfter: time.Minute}, geminio.CodeGoingAway, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			door := new(refusingDelegate)
			sopt := server.NewEndOptions()
			sopt.SetDelegate(door)
			told := make(chan error, 1000)
			opt := NewEndOptions()
			opt.SetStopOnRefusal()
			opt.SetMaxRetryAfter(time.Hour)
			opt.SetRetryFailedFunc(func(err error) { told <- err })
			withRetryEnd(t, sopt, opt, func(t *testing.T, l *retryTest) {
				door.err.Store(&c.refusal)
				l.lose()
				call := kit.Run(func() error {
					_, err := l.end.Call(context.Background(), "m", l.end.NewRequest(nil))
					return err
				})
				time.Sleep(3 * time.Second)
				synctest.Wait()
				var refused *geminio.RefusedError
				require.ErrorAs(t, <-told, &refused)
				assert.Equal(t, geminio.RefusedError{Code: c.told, Text: c.refusal.Text, RetryAfter: c.refusal.RetryAfter}, *refused)
				dials := l.dials.Load()
				if c.stops {
					err := kit.Returned(t, call)
					require.ErrorAs(t, err, &refused)
					assert.ErrorIs(t, err, geminio.ErrNotExecuted)
					assert.NotErrorIs(t, err, io.EOF)
					require.ErrorAs(t, l.end.Cause(), &refused)
					<-l.end.Done()
					time.Sleep(time.Hour)
					assert.Equal(t, dials, l.dials.Load(), "dials after the end")
					return
				}
				kit.Blocked(t, call)
				if c.refusal.RetryAfter > 0 {
					time.Sleep(c.refusal.RetryAfter - 4*time.Second)
					assert.Equal(t, dials, l.dials.Load(), "dials before the time that the server has asked for")
				}
				door.err.Store(nil)
				time.Sleep(2*c.refusal.RetryAfter + 3*time.Second)
				require.ErrorContains(t, kit.Returned(t, call), "no such rpc", "the call on the next connection")
				assert.NoError(t, l.end.Cause())
			})
		})
	}
}

// SetRetryFailedFunc gets the reason of a server that closes the End with an error. The RetryEnd
// continues, also with SetStopOnRefusal, and an End that the server closes without an error is
// not reported.
func TestKickIsTold(t *testing.T) {
	told := make(chan error, 1000)
	opt := NewEndOptions()
	opt.SetStopOnRefusal()
	opt.SetRetryFailedFunc(func(err error) { told <- err })
	withRetryEnd(t, serving("echo", echo), opt, func(t *testing.T, l *retryTest) {
		require.NoError(t, l.server().Close())
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Empty(t, told)
		require.NoError(t, geminio.CloseWithError(l.server(), geminio.FirstApplicationCode+1, "the firmware is too old"))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Len(t, told, 1)
		assert.Equal(t, &geminio.RemoteError{Code: geminio.FirstApplicationCode + 1, Text: "the firmware is too old"}, <-told)
		_, err := l.end.Call(context.Background(), "echo", l.end.NewRequest(nil))
		require.NoError(t, err, "a call on the next connection")
		assert.NoError(t, l.end.Cause())
		assert.EqualValues(t, 3, l.dials.Load())
	})
}

// The back-off is random below a bound, which doubles up to the largest one and does not
// overflow.
func TestBackoff(t *testing.T) {
	const most = time.Duration(math.MaxInt64)
	for _, c := range []struct {
		min, max time.Duration
		fails    int
		bound    time.Duration
	}{
		{time.Second, time.Minute, 0, time.Second},
		{time.Second, time.Minute, 1, 2 * time.Second},
		{time.Second, time.Minute, 5, 32 * time.Second},
		{time.Second, time.Minute, 6, time.Minute},
		{time.Second, time.Minute, 31, time.Minute},
		{time.Second, time.Minute, 32, time.Minute},
		{time.Second, time.Minute, 33, time.Minute},
		{time.Second, time.Minute, replacedFailures, time.Minute},
		{time.Second, time.Minute, math.MaxInt32, time.Minute},
		{time.Second, time.Second, 3, time.Second},
		{time.Second, most, 30, time.Second << 30},
		{time.Second, most, 33, most},
		{time.Second, most, 34, most},
		{most, most, 0, most},
		{most, most, 1, most},
		{most/2 + 1, most, 1, most},
		{most / 2, most, 1, most - 1},
		{most / 2, most, 2, most},
		{1, most, 32, 1 << 32},
		{1 << 31, most, 32, most}, // doubling would set the sign bit
		{1 << 30, most, 32, 1 << 62},
	} {
		t.Run(fmt.Sprintf("%d to %d after %d", c.min, c.max, c.fails), func(t *testing.T) {
			r := &RetryEnd{opt: &EndOptions{RetryOptions: RetryOptions{RetryMin: c.min, RetryMax: c.max}}}
			least, longest := most, time.Duration(0)
			for range 2000 {
				r.failures = c.fails
				wait := r.backoff()
				require.Equal(t, c.fails+1, r.failures)
				least, longest = min(least, wait), max(longest, wait)
			}
			assert.GreaterOrEqual(t, least, time.Duration(0))
			assert.Less(t, longest, c.bound)
			if c.bound > 100 {
				assert.Greater(t, longest, c.bound/10*9, "the longest of 2000 back-offs")
				assert.Less(t, least, c.bound/10)
			}
		})
	}
}

// The client stays away once for the time that the server asks for, up to a bound. A random
// time of at most the same length is added.
func TestBackoffObeysTheHint(t *testing.T) {
	r := &RetryEnd{opt: &EndOptions{RetryOptions: RetryOptions{RetryMin: time.Second, RetryMax: time.Second, MaxRetryAfter: time.Minute}}}
	least, longest := time.Duration(math.MaxInt64), time.Duration(0)
	for i := range 2000 {
		r.retryAfter = time.Minute
		if i%2 == 0 {
			r.retryAfter = math.MaxInt64
		}
		wait := r.backoff()
		least, longest = min(least, wait), max(longest, wait)
		require.Zero(t, r.retryAfter)
	}
	assert.GreaterOrEqual(t, least, time.Minute)
	assert.Less(t, least, 63*time.Second)
	assert.Less(t, longest, 2*time.Minute)
	assert.Greater(t, longest, 117*time.Second)
	assert.Less(t, r.backoff(), time.Second, "the back-off after that")

	r.retryAfter, r.opt.RetryMin, r.opt.RetryMax = time.Second, time.Hour, time.Hour
	assert.GreaterOrEqual(t, r.backoff(), time.Second)
}

// delegateLog is a delegate that records its calls, and refuses some connections.
type delegateLog struct {
	*delegate.UnimplementedDelegate
	refuse []int // the numbers of the connections that it refuses, from 1

	mu     sync.Mutex
	online int
	lines  []string
}

func (j *delegateLog) note(format string, a ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, a...))
}

func (j *delegateLog) ConnOnline(delegate.ConnDescriber) error {
	j.mu.Lock()
	j.online++
	n := j.online
	j.mu.Unlock()
	j.note("online %d", n)
	if slices.Contains(j.refuse, n) {
		return errors.New("not this one")
	}
	return nil
}

func (j *delegateLog) ConnOffline(delegate.ConnDescriber) error {
	j.note("offline")
	return nil
}

func (j *delegateLog) EndReOnline(delegate.ClientDescriber) { j.note("again online") }

// The callbacks are called once each and in order. For a connection that the delegate refuses
// neither EndReOnline nor ConnOffline is called.
func TestCallbacksOfARefusedConnection(t *testing.T) {
	j := &delegateLog{refuse: []int{3, 4}}
	opt := NewEndOptions()
	opt.SetDelegate(j)
	withRetryEnd(t, nil, opt, func(t *testing.T, l *retryTest) {
		for range 2 {
			l.cut()
			l.mend()
			time.Sleep(time.Minute)
		}
		require.True(t, l.end.Stats().Connected)
		l.end.Close()
		synctest.Wait()
		assert.Equal(t, []string{
			"online 1", "offline", "online 2", "again online", "offline",
			"online 3", "online 4", "online 5", "again online", "offline",
		}, j.lines)
	})
}
