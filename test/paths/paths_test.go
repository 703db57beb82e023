package paths

import (
	"context"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

const (
	ms   = time.Millisecond
	mbit = 1e6 / 8 // bytes in a second
)

// work is bulk data on a path, in one direction, with calls in the same direction meanwhile.
type work struct {
	path    kit.Path
	streams int           // streams with bulk data
	slow    bool          // the reader of the first stream is slow
	budget  int           // the memory budget of both sides; 0: the default
	then    time.Duration // the round trip from the time change on; 0: it stays
	change  time.Duration
	from    time.Duration // the results are those of the time between from and to
	to      time.Duration
}

// bar has the results that a work must reach.
type bar struct {
	share float64       // of the rate of the path, used by bulk data
	calls float64       // the largest median of a call, in round trips; 0: any
	ramp  time.Duration // the largest time until bulk data uses 80 %; 0: any
	fair  float64       // the least ratio of two streams whose readers are not slow; 0: any
}

// result is what a work has reached; see bar.
type result bar

// tick is the interval in which the bytes of bulk data are counted.
const tick = 250 * ms

// run does w in a bubble.
func (w work) run(t *testing.T) (r result) {
	synctest.Test(t, func(t *testing.T) { r = w.runInBubble(t) })
	return r
}

func (w work) runInBubble(t *testing.T) (r result) {
	link := kit.NewLink(w.path)
	near, far := link.Pipe()
	co, so := client.NewEndOptions(), server.NewEndOptions()
	if w.budget > 0 {
		co.SetMemoryBudget(w.budget)
		so.SetMemoryBudget(w.budget)
	}
	p, err := rig.JoinPair(near, far, co, so)
	require.NoError(t, err)
	require.NoError(t, p.Server.Register(t.Context(), "echo", rig.Echo))
	end := make(chan struct{})
	var all sync.WaitGroup
	counts := make([]int, w.streams) // bytes of each stream between from and to
	ticks := make([]int, w.to/tick)  // bytes of all streams in each tick
	var mu sync.Mutex
	type pair struct{ near, far geminio.Stream }
	pairs := make([]pair, w.streams)
	for i := range pairs {
		near, far, err := rig.StreamPair(p.Client, p.Server)
		require.NoError(t, err)
		pairs[i] = pair{near, far}
	}
	start := time.Now()
	for i := range w.streams {
		s, d := pairs[i].near, pairs[i].far
		all.Go(func() { io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{zeros{}}) })
		all.Go(func() {
			buf := make([]byte, 64<<10)
			for {
				n, err := d.Read(buf)
				if err != nil {
					return
				}
				took := time.Since(start)
				mu.Lock()
				if k := int(took / tick); k < len(ticks) {
					ticks[k] += n
				}
				if took >= w.from && took < w.to {
					counts[i] += n
				}
				mu.Unlock()
				if w.slow && i == 0 {
					time.Sleep(10 * ms)
				}
			}
		})
	}
	if w.then > 0 {
		time.AfterFunc(w.change, func() {
			path := w.path
			path.RTT = w.then
			link.Set(path)
		})
	}
	var calls []time.Duration
	all.Go(func() {
		for time.Since(start) < w.to {
			req := p.Client.NewRequest(make([]byte, 256))
			began := time.Now()
			_, err := p.Client.Call(context.Background(), "echo", req)
			assert.NoError(t, err)
			if began.Sub(start) >= w.from {
				calls = append(calls, time.Since(began))
			}
			time.Sleep(7 * ms)
		}
		close(end)
	})
	<-end
	// The bytes under way arrive before the end.
	near.Close()
	far.Close()
	p.Close()
	all.Wait()
	time.Sleep(time.Minute)

	sum := 0
	for _, n := range counts {
		sum += n
	}
	rtt := w.path.RTT
	if w.then > 0 {
		rtt = w.then
	}
	r.share = float64(sum) / (w.to - w.from).Seconds() / float64(w.path.Rate)
	slices.Sort(calls)
	if len(calls) > 0 {
		r.calls = float64(calls[len(calls)/2]) / float64(rtt)
	}
	r.ramp = time.Hour
	for k, n := range ticks {
		at := time.Duration(k+1) * tick
		if at > w.change && float64(n) >= 0.8*float64(w.path.Rate)*tick.Seconds() {
			r.ramp = at - w.change
			break
		}
	}
	if w.slow {
		counts = counts[1:]
	}
	r.fair = float64(slices.Min(counts)) / float64(max(slices.Max(counts), 1))
	return r
}

// zeros is a reader of bytes without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestPaths(t *testing.T) {
	for _, test := range []struct {
		name string
		work work
		bar  bar
	}{
		{"100 Mbit/s, 20 ms", work{
			path: kit.Path{Rate: 100 * mbit, RTT: 20 * ms}, streams: 1, from: 2 * time.Second, to: 22 * time.Second,
		}, bar{share: 0.95, calls: 2.5}},
		{"100 Mbit/s, 100 ms", work{
			path: kit.Path{Rate: 100 * mbit, RTT: 100 * ms}, streams: 1, from: 5 * time.Second, to: 25 * time.Second,
		}, bar{share: 0.95, calls: 2}},
		{"100 Mbit/s, 300 ms", work{
			path: kit.Path{Rate: 100 * mbit, RTT: 300 * ms}, streams: 1, from: 10 * time.Second, to: 30 * time.Second,
		}, bar{share: 0.95, calls: 2}},
		{"1 Gbit/s, 100 ms", work{
			path: kit.Path{Rate: 1000 * mbit, RTT: 100 * ms}, streams: 1, from: 4 * time.Second, to: 16 * time.Second,
		}, bar{share: 0.90, ramp: 2 * time.Second}},
		{"1 Gbit/s, 300 ms, budget 1 GiB", work{
			path: kit.Path{Rate: 1000 * mbit, RTT: 300 * ms}, streams: 1, budget: 1 << 30, from: 8 * time.Second, to: 20 * time.Second,
		}, bar{share: 0.85}},
		{"100 Mbit/s, 20 to 300 ms", work{
			path: kit.Path{Rate: 100 * mbit, RTT: 20 * ms}, streams: 1, then: 300 * ms, change: 5 * time.Second, from: 10 * time.Second, to: 25 * time.Second,
		}, bar{share: 0.90}},
		{"1 Gbit/s, 20 ms, 8 streams, one slow", work{
			path: kit.Path{Rate: 1000 * mbit, RTT: 20 * ms}, streams: 8, slow: true, from: 1 * time.Second, to: 6 * time.Second,
		}, bar{share: 0.90, fair: 0.8}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := test.work.run(t)
			t.Logf("share %.0f %%, median call %.2f round trips, 80 %% after %v, slowest to fastest stream %.2f", 100*r.share, r.calls, r.ramp, r.fair)
			assert.GreaterOrEqual(t, r.share, test.bar.share, "share of the path")
			if test.bar.calls > 0 {
				assert.LessOrEqual(t, r.calls, test.bar.calls, "median of a call in round trips")
			}
			if test.bar.ramp > 0 {
				assert.LessOrEqual(t, r.ramp, test.bar.ramp, "time until the path is used")
			}
			assert.GreaterOrEqual(t, r.fair, test.bar.fair, "ratio of the slowest and the fastest stream")
		})
	}
}
