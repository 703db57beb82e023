package prometheus

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// TestAllocations bounds the allocations of the events of a call.
func TestAllocations(t *testing.T) {
	s := NewCollector(nil).Stats()
	e := geminio.CallEvent{Method: "greet", Duration: time.Millisecond}
	got := testing.AllocsPerRun(100, func() {
		s.CallBegin(e)
		s.CallEnd(e)
	})
	if !kit.Race {
		assert.Zero(t, got)
	}
}

// BenchmarkCall measures the events of a call.
func BenchmarkCall(b *testing.B) {
	s := NewCollector(nil).Stats()
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		e := geminio.CallEvent{Method: "greet", Duration: time.Millisecond}
		for p.Next() {
			s.CallBegin(e)
			s.CallEnd(e)
		}
	})
}

// BenchmarkCollect measures a scrape of a server with ten thousand Ends. The metrics p50-call-ns and
// p99-call-ns are times of calls of one client during the scrapes, and before them.
func BenchmarkCollect(b *testing.B) {
	network := geminiotest.NewNetwork(b)
	c := NewCollector(nil)
	r := registered(b, c)
	so := server.NewEndOptions()
	so.SetStats(c.Stats())
	so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: echo})
	srv, err := server.NewListener(network.Listen(), so)
	require.NoError(b, err)
	b.Cleanup(func() { srv.Close() })
	var end geminio.End
	for range 10_000 {
		end, err = client.NewEndWithDialer(network.Dial)
		require.NoError(b, err)
		_, err = srv.AcceptEnd()
		require.NoError(b, err)
	}
	call := func() time.Duration {
		start := time.Now()
		_, err := end.Call(b.Context(), "echo", end.NewRequest(nil))
		require.NoError(b, err)
		return time.Since(start)
	}
	report := func(when string, times []time.Duration) {
		slices.Sort(times)
		b.ReportMetric(float64(times[len(times)/2]), "p50-call-ns"+when)
		b.ReportMetric(float64(times[len(times)*99/100]), "p99-call-ns"+when)
	}
	var before, during []time.Duration
	for range 5000 {
		before = append(before, call())
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			during = append(during, call())
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for b.Loop() {
		if _, err := r.Gather(); err != nil {
			b.Fatal(err)
		}
	}
	close(stop)
	<-stopped
	report("", during)
	report("-before", before)
}
