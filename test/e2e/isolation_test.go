package e2e

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
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
	// leastRatio is how much of its pace work must keep beside what is stuck.
	leastRatio = 0.3
	// rounds is how often the pace is measured.
	rounds = 9
)

// budget is the memory budget of the Ends here; the largest message is a sixteenth of it.
func budget() int { return max(kit.Amount("tcp", 64<<20), 20<<20) }

// durations is how long pieces of work take that go on beside what is stuck.
type durations [4]time.Duration

// parts names the elements of a pace.
var parts = [len(durations{})]string{"calls", "messages", "large calls and messages", "bulk"}

// work makes a fixed amount of calls, messages and bulk bytes go through.
type work struct {
	caller, publisher geminio.Stream
	bulk              net.Conn
	data              []byte
	big               bool // large calls and messages are part of it
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

func (w *work) round(t *testing.T) (p durations) {
	ctx := kit.Deadline(t)
	timed := func(f func()) time.Duration {
		at := time.Now()
		f()
		return time.Since(at)
	}
	concurrently := func(n int, f func() error) {
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
	call := func(n int) func() error {
		return func() error {
			_, err := w.caller.Call(ctx, "echo", w.caller.NewRequest(w.data[:n]))
			return err
		}
	}
	publish := func(n int) func() error {
		return func() error { return w.publisher.Publish(ctx, w.publisher.NewMessage(w.data[:n])) }
	}
	many, some := kit.Amount("tcp", 2000), max(kit.Amount("tcp", 64), 8)
	big := max(kit.Amount("tcp", 100<<10), 20<<10)
	p[0] = timed(func() { concurrently(many, call(100)) })
	p[1] = timed(func() { concurrently(many, publish(100)) })
	if w.big {
		p[2] = timed(func() {
			concurrently(some, call(big))
			concurrently(some, publish(big))
		})
	}
	p[3] = timed(func() {
		_, err := w.bulk.Write(w.data)
		require.NoError(t, err)
		_, err = io.ReadFull(w.bulk, make([]byte, len("all here")))
		require.NoError(t, err)
	})
	return p
}

// measure returns the best pace of several rounds: what else the machine does
// only makes a round slower.
func (w *work) measure(t *testing.T) (best durations) {
	var all [len(best)][]time.Duration
	for range rounds {
		for i, d := range w.round(t) {
			all[i] = append(all[i], d)
		}
	}
	for i := range all {
		best[i] = slices.Min(all[i])
	}
	return best
}

// stuckKinds are what a peer's application can leave undone.
var stuckKinds = []struct {
	name string
	// begin makes it so. It returns when all is stuck that is to be, but for what
	// it has started by spin.
	begin func(t *testing.T, p *rig.Pair, spin func(func()))
}{
	{"streams that nobody reads", func(t *testing.T, p *rig.Pair, spin func(func())) {
		data := large() // the writer's own, which is no part of the budget
		for range 4 {
			s, _ := rig.OpenStream(t, p.Client, p.Server)
			spin(func() { s.Write(data) })
		}
	}},
	{"messages that nobody receives", func(t *testing.T, p *rig.Pair, spin func(func())) {
		data := large()[:budget()/32]
		for _, size := range []int{100, len(data)} {
			for _, s := range []geminio.Stream{first(rig.OpenStream(t, p.Client, p.Server)), p.Client} {
				spin(func() {
					for s.Publish(context.Background(), onceMessage(s, size)) == nil {
					}
				})
				spin(func() {
					var wg sync.WaitGroup
					for range 50 {
						wg.Go(func() { s.Publish(context.Background(), s.NewMessage(data[:size])) })
					}
					wg.Wait()
				})
			}
		}
	}},
	{"handlers that hang", func(t *testing.T, p *rig.Pair, spin func(func())) {
		data := large()[:budget()/32]
		for _, size := range []int{0, len(data)} {
			s, peer := rig.OpenStream(t, p.Client, p.Server)
			require.NoError(t, peer.Register(kit.Deadline(t), "hang", rig.Hang))
			for range 500 {
				spin(func() { s.Call(context.Background(), "hang", s.NewRequest(data[:size])) })
			}
		}
	}},
	{"streams that nobody accepts", func(t *testing.T, p *rig.Pair, spin func(func())) {
		for {
			s, err := p.Client.OpenStream()
			if err != nil {
				require.ErrorIs(t, err, geminio.ErrTooMany)
				return
			}
			spin(func() { s.Write(large()[:1<<20]) })
		}
	}},
}

func first[A, B any](a A, _ B) A { return a }

// TestIsolation lets things get stuck, each alone and all at once, and looks at
// what that does to the rest of the connection.
func TestIsolation(t *testing.T) { testStuckKinds(t, false) }

// TestIsolationOfLarge does so too, with large requests and messages in the rest.
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
	w := newWork(t, p)
	w.big = big
	w.round(t)
	before := w.measure(t)

	var stuck sync.WaitGroup
	heapBefore := gauge.Take().Heap
	for _, kind := range stuckKinds {
		if strings.Contains(kind.name, only) {
			kind.begin(t, p, func(f func()) { stuck.Go(f) })
		}
	}
	during := w.measure(t)
	grown := gauge.Take().Heap - heapBefore

	for i, what := range parts {
		if before[i] == 0 {
			continue
		}
		ratio := float64(before[i]) / float64(during[i])
		t.Logf("%s: %v before, %v beside what is stuck: %.2f", what, before[i], during[i], ratio)
		if ratio < leastRatio {
			t.Errorf("%s keep %.2f of their pace, at least %.2f is wanted", what, ratio, leastRatio)
		}
	}
	t.Logf("the heap has grown by %d KiB", grown>>10)
	if grown > int64(budget()) {
		t.Errorf("the heap has grown by %d bytes, the budget is %d", grown, budget())
	}
	p.Close()
	kit.Within(t, time.Second, "what was stuck returns", stuck.Wait)
}
