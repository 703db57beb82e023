package e2e

import (
	"context"
	"runtime"
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

// The processor time to close an End with many streams, each with a call in flight, grows with
// their number and not with its square.
func TestCloseOfManyStreamsIsLinear(t *testing.T) {
	// The times differ by a factor of 16 to 35, since the memory of many streams does not fit into the
	// caches. With a walk over all streams at the end of each one, it is more than 100 for 64,000 of them.
	const more, slower = 16, 64
	few := kit.Amount("pipe", 4000)
	many := more * few
	short, long := closeMany(t, few), closeMany(t, many)
	for range 2 {
		if long < slower*short {
			break
		}
		long = min(long, closeMany(t, many)) // the collector may have run
	}
	t.Logf("%d streams: %v, %d: %v", few, short, many, long)
	if short > 0 { // some systems do not say the time
		require.Less(t, long, slower*short)
	}
}

// closeMany returns the processor time to close an End with n streams and as many calls, until all
// of the calls and handlers have returned.
func closeMany(t *testing.T, n int) time.Duration {
	co, so := client.NewEndOptions(), server.NewEndOptions()
	handled := make(chan struct{}, n)
	for _, o := range []interface{ SetMaxStreams(int) }{co, so} {
		o.SetMaxStreams(2 * n)
	}
	so.SetMaxHandlers(2 * n)
	so.SetMemoryBudget(1 << 30)
	co.SetMemoryBudget(1 << 30)
	so.SetAcceptStreamFunc(func(s geminio.Stream) {
		s.Hijack(func(ctx context.Context, _ string, _ geminio.Request, _ geminio.Response) {
			<-ctx.Done()
			handled <- struct{}{}
		})
		s.Write([]byte{1}) // the stream has bytes to write
	})
	p := rig.NewPair(t, "pipe", co, so)
	defer p.Close()
	done := make(chan *geminio.Call, n)
	for range n {
		s, err := p.Client.OpenStream()
		require.NoError(t, err)
		_, err = s.Read(make([]byte, 1))
		require.NoError(t, err)
		_, err = s.CallAsync(t.Context(), "hang", s.NewRequest(nil), done)
		require.NoError(t, err)
	}
	runtime.GC()
	before := gauge.Processor()
	p.Client.Close()
	for range n {
		require.ErrorIs(t, (<-done).Error, geminio.ErrMaybeExecuted)
	}
	for range n {
		<-handled
	}
	<-geminio.Done(p.Server)
	return gauge.Processor() - before
}
