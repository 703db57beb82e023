package fault

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/test/gauge"
)

// Callers give up, and their responses wait behind a slow link. The memory of the callee
// follows the number of callers, and later calls succeed.
func TestAnswersThatNobodyAwaitsDoNotPileUp(t *testing.T) {
	const (
		callers = 8
		rounds  = 40
		answer  = 1 << 20
		perByte = 40 * time.Nanosecond // 25 MB/s: a response takes 42 ms
	)
	for _, onStream := range []bool{false, true} {
		eachResumption(t, func(t *testing.T, r resumption) {
			l := newObservedPair(t, r, nil, nil)
			var caller, callee geminio.Stream = l.Client, l.Server
			if onStream {
				var err error
				caller, err = l.Client.OpenStream()
				require.NoError(t, err)
				callee, err = l.Server.AcceptStream()
				require.NoError(t, err)
			}
			register(t, callee, "big", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
				resp.SetData(make([]byte, answer))
			})
			l.far.perByte = perByte
			before := gauge.Take().Heap
			var all sync.WaitGroup
			for range callers {
				all.Go(func() {
					for range rounds {
						ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
						caller.Call(ctx, "big", caller.NewRequest(nil))
						cancel()
					}
				})
			}
			all.Wait()
			// A response for each caller as it is sent, as it arrives, and on its way.
			assert.Less(t, gauge.Take().Heap-before, int64(3*callers*answer), "bytes held after %d calls", callers*rounds)

			start := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			resp, err := caller.Call(ctx, "big", caller.NewRequest(nil))
			require.NoError(t, err, "a call after the others")
			assert.Len(t, resp.Data(), answer)
			assert.Less(t, time.Since(start), time.Second, "the time of a call after the others")
		})
	}
}
