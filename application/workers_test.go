package application

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

// state returns how many workers wait, and whether the timer runs.
func (p *workers) state() (idle int, timer bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle), p.timer
}

// callMany makes n calls, whose handlers run at the same time.
func callMany(t *testing.T, client *End, block chan struct{}, n int) {
	t.Helper()
	errs := make(chan error, n)
	for range n {
		go func() { errs <- call(t.Context(), client, "block") }()
	}
	synctest.Wait()
	for range n {
		block <- struct{}{}
	}
	for range n {
		require.NoError(t, <-errs)
	}
	synctest.Wait()
}

// top returns the worker that takes the next request.
func (p *workers) top() *worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.idle[len(p.idle)-1]
}

func TestWorkers(t *testing.T) {
	for _, test := range []struct{ configured, max int }{{0, idleWorkers}, {3, 3}} {
		cfg := endConfig()
		cfg.MaxIdleWorkers = test.configured
		withPair(t, nil, cfg, func(t *testing.T, client, server *End) {
			block := make(chan struct{})
			register(t, server, "block", func(context.Context, geminio.Request, geminio.Response) { <-block })
			for range 20 {
				callMany(t, client, block, 1)
				idle, timer := server.workers.state()
				require.Equal(t, 1, idle, "idle workers after calls one after the other")
				require.True(t, timer)
				require.Nil(t, server.workers.last, "nothing that is done is kept")
			}
			const many = 100
			callMany(t, client, block, many)
			idle, _ := server.workers.state()
			assert.Equal(t, test.max, idle, "of %d", many)

			// One is kept busy; all others go. (A bubble does not end with any left.)
			kept := server.workers.top()
			for range 20 {
				time.Sleep(idleTime / 2)
				callMany(t, client, block, 1)
			}
			idle, _ = server.workers.state()
			assert.Equal(t, 1, idle)
			assert.Same(t, kept, server.workers.top(), "the one that is used")

			time.Sleep(2*idleTime + time.Millisecond)
			synctest.Wait()
			idle, timer := server.workers.state()
			assert.Zero(t, idle, "without requests there are none")
			assert.False(t, timer, "nor is there a timer")
			callMany(t, client, block, 2)
			idle, timer = server.workers.state()
			assert.Equal(t, 2, idle)
			assert.True(t, timer)
		})
	}
}

func TestWorkersAtTheEnd(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		block := make(chan struct{})
		register(t, server, "block", func(context.Context, geminio.Request, geminio.Response) { <-block })
		callMany(t, client, block, 5)
		go call(t.Context(), client, "block")
		synctest.Wait()
		client.Close()
		<-server.Done()
		synctest.Wait()
		idle, _ := server.workers.state()
		assert.Zero(t, idle, "all that waited have gone")
		close(block)
		synctest.Wait()
		idle, _ = server.workers.state()
		assert.Zero(t, idle, "a worker ends when its handler has returned")
	})
}

// A call whose handler ends its goroutine is answered, and other workers take the next
// requests.
func TestHandlerThatEndsItsGoroutine(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		register(t, server, "exit", func(context.Context, geminio.Request, geminio.Response) { runtime.Goexit() })
		register(t, server, "fine", func(context.Context, geminio.Request, geminio.Response) {})
		for range 5 {
			assert.ErrorContains(t, call(t.Context(), client, "exit"), "ended its goroutine")
			assert.NoError(t, call(t.Context(), client, "fine"))
		}
	})
}
