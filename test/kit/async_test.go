package kit

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// failure is a testing.TB that records its failure and ends the goroutine that fails.
type failure struct {
	testing.TB
	text string
}

func (f *failure) Helper() {}

func (f *failure) Fatal(args ...any) {
	f.text = args[0].(string)
	runtime.Goexit()
}

func (f *failure) Fatalf(format string, _ ...any) {
	f.text = format
	runtime.Goexit()
}

// failureOf returns the text with which f fails a test, or "" if it does not.
func failureOf(t *testing.T, f func(testing.TB)) string {
	fake := &failure{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(fake)
	}()
	<-done
	return fake.text
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var started bool
		release := make(chan struct{})
		errOp := errors.New("the error of the operation")
		op := Run(func() error {
			started = true
			<-release
			return errOp
		})
		require.True(t, started, "Run returned before the operation was blocked")
		Blocked(t, op)
		assert.Contains(t, failureOf(t, func(t testing.TB) { Returned(t, op) }), "is blocked")
		close(release)
		require.Equal(t, errOp, Returned(t, op))
	})
}

func TestBlockedFailsAfterReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		op := Start(func() int { return 1 })
		assert.Contains(t, failureOf(t, func(t testing.TB) { Blocked(t, op) }), "returned")
	})
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		slow := Start(func() int {
			time.Sleep(time.Second)
			return 7
		})
		require.Equal(t, 7, Await(t, 2*time.Second, "the result", slow))
		require.Equal(t, time.Second, time.Since(start))

		release := make(chan struct{})
		assert.Contains(t, failureOf(t, func(t testing.TB) {
			Within(t, time.Second, "the release", func() { <-release })
		}), "not within")
		require.Equal(t, 2*time.Second, time.Since(start))
		close(release)
	})
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx := Deadline(t)
		<-ctx.Done()
		require.Equal(t, context.DeadlineExceeded, ctx.Err())
		require.Equal(t, Forever, time.Since(start))
	})
}
