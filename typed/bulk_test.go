package typed_test

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
	"github.com/singchia/geminio/typed"
)

// TestBulk sends STREAMED bytes, by default 32 MB, through a server stream over TCP. The memory of
// the process must not grow with them.
func TestBulk(t *testing.T) {
	total := kit.Amount("tcp", 32<<20)
	if text := os.Getenv("STREAMED"); text != "" {
		n, err := strconv.Atoi(text)
		require.NoError(t, err, "STREAMED")
		total = n
	}
	const itemSize = 8 << 10
	p := rig.NewPair(t, "tcp", nil, nil)
	var s typed.Server
	bulk := typed.ServerStreaming[int, string]{Name: "bulk"}
	bulk.Register(&s, func(_ context.Context, n int, items *typed.Sender[string]) error {
		text := strings.Repeat("x", itemSize-2)
		for range n {
			if err := items.Send(text); err != nil {
				return err
			}
		}
		return nil
	})
	go s.Serve(p.Server, nil)

	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most, received := heap(), uint64(0), 0
	for item, err := range bulk.Call(t.Context(), p.Client, total/itemSize) {
		require.NoError(t, err)
		require.Len(t, item, itemSize-2)
		if received++; received%(total/itemSize/8+1) == 0 { // a slow consumer
			most = max(most, heap())
		}
	}
	require.Equal(t, total/itemSize, received)
	require.Less(t, int64(most)-int64(before), int64(48<<20), "growth of the heap; the window of a stream has at most 16 MiB")
}
