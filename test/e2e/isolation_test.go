package e2e

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/gauge"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

const (
	// leastRatio is the least share of its pace that work must keep on a connection with
	// blocked operations.
	leastRatio = 0.3
	// rounds is the number of measurements of each pace.
	rounds = 15
)

// budget returns the memory budget of the Ends. The largest message is a sixteenth of it.
func budget() int { return max(kit.Amount("tcp", 64<<20), 20<<20) }

// durations has the time that each part of a round of work takes.
type durations [4]time.Duration

// parts names the elements of durations.
var parts = [len(durations{})]string{"calls", "messages", "large calls and messages", "bulk"}

// work sends a fixed number of calls, messages and raw bytes over a connection.
type work struct {
	caller, publisher geminio.Stream
	bulk              net.Conn
	data              []byte
	big               bool // large calls and messages are a part of the work
}

func newWork(t *testing.T, p *rig.Pair) *work {
	require.NoError(t, p.Server.Register(kit.Deadline(t), "echo", rig.Echo))
	w := &work{caller: p.Client, data: large()[:kit.Amount("tcp", 4<<20)]}
	var receiver, sink geminio.Stream
	w.publisher, receiver = rig.OpenStream(t, p.Client, p.Server)
	w.bulk, sink = rig.OpenStream(t, p.Client, p.Server)
	go rig.AnswerAll(receiver)
	go func() {
		for {
			if _, err := io.CopyN(io.Discard, sink, int64(len(w.data))); err != nil {
				return
			}
			sink.Write([]byte("all here"))
		}
	}()
	return w
}

