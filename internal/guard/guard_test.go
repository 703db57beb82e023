package guard

import (
	"bytes"
	"errors"
	"log/slog"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

// odd is an error whose methods panic where it is nil.
type odd struct{ text string }

func (o *odd) Error() string { return o.text }

// isPanics is an error whose Is method panics.
type isPanics struct{}

func (isPanics) Error() string { return "fine" }
func (isPanics) Is(error) bool { panic("is") }

// unwrapPanics is an error whose Unwrap method panics.
type unwrapPanics struct{}

func (unwrapPanics) Error() string { return "fine" }
func (unwrapPanics) Unwrap() error { panic("unwrap") }

// codePanics is an error whose Code method panics.
type codePanics struct{}

func (codePanics) Error() string      { return "fine" }
func (codePanics) Code() geminio.Code { panic("code") }

var badErrors = map[string]error{
	"a typed nil":           (*odd)(nil),
	"a nil RemoteError":     (*geminio.RemoteError)(nil),
	"an Is that panics":     isPanics{},
	"an Unwrap that panics": unwrapPanics{},
	"a Code that panics":    codePanics{},
	"one of them, joined":   errors.Join(errors.New("fine"), (*odd)(nil)),
}

func newLog() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

func TestRun(t *testing.T) {
	for name, test := range map[string]struct {
		f      func()
		failed string // "": it returns
		logged string
	}{
		"returns":         {func() {}, "", ""},
		"panics":          {func() { panic("secret") }, "F panicked", "panic=secret"},
		"a nil panic":     {func() { panic(nil) }, "F panicked", "panic called with nil argument"},
		"a runtime error": {func() { var none []int; _ = none[len(none)] }, "F panicked", "index out of range"},
		"exits":           {runtime.Goexit, "F ended its goroutine", "function=F"},
	} {
		t.Run(name, func(t *testing.T) {
			log, logged := newLog()
			got, done := errors.New("then was not called"), make(chan struct{})
			go func() {
				defer close(done)
				Run(log, "F", test.f, func(failed error) { got = failed })
			}()
			<-done
			waited := Wait(log, "F", func() error { test.f(); return nil })
			if test.failed == "" {
				assert.NoError(t, got)
				assert.NoError(t, waited)
				assert.Empty(t, logged.String())
				return
			}
			for _, err := range []error{got, waited} {
				assert.EqualError(t, err, test.failed)
				assert.EqualValues(t, geminio.CodePanic, Describe(log, err).Code)
			}
			assert.Contains(t, logged.String(), test.logged)
			if test.failed == "F panicked" {
				assert.Contains(t, logged.String(), "guard_test.go", "the stack")
			}
		})
	}
}

func TestWaitReturnsTheError(t *testing.T) {
	log, logged := newLog()
	want := errors.New("no")
	assert.Equal(t, want, Wait(log, "F", func() error { return want }))
	assert.Empty(t, logged.String())
	for name, err := range badErrors {
		got := Wait(log, "F", func() error { return err })
		var failed *Failure
		require.ErrorAs(t, got, &failed, name)
		assert.ErrorContains(t, got, "the methods of an error of type", name)
	}
}
