package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// A short run tests that all operations succeed. Growth shows only in a long run.
func TestSoak(t *testing.T) {
	picture := filepath.Join(t.TempDir(), "soak.svg")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	w, err := newWork(3, 2, time.Second)
	require.NoError(t, err)
	samples := w.watch(ctx, 50*time.Millisecond)
	require.NoError(t, w.close())
	require.NoError(t, draw(picture, samples))
	content, err := os.ReadFile(picture)
	require.NoError(t, err)
	require.Contains(t, string(content), "</svg>")
	require.NotZero(t, samples[len(samples)-1].calls)
	require.NotZero(t, samples[len(samples)-1].cuts)
	require.NotZero(t, samples[len(samples)-1].resumes)
	require.NotZero(t, w.visits.Load())
	_, err = w.oldWork()
	require.NoError(t, err)
}
