package bench

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/test/kit"
)

// The largest numbers of allocations of an operation with three pairs of metadata, both sides
// together, beyond those of the same operation without. The receiver does not look at the
// metadata in the first two cases.
const (
	maxMetadataCallAllocs    = 0
	maxMetadataMessageAllocs = 0
	// maxMetadataReadAllocs also counts the reading of three values at both sides, and the
	// metadata of the answer.
	maxMetadataReadAllocs = 12
)

// threePairs returns a context with a trace, a tenant and a token.
func threePairs() context.Context {
	return metadata.AppendToOutgoingContext(context.Background(),
		"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tenant", "acme", "token", "0123456789abcdef")
}

func TestMetadataAllocations(t *testing.T) {
	c, s := ends(t)
	call := callerOf(t, c, s, 256)
	require.NoError(t, s.Register(t.Context(), "reads", readsMetadata))
	m := acknowledged(t)
	ctx, data := threePairs(), make([]byte, 256)
	publish := func(ctx context.Context) error { return m.Publish(ctx, m.NewMessage(data)) }
	count := func(f func() error) float64 {
		var err error
		n := testing.AllocsPerRun(2000, func() {
			if e := f(); e != nil {
				err = e
			}
		})
		require.NoError(t, err)
		return n
	}
	without, bare := count(call), count(func() error { return publish(context.Background()) })
	for _, op := range []struct {
		name      string
		base, max float64
		run       func() error
	}{
		{"call", without, maxMetadataCallAllocs, func() error {
			_, err := c.Call(ctx, "echo", c.NewRequest(data))
			return err
		}},
		{"message", bare, maxMetadataMessageAllocs, func() error { return publish(ctx) }},
		{"call that reads and answers", without, maxMetadataReadAllocs, func() error {
			resp, err := c.Call(ctx, "reads", c.NewRequest(data))
			metadata.From(resp)
			return err
		}},
	} {
		got := count(op.run) - op.base
		t.Logf("%s: %v more allocations", op.name, got)
		if got > op.max && !kit.Race {
			t.Errorf("%s with metadata: %v more allocations, at most %v are allowed", op.name, got, op.max)
		}
	}
}

// readsMetadata is a handler that reads three values and sets one.
func readsMetadata(ctx context.Context, req geminio.Request, resp geminio.Response) {
	md, _ := metadata.FromIncomingContext(ctx)
	if len(md.Get("tenant")) == 1 && len(md.Get("token")) == 1 && len(md.Get("traceparent")) == 1 {
		metadata.SetOutgoing(ctx, md)
	}
	resp.SetData(req.Data())
}

// BenchmarkMetadata has callers on one connection that send 256 bytes and three pairs of
// metadata, beside the same calls without. The metric of-none is the ratio of the paces.
func BenchmarkMetadata(b *testing.B) {
	for name, workers := range map[string]int{"Call": 1, "Calls64": many} {
		b.Run(name, func(b *testing.B) {
			c, s := ends(b)
			without := callerOf(b, c, s, 256)
			ctx, data := threePairs(), make([]byte, 256)
			with := func() error {
				_, err := c.Call(ctx, "echo", c.NewRequest(data))
				return err
			}
			contest{raw: by(workers, without), ours: by(workers, with), ratio: "of-none", least: 2 * workers}.run(b)
		})
	}
}
