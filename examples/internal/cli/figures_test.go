package cli

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A program logs its figures each minute at info, and after a signal at every level.
func TestFigures(t *testing.T) {
	for _, test := range []struct {
		level slog.Level
		want  int // lines after two minutes and one signal
	}{{slog.LevelInfo, 3}, {slog.LevelWarn, 1}} {
		synctest.Test(t, func(t *testing.T) {
			var out syncBuffer
			p := &Program{Stderr: &out, Log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: test.level}))}
			ctx, cancel := context.WithCancel(t.Context())
			asked := make(chan os.Signal, 1)
			done := make(chan struct{})
			go func() {
				defer close(done)
				p.figures(ctx, asked, func() []any { return []any{"open", 7} })
			}()
			time.Sleep(2*time.Minute + time.Second)
			asked <- os.Interrupt
			synctest.Wait()
			cancel()
			<-done
			if n := strings.Count(out.String(), "level=INFO msg=figures open=7\n"); n != test.want {
				t.Errorf("at %v there are %d lines instead of %d:\n%s", test.level, n, test.want, out.String())
			}
		})
	}
}

// syncBuffer is a buffer that several goroutines may use.
type syncBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}
