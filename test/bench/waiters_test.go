package bench

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// growth measures an operation with few and with many participants. It reports the ratio
// of the times of one participant of many and of few: 1 if the cost is linear.
func growth(b *testing.B, few, many int, take func(n int) time.Duration) {
	b.Helper()
	var took [2]time.Duration
	for b.Loop() {
		took[0] += take(few)
		took[1] += take(many)
	}
	one := took[1] / time.Duration(many)
	b.ReportMetric(float64(one)*float64(few)/float64(took[0]), "of-few")
	b.ReportMetric(float64(one)/float64(b.N), "ns/each")
	b.ReportMetric(0, "ns/op")
}

// crowd makes a pair of Ends with many streams. Each stream has a call under way whose
// handler hangs. handlers bounds the handlers that the server runs.
func crowd(b *testing.B, streams, handlers int) (p *rig.Pair, near []geminio.Stream) {
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetMaxStreams(streams)
	so.SetMaxStreams(streams)
	so.SetMaxHandlers(handlers)
	co.SetMemoryBudget(1 << 30)
	so.SetMemoryBudget(1 << 30)
	so.SetAcceptStreamFunc(func(s geminio.Stream) {
		go s.Hijack(func(ctx context.Context, method string, req geminio.Request, resp geminio.Response) {
			if method == "hang" {
				<-ctx.Done()
			}
		})
	})
	cc, sc, err := kit.RawPair("tcp")
	require.NoError(b, err)
	p, err = rig.JoinPair(cc, sc, co, so)
	require.NoError(b, err)
	for range streams {
		s, err := p.Client.OpenStream()
		require.NoError(b, err)
		near = append(near, s)
	}
	return p, near
}

// BenchmarkGivingUpTogether lets callers that wait for a handler give up at the same
// time.
func BenchmarkGivingUpTogether(b *testing.B) {
	growth(b, 1000, 60_000, func(n int) time.Duration {
		p, near := crowd(b, 1, 4)
		defer p.Close()
		ctx, cancel := context.WithCancel(context.Background())
		var calls, begun sync.WaitGroup
		begun.Add(n)
		for range n {
			calls.Go(func() {
				begun.Done()
				near[0].Call(ctx, "hang", near[0].NewRequest(nil))
			})
		}
		begun.Wait()
		time.Sleep(100 * time.Millisecond)
		start := time.Now()
		cancel()
		calls.Wait()
		return time.Since(start)
	})
}

// BenchmarkContendingForHandlers makes a call on each of many streams, for few handlers.
func BenchmarkContendingForHandlers(b *testing.B) {
	growth(b, 2000, 16_000, func(n int) time.Duration {
		p, near := crowd(b, n, 16)
		defer p.Close()
		var calls sync.WaitGroup
		start := time.Now()
		for _, s := range near {
			calls.Go(func() {
				for range 4 {
					s.Call(context.Background(), "echo", s.NewRequest(nil))
				}
			})
		}
		calls.Wait()
		return time.Since(start)
	})
}

// BenchmarkClosingWithCallsUnderWay closes many streams with a call under way on each.
func BenchmarkClosingWithCallsUnderWay(b *testing.B) {
	growth(b, 4000, 16_000, func(n int) time.Duration {
		p, near := crowd(b, n, 16)
		defer p.Close()
		var calls, begun sync.WaitGroup
		begun.Add(n)
		for _, s := range near {
			calls.Go(func() {
				begun.Done()
				s.Call(context.Background(), "hang", s.NewRequest(nil))
			})
		}
		begun.Wait()
		time.Sleep(100 * time.Millisecond)
		start := time.Now()
		for _, s := range near {
			s.Close()
		}
		calls.Wait()
		return time.Since(start)
	})
}
