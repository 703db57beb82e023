package logging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/jumboframes/armorigo/log"
	"github.com/stretchr/testify/assert"
)

// recorder is a log.Logger that keeps "LEVEL text" of each line.
type recorder struct {
	log.Logger // nil: the methods that the adapter must not use
	lines      []string
}

func (r *recorder) add(level string, v ...any) {
	r.lines = append(r.lines, level+" "+fmt.Sprint(v...))
}

func (r *recorder) Trace(v ...any) { r.add("TRACE", v...) }
func (r *recorder) Debug(v ...any) { r.add("DEBUG", v...) }
func (r *recorder) Info(v ...any)  { r.add("INFO", v...) }
func (r *recorder) Warn(v ...any)  { r.add("WARN", v...) }
func (r *recorder) Error(v ...any) { r.add("ERROR", v...) }

// secret is a value that says itself how it is logged.
type secret struct{}

func (secret) LogValue() slog.Value { return slog.StringValue("hidden") }

func TestLevels(t *testing.T) {
	r := &recorder{}
	l := FromLogger(r)
	for _, level := range []slog.Level{-8, slog.LevelDebug, -1, slog.LevelInfo, slog.LevelWarn, 7, slog.LevelError, 12} {
		l.Log(context.Background(), level, "m")
	}
	assert.Equal(t, []string{"TRACE m", "DEBUG m", "DEBUG m", "INFO m", "WARN m", "WARN m", "ERROR m", "ERROR m"}, r.lines)
}

func TestRendering(t *testing.T) {
	for _, c := range []struct {
		want  string
		write func(l *slog.Logger)
	}{
		{"plain message", func(l *slog.Logger) { l.Info("plain message") }},
		{"100% sure", func(l *slog.Logger) { l.Info("100% sure") }},
		{"m n=1 f=1.5 b=true d=1.5s", func(l *slog.Logger) {
			l.Info("m", "n", 1, "f", 1.5, "b", true, "d", 1500*time.Millisecond)
		}},
		{"m at=2026-11-22T01:02:03.000000004Z", func(l *slog.Logger) {
			l.Info("m", "at", time.Date(2026, 11, 22, 1, 2, 3, 4, time.UTC))
		}},
		{`m empty="" words="two words" equals="a=b" quote="\"" line="a\nb"`, func(l *slog.Logger) {
			l.Info("m", "empty", "", "words", "two words", "equals", "a=b", "quote", `"`, "line", "a\nb")
		}},
		{`m "a key"=1 err="no luck" nothing=<nil>`, func(l *slog.Logger) {
			l.Info("m", "a key", 1, "err", errors.New("no luck"), "nothing", nil)
		}},
		{"m s=hidden", func(l *slog.Logger) { l.Info("m", "s", secret{}) }},
		{"m a=1 b=2", func(l *slog.Logger) { l.With("a", 1).Info("m", "b", 2) }},
		{"m a=1 b=2 c=3", func(l *slog.Logger) { l.With("a", 1).With("b", 2).Info("m", "c", 3) }},
		{"m a=1 g.b=2 g.h.c=3", func(l *slog.Logger) {
			l.With("a", 1).WithGroup("g").With("b", 2).WithGroup("h").Info("m", "c", 3)
		}},
		{"m g.a=1 g.h.b=2 c=3", func(l *slog.Logger) {
			l.Info("m", slog.Group("g", "a", 1, slog.Group("h", "b", 2)), "c", 3)
		}},
		{"m a=1", func(l *slog.Logger) {
			l.WithGroup("").Info("m", slog.Group("", "a", 1), slog.Group("empty"), slog.Attr{})
		}},
	} {
		r := &recorder{}
		c.write(FromLogger(r))
		assert.Equal(t, []string{"INFO " + c.want}, r.lines)
	}
}

func TestBranchesDoNotMix(t *testing.T) {
	r := &recorder{}
	base := FromLogger(r).With("base", 1)
	left, right := base.With("left", 1), base.WithGroup("g").With("right", 1)
	left.Info("m")
	right.Info("m")
	base.Info("m")
	assert.Equal(t, []string{"INFO m base=1 left=1", "INFO m base=1 g.right=1", "INFO m base=1"}, r.lines)
}

func TestNilIsSilent(t *testing.T) {
	l := FromLogger(nil)
	assert.False(t, l.Enabled(context.Background(), slog.LevelError))
	l.Error("no handler gets this")
}

func TestRealLogger(t *testing.T) {
	var l log.Logger = log.NewLog()
	assert.True(t, FromLogger(l).Enabled(context.Background(), slog.LevelDebug))
}

// bad is a slog.Handler that misbehaves, in each of its methods.
type bad struct{ how func() }

func (b bad) Enabled(context.Context, slog.Level) bool  { b.how(); return true }
func (b bad) Handle(context.Context, slog.Record) error { b.how(); return nil }
func (b bad) WithAttrs([]slog.Attr) slog.Handler        { b.how(); return b }
func (b bad) WithGroup(string) slog.Handler             { b.how(); return b }

func TestContain(t *testing.T) {
	for name, how := range map[string]func(){"panics": func() { panic("oops") }, "exits": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			l := Contain(slog.New(bad{how}))
			l.Error("lost")
			l.With("key", "value").WithGroup("group").Error("lost")
		})
	}
	var b bytes.Buffer
	l := Contain(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelWarn})))
	l.Info("left out")
	l.With("a", 1).WithGroup("g").Warn("written", "b", 2)
	assert.Contains(t, b.String(), "msg=written a=1 g.b=2")
	assert.NotContains(t, b.String(), "left out")
	silent := slog.New(slog.DiscardHandler)
	assert.Same(t, silent, Contain(silent), "costs nothing")
	assert.False(t, FromLogger(nil).Enabled(t.Context(), slog.LevelError))
}