// timed returns the time that f takes.
func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// concurrently calls f n times, in eight goroutines.
func concurrently(t *testing.T, n int, f func() error) {
	t.Helper()
	var work []func() error
	for range 8 {
		work = append(work, func() error {
			for range n / 8 {
				if err := f(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, all(work...))
}

// call returns a function that makes a call with n bytes.
func (w *work) call(ctx context.Context, n int) func() error {
	return func() error {
		_, err := w.caller.Call(ctx, "echo", w.caller.NewRequest(w.data[:n]))
		return err
	}
}

// publish returns a function that publishes a message of n bytes.
func (w *work) publish(ctx context.Context, n int) func() error {
	return func() error { return w.publisher.Publish(ctx, w.publisher.NewMessage(w.data[:n])) }
}

// many returns the number of small calls and messages of a round.
func many() int { return kit.Amount("tcp", 2000) }

// calls makes the small calls of a round, and returns the time that they take.
func (w *work) calls(t *testing.T) time.Duration {
	ctx := kit.Deadline(t)
	return timed(func() { concurrently(t, many(), w.call(ctx, 100)) })
}

// round does all parts of the work once, and returns the times that they take.
func (w *work) round(t *testing.T) (took durations) {
	ctx := kit.Deadline(t)
	took[0] = w.calls(t)
	took[1] = timed(func() { concurrently(t, many(), w.publish(ctx, 100)) })
	if w.big {
		some, size := max(kit.Amount("tcp", 64), 8), max(kit.Amount("tcp", 100<<10), 20<<10)
		took[2] = timed(func() {
			concurrently(t, some, w.call(ctx, size))
			concurrently(t, some, w.publish(ctx, size))
		})
	}
	took[3] = timed(func() {
		_, err := w.bulk.Write(w.data)
		require.NoError(t, err)
		_, err = io.ReadFull(w.bulk, make([]byte, len("all here")))
		require.NoError(t, err)
	})
	return took
}

// relativePace returns, for each part of the work w, the time that calls on another connection
// take as a share of the time of the part. It takes the shortest times of all rounds, which the
// other load of the machine and the garbage collector lengthen least. The result for a part
// that w does not have is 0.
func relativePace(t *testing.T, w, other *work) (pace [len(parts)]float64) {
	took, calls := w.round(t), other.calls(t)
	for range rounds - 1 {
		for part, d := range w.round(t) {
			took[part] = min(took[part], d)
		}
		calls = min(calls, other.calls(t))
	}
	for part, d := range took {
		if d > 0 {
			pace[part] = float64(calls) / float64(d)
		}
	}
	return pace
}

// stuckKinds are the operations that a peer's application can leave blocked.
var stuckKinds = []struct {
	name string
	// begin starts the operations. It calls spin with those that block: spin runs a function
	// in a goroutine of its own, and counts the calls of progress.
	begin func(t *testing.T, p *rig.Pair, spin func(f func(progress func())))
}{
	{"streams that nobody reads", func(t *testing.T, p *rig.Pair, spin func(func(func()))) {
		data := large() // memory of the writer, which does not count against the budget
		for range 4 {
			s, _ := rig.OpenStream(t, p.Client, p.Server)
			spin(func(func()) { s.Write(data) })
		}
	}},
	{"messages that nobody receives", func(t *testing.T, p *rig.Pair, spin func(func(func()))) {
		data := large()[:budget()/32]
		for _, size := range []int{100, len(data)} {
			for _, s := range []geminio.Stream{first(rig.OpenStream(t, p.Client, p.Server)), p.Client} {
				spin(func(progress func()) {
					for s.Publish(context.Background(), onceMessage(s, size)) == nil {
						progress()
					}
				})
				for range 50 {
					spin(func(func()) { s.Publish(context.Background(), s.NewMessage(data[:size])) })
				}
			}
		}
	}},
	{"handlers that hang", func(t *testing.T, p *rig.Pair, spin func(func(func()))) {
		data := large()[:budget()/32]
		for _, size := range []int{0, len(data)} {
			s, peer := rig.OpenStream(t, p.Client, p.Server)
			require.NoError(t, peer.Register(kit.Deadline(t), "hang", rig.Hang))
			for range 500 {
				spin(func(func()) { s.Call(context.Background(), "hang", s.NewRequest(data[:size])) })
			}
		}
	}},
	{"streams that nobody accepts", func(t *testing.T, p *rig.Pair, spin func(func(func()))) {
		for {
			s, err := p.Client.OpenStream()
			if err != nil {
				require.ErrorIs(t, err, geminio.ErrTooMany)
				return
			}
			spin(func(func()) { s.Write(large()[:1<<20]) })
		}
	}},
}

func first[A, B any](a A, _ B) A { return a }

// TestIsolation blocks operations on a connection, each kind alone and all at once. The other
// operations of the connection keep their pace.
func TestIsolation(t *testing.T) { testStuckKinds(t, false) }

// TestIsolationOfLarge is TestIsolation with large requests and messages among the other
// operations.
func TestIsolationOfLarge(t *testing.T) { testStuckKinds(t, true) }

func testStuckKinds(t *testing.T, big bool) {
	for _, kind := range stuckKinds {
		t.Run(kind.name, func(t *testing.T) { testIsolation(t, kind.name, big) })
	}
	t.Run("all at once", func(t *testing.T) { testIsolation(t, "", big) })
}

func testIsolation(t *testing.T, only string, big bool) {
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetMemoryBudget(budget())
	so.SetMemoryBudget(budget())
	co.SetMaxMessageSize(budget() / 16)
	so.SetMaxMessageSize(budget() / 16)
	so.SetAcceptBacklog(200)
	p := rig.NewPair(t, "tcp", co, so)
	w, other := newWork(t, p), newWork(t, rig.NewPair(t, "tcp", co, so))
	w.big = big
	w.round(t) // windows grow, and pools fill
	other.calls(t)
	before := relativePace(t, w, other)

	var stuck sync.WaitGroup
	var started, progress atomic.Int64 // goroutines that have not begun, and calls of progress
	heapBefore := gauge.Take().Heap
	for _, kind := range stuckKinds {
		if strings.Contains(kind.name, only) {
			kind.begin(t, p, func(f func(func())) {
				started.Add(1)
				stuck.Go(func() {
					started.Add(-1)
					f(func() { progress.Add(1) })
				})
			})
		}
	}
	// The operations are blocked when all have begun and none has made progress during a round
	// of work on their connection.
	for blocked := false; !blocked; {
		waiting, steps := started.Load(), progress.Load()
		w.round(t)
		blocked = waiting == 0 && steps == progress.Load()
	}
	during := relativePace(t, w, other)
	grown := gauge.Take().Heap - heapBefore

	for i, part := range parts {
		if before[i] == 0 {
			continue
		}
		ratio := during[i] / before[i]
		t.Logf("%s keep %.2f of their pace", part, ratio)
		// In the debug build each operation checks the ledgers of all blocked ones.
		if rig.Audits == 0 && ratio < leastRatio {
			t.Errorf("%s keep %.2f of their pace, want at least %.2f", part, ratio, leastRatio)
		}
	}
	if grown > int64(budget()) {
		t.Errorf("the heap grew by %d bytes, want at most the memory budget, %d", grown, budget())
	}
	p.Close()
	kit.Within(t, promptly, "the blocked operations return after Close", stuck.Wait)
}
