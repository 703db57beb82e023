package application

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/internal/clock"
)

func newContext(timeout time.Duration) *handlerContext {
	return &handlerContext{clock: clock.Runtime(), deadline: deadlineIn(timeout)}
}

func TestContextWithoutADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newContext(0)
		_, ok := c.Deadline()
		assert.False(t, ok)
		assert.Nil(t, c.Value("key"))
		assert.NoError(t, c.Err())
		done := c.Done()
		time.Sleep(1000 * time.Hour)
		assert.NoError(t, c.Err())
		select {
		case <-done:
			t.Error("done")
		default:
		}
		c.end(context.Canceled)
		<-done
		assert.Equal(t, context.Canceled, c.Err())
	})
}

func TestContextEndsOnce(t *testing.T) {
	c := newContext(0)
	done := c.Done()
	assert.Equal(t, done, c.Done(), "always the same")
	c.end(context.DeadlineExceeded)
	c.end(context.Canceled)
	c.end(errors.New("third"))
	assert.Equal(t, context.DeadlineExceeded, c.Err(), "the first one counts")
	<-done
	<-c.Done()

	c = newContext(0)
	c.end(context.Canceled)
	<-c.Done() // asked for only now
}

func TestContextDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c := newContext(3 * time.Second)
		at, ok := c.Deadline()
		assert.True(t, ok)
		assert.Equal(t, start.Add(3*time.Second), at)
		<-c.Done()
		assert.Equal(t, 3*time.Second, time.Since(start))
		assert.Equal(t, context.DeadlineExceeded, c.Err())

		// Without a call of Done there is no timer, and the context ends all the same.
		c = newContext(3 * time.Second)
		time.Sleep(3*time.Second - 1)
		assert.NoError(t, c.Err())
		time.Sleep(time.Nanosecond)
		assert.Nil(t, c.timer)
		assert.Equal(t, context.DeadlineExceeded, c.Err())
		<-c.Done()

		// What ends before the deadline stays so.
		c = newContext(3 * time.Second)
		done := c.Done()
		c.end(context.Canceled)
		<-done
		time.Sleep(time.Minute)
		assert.Equal(t, context.Canceled, c.Err())
	})
}

func TestContextAfterFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c := newContext(time.Minute)
		ran := make(chan time.Duration, 10)
		note := func() { ran <- time.Since(start) }
		stop1, stop2 := c.AfterFunc(note), c.AfterFunc(note)
		assert.True(t, stop1(), "it will not run")
		assert.False(t, stop1(), "stopped already")
		assert.Equal(t, time.Minute, <-ran, "the deadline ends the context without a call of Done")
		assert.False(t, stop2(), "it has run")
		synctest.Wait()
		assert.Empty(t, ran, "once")

		stop := c.AfterFunc(note)
		<-ran // at once
		assert.False(t, stop())
		synctest.Wait()
		assert.Empty(t, ran)
	})
}

// A function that AfterFunc calls may use the context.
func TestContextAfterFuncMayUseTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newContext(0)
		errs := make(chan error, 1)
		c.AfterFunc(func() {
			c.AfterFunc(func() { errs <- c.Err() })
			c.end(errors.New("again"))
		})
		c.end(context.Canceled)
		assert.Equal(t, context.Canceled, <-errs)
	})
}

// Contexts that are derived from a handler's context need no goroutine of their own.
func TestDerivedContextsNeedNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10_000
		c := newContext(time.Minute)
		before := runtime.NumGoroutine()
		var all []context.Context
		for i := range n {
			timeout := time.Hour
			if i%2 == 0 {
				timeout = 10000 * time.Hour
			}
			derived, cancel := context.WithTimeout(c, timeout)
			defer cancel()
			all = append(all, derived)
		}
		assert.Less(t, runtime.NumGoroutine(), before+n/2)
		dropped, cancel := context.WithCancel(c)
		cancel()
		assert.Equal(t, context.Canceled, dropped.Err())
		c.mu.Lock()
		assert.Equal(t, n, len(c.after), "derived contexts that have ended are removed")
		c.mu.Unlock()

		start := time.Now()
		for _, derived := range all {
			<-derived.Done()
			assert.Equal(t, context.DeadlineExceeded, derived.Err())
		}
		assert.Equal(t, time.Minute, time.Since(start))
	})
}
