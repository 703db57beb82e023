package server

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

// claiming starts a claim, and returns where its error arrives.
func claiming(t *identities, h *holder, policy DuplicatePolicy, stop <-chan struct{}) <-chan error {
	ch := make(chan error, 1)
	go func() { ch <- t.claim(h, 7, policy, 10*time.Second, stop) }()
	synctest.Wait()
	return ch
}

// settled requires that a claim is over, and returns its error.
func settled(t *testing.T, ch <-chan error) error {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-ch:
		return err
	default:
		t.Fatal("the claim still waits")
		return nil
	}
}

// waits requires that it is not.
func waits(t *testing.T, ch <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-ch:
		t.Fatalf("the claim is over: %v", err)
	default:
	}
}

// holding returns a holder that has the id and has begun, and how often it was ended.
func holding(t *testing.T, ids *identities) (*holder, *atomic.Int64) {
	t.Helper()
	h, evicted := newHolder(), new(atomic.Int64)
	require.NoError(t, ids.claim(h, 7, DuplicateReplaces, time.Second, nil))
	ids.evictBy(h, func() { evicted.Add(1) })
	return h, evicted
}

func TestIdentityIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := new(identities)
		old, evicted := holding(t, ids)
		next := newHolder()
		claim := claiming(ids, next, DuplicateReplaces, nil)
		waits(t, claim)
		assert.EqualValues(t, 1, evicted.Load(), "the old one is to end")
		time.Sleep(10*time.Second - 1)
		waits(t, claim) // its end was not told
		ids.release(old)
		require.NoError(t, settled(t, claim))
		assert.Same(t, next, ids.held[7])

		ids.keep(next)
		ids.release(next)
		assert.Same(t, next, ids.held[7], "as long as anybody needs it")
		ids.release(next)
		assert.Empty(t, ids.held)
	})
}

// One that is still shaking hands is ended as soon as it can be.
func TestIdentityIsReplacedInTheHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := new(identities)
		old := newHolder()
		require.NoError(t, ids.claim(old, 7, DuplicateReplaces, time.Second, nil))
		claim := claiming(ids, newHolder(), DuplicateReplaces, nil)
		waits(t, claim)
		evicted := 0
		ids.evictBy(old, func() { evicted++ })
		assert.Equal(t, 1, evicted)
		waits(t, claim)
		ids.release(old)
		require.NoError(t, settled(t, claim))
	})
}

// One whose handshake fails gives its id back, and need not be ended.
func TestIdentityOfAFailedHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := new(identities)
		old := newHolder()
		require.NoError(t, ids.claim(old, 7, DuplicateReplaces, time.Second, nil))
		claim := claiming(ids, newHolder(), DuplicateReplaces, nil)
		ids.release(old)
		require.NoError(t, settled(t, claim))
		ids.release(newHolder()) // of one that never had an id
		assert.Len(t, ids.held, 1)
	})
}

// Of many that want the id at the same time, one after the other has it, and the
// others are ended.
func TestIdentityIsWantedByMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 50
		ids := new(identities)
		var now, had atomic.Int64
		for range n {
			go func() {
				h := newHolder()
				if err := ids.claim(h, 7, DuplicateReplaces, time.Hour, nil); err != nil {
					t.Errorf("not claimed: %v", err)
					return
				}
				if k := now.Add(1); k != 1 {
					t.Errorf("%d have the id", k)
				}
				had.Add(1)
				var once sync.Once // more than one may want it to end
				ids.evictBy(h, func() {
					go once.Do(func() {
						now.Add(-1)
						ids.release(h)
					})
				})
			}()
		}
		synctest.Wait()
		assert.EqualValues(t, n, had.Load(), "had the id in turn")
		assert.EqualValues(t, 1, now.Load(), "has it in the end")
		assert.Len(t, ids.held, 1)
	})
}

func TestIdentityIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := new(identities)
		old, evicted := holding(t, ids)
		next := newHolder()
		assert.Equal(t, errTaken, settled(t, claiming(ids, next, DuplicateRefused, nil)))
		assert.Zero(t, evicted.Load(), "the old one goes on")
		ids.release(next)
		assert.Same(t, old, ids.held[7], "who was refused takes nothing away")
		ids.release(old)
		require.NoError(t, settled(t, claiming(ids, newHolder(), DuplicateRefused, nil)))
	})
}

func TestIdentityIsAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := new(identities)
		old, evicted := holding(t, ids)
		next := newHolder()
		require.NoError(t, settled(t, claiming(ids, next, DuplicateAllowed, nil)))
		ids.release(next)
		assert.Zero(t, evicted.Load())
		assert.Same(t, old, ids.held[7])
	})
}

// Patience with one that does not end is bounded; the client is told to come back.
func TestIdentityPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := new(identities)
		old, evicted := holding(t, ids)
		next := newHolder()
		claim := claiming(ids, next, DuplicateReplaces, nil)
		time.Sleep(10*time.Second - 1)
		waits(t, claim)
		time.Sleep(time.Nanosecond)
		err := settled(t, claim)
		var refused *geminio.RefusedError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, time.Second, refused.RetryAfter)
		assert.ErrorIs(t, err, geminio.ErrGoingAway, "which is no refusal for good")
		assert.ErrorContains(t, err, "still ending")
		ids.release(next)
		assert.Same(t, old, ids.held[7])
		assert.EqualValues(t, 1, evicted.Load())
	})
}

// A listener that stops keeps nobody waiting, and says that it is no refusal for good.
func TestIdentityStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := new(identities)
		holding(t, ids)
		stop := make(chan struct{})
		claim := claiming(ids, newHolder(), DuplicateReplaces, stop)
		waits(t, claim)
		close(stop)
		assert.ErrorIs(t, settled(t, claim), geminio.ErrGoingAway)
	})
}

// Ids are independent of each other.
func TestIdentitiesAreApart(t *testing.T) {
	ids := new(identities)
	for id := uint64(1); id < 100; id++ {
		require.NoError(t, ids.claim(newHolder(), id, DuplicateRefused, 0, nil))
	}
	assert.Len(t, ids.held, 99)
}
