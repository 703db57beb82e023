package typed_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
	"github.com/singchia/geminio/typed"
)

// A typed call costs the allocations of its JSON, of a call of the same bytes, and few of its own.
func TestAllocations(t *testing.T) {
	p := rig.NewPair(t, "tcp", nil, nil)
	ctx := t.Context()
	m := typed.Method[question, answer]{Name: "typed"}
	require.NoError(t, m.Register(ctx, p.Server, func(context.Context, question) (answer, error) { return answer{Text: "x"}, nil }))
	data := []byte(`{"text":"x"}`)
	require.NoError(t, p.Server.Register(ctx, "bytes", func(_ context.Context, _ geminio.Request, resp geminio.Response) { resp.SetData(data) }))
	measure := func(f func() error) float64 {
		return testing.AllocsPerRun(500, func() { require.NoError(t, f()) })
	}
	whole := measure(func() error { _, err := m.Call(ctx, p.Client, question{Text: "x"}); return err })
	call := measure(func() error { _, err := p.Client.Call(ctx, "bytes", p.Client.NewRequest(data)); return err })
	work := measure(func() error {
		for range 2 {
			data, err := json.Marshal(question{Text: "x"})
			if err != nil {
				return err
			}
			var q question
			if err := json.Unmarshal(data, &q); err != nil {
				return err
			}
		}
		return nil
	})
	t.Logf("a typed call: %v allocations; a call: %v; JSON: %v", whole, call, work)
	if !kit.Race { // the race detector allocates
		require.LessOrEqual(t, whole, call+work+2, "allocations of a typed call")
	}
}
