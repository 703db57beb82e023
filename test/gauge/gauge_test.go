package gauge

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestUsage(t *testing.T) {
	const size, goroutines = 8 << 20, 10
	before := Take()
	held := make([]byte, size)
	for i := range held {
		held[i] = 1 // so that it is resident
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	stop := make(chan struct{})
	for range goroutines {
		go func() { <-stop }()
	}

	more := Take().Since(before)
	require.GreaterOrEqual(t, more.Heap, int64(size))
	require.GreaterOrEqual(t, more.Memory(), more.Heap)
	require.Equal(t, goroutines, more.Goroutines)
	if runtime.GOOS == "linux" {
		require.GreaterOrEqual(t, more.Resident, int64(size/2))
		require.Positive(t, more.Files)
	}
	runtime.KeepAlive(held)

	close(stop)
	l.Close()
	left := Settle(Patience, func(u Usage) bool { return u.Goroutines <= before.Goroutines }).Since(before)
	require.LessOrEqual(t, left.Goroutines, 0)
	require.Less(t, left.Heap, int64(size/2))
}

func TestProcessor(t *testing.T) {
	before := Processor()
	if before == 0 {
		t.Log("the system does not say it")
		return
	}
	for Processor()-before < 20*time.Millisecond { // fails by the timeout of the test
	}
	before = Processor()
	time.Sleep(100 * time.Millisecond)
	require.Less(t, Processor()-before, 80*time.Millisecond, "a process that sleeps")
}
