package kit

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// Forever is how long a test waits for an event that has no bound of its own before the
// test fails.
const Forever = 30 * time.Second

// Start runs f in a goroutine. The returned channel receives the result of f.
func Start[T any](f func() T) <-chan T {
	ch := make(chan T, 1)
	go func() { ch <- f() }()
	return ch
}

// Run starts f like Start, and returns when f has returned or every goroutine of the bubble
// is durably blocked. It must be called in a synctest bubble.
func Run[T any](f func() T) <-chan T {
	ch := Start(f)
	synctest.Wait()
	return ch
}

// Returned returns the result of an operation that Start or Run has started. It fails the
// test if the operation is blocked. It must be called in a synctest bubble.
func Returned[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	synctest.Wait()
	select {
	case v := <-ch:
		return v
	default:
		t.Fatal("the operation is blocked, want it to have returned")
		panic("unreachable")
	}
}

// Blocked fails the test unless an operation that Start or Run has started is blocked. It
// must be called in a synctest bubble.
func Blocked[T any](t testing.TB, ch <-chan T) {
	t.Helper()
	synctest.Wait()
	select {
	case v := <-ch:
		t.Fatalf("the operation returned %v, want it to be blocked", v)
	default:
	}
}

// Await receives from ch. It fails the test, with the stacks of all goroutines, if there is
// nothing to receive within d. The string what names the awaited event.
func Await[T any](t testing.TB, d time.Duration, what string, ch <-chan T) T {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		t.Fatalf("%s: not within %v\n\n%s", what, d, stacks)
		panic("unreachable")
	}
}

// Within runs f. It fails the test, with the stacks of all goroutines, if f does not return
// within d. The string what names the awaited event.
func Within(t testing.TB, d time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	Await(t, d, what, done)
}

// Deadline returns a context that ends with the test, and after Forever at the latest.
func Deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Forever)
	t.Cleanup(cancel)
	return ctx
}
