package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/test/rig"
	"github.com/stretchr/testify/require"
)

// BenchmarkCall makes one call at a time, beside a ping-pong of the same size.
func BenchmarkCall(b *testing.B) {
	eachPayload(b, func(b *testing.B, size int) { benchmarkCalls(b, 1, size) })
}

// BenchmarkCalls64 has 64 callers on one connection, beside 64 raw connections with a
// ping-pong on each, since raw TCP without framing cannot have several exchanges on one
// connection.
func BenchmarkCalls64(b *testing.B) {
	eachPayload(b, func(b *testing.B, size int) { benchmarkCalls(b, many, size) })
}

// benchmarkCalls makes calls with size bytes in each direction.
func benchmarkCalls(b *testing.B, callers, size int) {
	b.SetBytes(2 * int64(size))
	contest{
		raw:   exchanges(b, callers, size, size),
		ours:  by(callers, caller(b, size)),
		least: 2 * callers,
	}.run(b)
}

// caller returns a function that calls over one connection, with size bytes in each
// direction. Any number of goroutines may use it.
func caller(tb testing.TB, size int) func() error {
	c, s := ends(tb)
	return callerOf(tb, c, s, size)
}

// callerOf is caller for existing Ends.
func callerOf(tb testing.TB, c, s geminio.End, size int) func() error {
	require.NoError(tb, s.Register(tb.Context(), "echo", rig.Echo))
	data := make([]byte, size)
	return func() error {
		resp, err := c.Call(context.Background(), "echo", c.NewRequest(data))
		if err == nil && len(resp.Data()) != size {
			err = fmt.Errorf("%d bytes came back, not %d", len(resp.Data()), size)
		}
		return err
	}
}

// exchanges sends there bytes over raw TCP and waits for back bytes, on as many
// connections at once as there are workers.
func exchanges(tb testing.TB, workers, there, back int) side {
	all := make([]func() error, workers)
	for i := range all {
		all[i] = exchange(tb, there, back)
	}
	return func(n int) error {
		return together(workers, times(n), func(i int) error { return all[i]() })
	}
}

// exchange returns a function that makes one exchange.
func exchange(tb testing.TB, there, back int) func() error {
	c, s := rawPair(tb)
	go answer(s, there, back)
	out, in := make([]byte, there), make([]byte, back)
	return func() error {
		if _, err := c.Write(out); err != nil {
			return err
		}
		_, err := io.ReadFull(c, in)
		return err
	}
}

// answer writes back bytes for each there bytes that it has read, until the end of the
// connection.
func answer(c net.Conn, there, back int) {
	in, out := make([]byte, there), make([]byte, back)
	for {
		if _, err := io.ReadFull(c, in); err != nil {
			return
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}
