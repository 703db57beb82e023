package server

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/test/kit"
)

// seven is an id that the server has chosen.
var seven = idChoice{7, byServer}

// claim makes a claim that does not wait.
func claim(t *testing.T, ids *identities, h *holder, want idChoice, session string, policy DuplicatePolicy) (uint64, error) {
	t.Helper()
	stop := make(chan struct{})
	close(stop)
	return ids.claim(h, want, []byte(session), policy, 0, stop)
}

// claiming starts a claim of the id seven, and returns the channel of its error.
func claiming(t *identities, h *holder, policy DuplicatePolicy, stop <-chan struct{}) <-chan error {
	return kit.Run(func() error {
		id, err := t.claim(h, seven, nil, policy, 10*time.Second, stop)
		if err == nil && id != 7 {
			panic("another id")
		}
		return err
	})
}

// fresh returns identities without clients.
// evicts returns the eviction of a holder that has a connection.
func evicts(f func()) eviction {
	return func(replace bool) bool {
		if replace {
			f()
		}
		return replace
	}
}

// fresh returns identities without clients.
func fresh() *identities { return newIdentities(newSessions(time.Minute)) }

// has requires that exactly the given connections have the id, in any order.
func has(t *testing.T, ids *identities, id uint64, want ...*holder) {
	t.Helper()
	ids.mu.Lock()
	defer ids.mu.Unlock()
	i := ids.held[id]
	if i == nil {
		require.Empty(t, want, "no connection has the id")
		return
	}
	require.ElementsMatch(t, want, i.holders)
	for place, h := range i.holders {
		require.Equal(t, place, h.place)
		require.Same(t, i, h.identity)
	}
}

// holding returns a holder that has the id seven, and the number of its evictions.
func holding(t *testing.T, ids *identities) (*holder, *atomic.Int64) {
	t.Helper()
	h, evicted := newHolder(), new(atomic.Int64)
	_, err := claim(t, ids, h, seven, "", DuplicateReplaces)
	require.NoError(t, err)
	ids.evictBy(h, evicts(func() { evicted.Add(1) }))
	return h, evicted
}

func TestIdentityIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := fresh()
		old, evicted := holding(t, ids)
		next := newHolder()
		claim := claiming(ids, next, DuplicateReplaces, nil)
		kit.Blocked(t, claim)
		assert.EqualValues(t, 1, evicted.Load(), "evictions of the old connection")
		time.Sleep(10*time.Second - 1)
		kit.Blocked(t, claim) // the old connection was not released
		ids.release(old)
		require.NoError(t, kit.Returned(t, claim))
		has(t, ids, 7, next)

		ids.keep(next)
		ids.release(next)
		has(t, ids, 7, next)
		ids.release(next)
		assert.Empty(t, ids.held)
	})
}

// A connection in the handshake is evicted as soon as that is possible.
func TestIdentityIsReplacedInTheHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := fresh()
		old := newHolder()
		_, err := claim(t, ids, old, seven, "", DuplicateReplaces)
		require.NoError(t, err)
		claim := claiming(ids, newHolder(), DuplicateReplaces, nil)
		kit.Blocked(t, claim)
		evicted := 0
		ids.evictBy(old, evicts(func() { evicted++ }))
		assert.Equal(t, 1, evicted)
		kit.Blocked(t, claim)
		ids.release(old)
		require.NoError(t, kit.Returned(t, claim))
	})
}

// A connection whose handshake fails releases its id. It is not evicted.
func TestIdentityOfAFailedHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := fresh()
		old := newHolder()
		_, err := claim(t, ids, old, seven, "", DuplicateReplaces)
		require.NoError(t, err)
		claim := claiming(ids, newHolder(), DuplicateReplaces, nil)
		ids.release(old)
		require.NoError(t, kit.Returned(t, claim))
		ids.release(newHolder()) // of a connection without an id
		assert.Len(t, ids.held, 1)
	})
}

// Many connections claim the same id concurrently. Each of them has it in turn, and is evicted by
// the next one.
func TestIdentityIsWantedByMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 50
		ids := fresh()
		var now, had atomic.Int64
		for range n {
			go func() {
				h := newHolder()
				if _, err := ids.claim(h, seven, nil, DuplicateReplaces, time.Hour, nil); err != nil {
					t.Errorf("claim = %v, want no error", err)
					return
				}
				if k := now.Add(1); k != 1 {
					t.Errorf("%d connections have the id, want 1", k)
				}
				had.Add(1)
				var once sync.Once // several connections may evict it
				ids.evictBy(h, evicts(func() {
					go once.Do(func() {
						now.Add(-1)
						ids.release(h)
					})
				}))
			}()
		}
		synctest.Wait()
		assert.EqualValues(t, n, had.Load(), "connections that had the id")
		assert.EqualValues(t, 1, now.Load(), "connections that have the id at the end")
		assert.Len(t, ids.held, 1)
	})
}

func TestIdentityIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := fresh()
		old, evicted := holding(t, ids)
		next := newHolder()
		assert.Equal(t, errTaken, kit.Returned(t, claiming(ids, next, DuplicateRefused, nil)))
		assert.Zero(t, evicted.Load(), "evictions of the old connection")
		ids.release(next)
		has(t, ids, 7, old)
		ids.release(old)
		require.NoError(t, kit.Returned(t, claiming(ids, newHolder(), DuplicateRefused, nil)))
	})
}

func TestIdentityIsAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := fresh()
		old, evicted := holding(t, ids)
		next := newHolder()
		require.NoError(t, kit.Returned(t, claiming(ids, next, DuplicateAllowed, nil)))
		ids.release(next)
		assert.Zero(t, evicted.Load())
		has(t, ids, 7, old)
	})
}

// The time for which a claim waits for an old connection that does not end is bounded. The error
// tells the client to come back.
func TestIdentityPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := fresh()
		old, evicted := holding(t, ids)
		next := newHolder()
		claim := claiming(ids, next, DuplicateReplaces, nil)
		time.Sleep(10*time.Second - 1)
		kit.Blocked(t, claim)
		time.Sleep(time.Nanosecond)
		err := kit.Returned(t, claim)
		var refused *geminio.RefusedError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, time.Second, refused.RetryAfter)
		assert.ErrorIs(t, err, geminio.ErrGoingAway, "the error, with which a RetryEnd tries again")
		assert.ErrorContains(t, err, "still ending")
		ids.release(next)
		has(t, ids, 7, old)
		assert.EqualValues(t, 1, evicted.Load())
	})
}

// A listener that stops ends all claims with an error with which a RetryEnd tries again.
func TestIdentityStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := fresh()
		holding(t, ids)
		stop := make(chan struct{})
		claim := claiming(ids, newHolder(), DuplicateReplaces, stop)
		kit.Blocked(t, claim)
		close(stop)
		assert.ErrorIs(t, kit.Returned(t, claim), geminio.ErrGoingAway)
	})
}

// Ids are independent of each other.
func TestIdentitiesAreApart(t *testing.T) {
	ids := fresh()
	for id := uint64(1); id < 100; id++ {
		_, err := claim(t, ids, newHolder(), idChoice{id, byServer}, "", DuplicateRefused)
		require.NoError(t, err)
	}
	assert.Len(t, ids.held, 99)
}

// With DuplicateAllowed, each of several connections releases the id by itself.
func TestIdentityOfMany(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	ids := fresh()
	var all []*holder
	for range 2000 {
		if rnd.IntN(2) == 0 || len(all) == 0 {
			h := newHolder()
			_, err := claim(t, ids, h, seven, "", DuplicateAllowed)
			require.NoError(t, err)
			all = append(all, h)
		} else {
			i := rnd.IntN(len(all))
			ids.release(all[i])
			all = append(all[:i], all[i+1:]...)
		}
		if len(all) > 0 {
			has(t, ids, 7, all...)
		} else {
			require.Empty(t, ids.held)
		}
	}
}

var policies = []DuplicatePolicy{DuplicateReplaces, DuplicateRefused, DuplicateAllowed}

// leave ends a connection of a client with the session.
func leave(ids *identities, h *holder, id uint64, session string) {
	ids.sessions.detach(ids.sessions.attach(id, []byte(session), nil, ids.chosen(h)))
	ids.release(h)
}

// A client that asks for an id that the library has chosen gets a new one, as long as the client
// of the id is connected or its session is kept.
func TestChosenIdentityIsNotForOthers(t *testing.T) {
	for _, policy := range policies {
		for _, session := range []string{"", "mine"} {
			t.Run(fmt.Sprint(policy, session), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ids := fresh()
					h := newHolder()
					mine, err := claim(t, ids, h, idChoice{}, session, policy)
					require.NoError(t, err)
					ids.evictBy(h, evicts(func() { t.Error("the client of the id was evicted") }))
					strangers := func(granted bool) {
						t.Helper()
						for _, theirs := range []string{"", "theirs", "min", "mine\x00"} {
							other := newHolder()
							got, err := claim(t, ids, other, idChoice{mine, byClient}, theirs, policy)
							require.NoError(t, err)
							require.Equal(t, granted, got == mine, "session %q", theirs)
							require.NotZero(t, got)
							ids.release(other)
						}
					}
					strangers(false)
					has(t, ids, mine, h)
					leave(ids, h, mine, session)
					require.Empty(t, ids.held)
					strangers(session == "") // without a session nothing is kept of a client
					time.Sleep(time.Minute)
					strangers(true)
				})
			})
		}
	}
}

// The client of the id gets it again, as the policy allows.
func TestChosenIdentityComesBack(t *testing.T) {
	for _, policy := range policies {
		for _, known := range []string{"held", "remembered", "forgotten", "another server"} {
			t.Run(fmt.Sprint(policy, known), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ids := fresh()
					h := newHolder()
					mine, err := claim(t, ids, h, idChoice{}, "mine", policy)
					require.NoError(t, err)
					evicted := false
					ids.evictBy(h, evicts(func() {
						evicted = true
						go leave(ids, h, mine, "mine")
					}))
					switch known {
					case "remembered":
						leave(ids, h, mine, "mine")
					case "forgotten":
						leave(ids, h, mine, "mine")
						time.Sleep(time.Hour)
					case "another server":
						ids = fresh()
					}
					again := newHolder()
					got, err := ids.claim(again, idChoice{mine, byClient}, []byte("mine"), policy, time.Second, nil)
					if known == "held" && policy == DuplicateRefused {
						require.Equal(t, errTaken, err)
						return
					}
					require.NoError(t, err)
					require.Equal(t, mine, got)
					assert.Equal(t, known == "held" && policy == DuplicateReplaces, evicted)
					assert.True(t, ids.chosen(again), "the id is not protected any more")
					other := newHolder()
					got, err = claim(t, ids, other, idChoice{mine, byClient}, "theirs", policy)
					require.NoError(t, err)
					require.NotEqual(t, mine, got)
				})
			})
		}
	}
}

// Another client that has got the id of a client whose session has ended loses it when that
// client comes back, like any client that has chosen its id.
func TestChosenIdentityIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := fresh()
		h := newHolder()
		mine, err := claim(t, ids, h, idChoice{}, "mine", DuplicateReplaces)
		require.NoError(t, err)
		leave(ids, h, mine, "mine")
		time.Sleep(time.Hour)
		stranger := newHolder()
		got, err := claim(t, ids, stranger, idChoice{mine, byClient}, "theirs", DuplicateReplaces)
		require.NoError(t, err)
		require.Equal(t, mine, got)
		ids.evictBy(stranger, evicts(func() { go ids.release(stranger) }))
		h = newHolder()
		got, err = ids.claim(h, idChoice{mine, byClient}, []byte("mine"), DuplicateReplaces, time.Second, nil)
		require.NoError(t, err)
		require.Equal(t, mine, got)
		got, err = claim(t, ids, newHolder(), idChoice{mine, byClient}, "theirs", DuplicateReplaces)
		require.NoError(t, err)
		require.NotEqual(t, mine, got)
	})
}

// A delegate may give such an id to another client.
func TestChosenIdentityIsGranted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := fresh()
		h := newHolder()
		mine, err := claim(t, ids, h, idChoice{}, "mine", DuplicateReplaces)
		require.NoError(t, err)
		_, err = claim(t, ids, newHolder(), idChoice{mine, byServer}, "theirs", DuplicateRefused)
		require.Equal(t, errTaken, err)
		ids.evictBy(h, evicts(func() { go ids.release(h) }))
		other := newHolder()
		got, err := ids.claim(other, idChoice{mine, byServer}, []byte("theirs"), DuplicateReplaces, time.Second, nil)
		require.NoError(t, err)
		require.Equal(t, mine, got)
		assert.False(t, ids.chosen(other))
	})
}

// The ids that the library chooses are unique, and cannot be guessed.
func TestChosenIdentitiesAreNew(t *testing.T) {
	ids := fresh()
	seen := make(map[uint64]bool)
	var bits [63]int
	const n = 4000
	for i := range n {
		session := ""
		if i%2 == 1 {
			session = fmt.Sprint("session ", i)
		}
		// Another client has the id that would come next.
		if i%4 == 1 {
			_, err := claim(t, ids, newHolder(), idChoice{idOf(session), byClient}, "", DuplicateReplaces)
			require.NoError(t, err)
		}
		id, err := claim(t, ids, newHolder(), idChoice{}, session, DuplicateReplaces)
		require.NoError(t, err)
		require.NotZero(t, id)
		require.Less(t, id, uint64(1)<<63)
		require.False(t, seen[id], "the id %d was chosen twice", id)
		seen[id] = true
		for b := range bits {
			bits[b] += int(id >> b & 1)
		}
	}
	for b, ones := range bits {
		assert.InDelta(t, n/2, ones, n/8, "bit %d", b)
	}
}

// Two connections of one session have two ids, unless the second one asks for that of the first.
func TestChosenIdentitiesOfOneSession(t *testing.T) {
	ids := fresh()
	one, err := claim(t, ids, newHolder(), idChoice{}, "mine", DuplicateReplaces)
	require.NoError(t, err)
	h := newHolder()
	two, err := claim(t, ids, h, idChoice{}, "mine", DuplicateReplaces)
	require.NoError(t, err)
	require.NotEqual(t, one, two)
	leave(ids, h, two, "mine")
	got, err := claim(t, ids, newHolder(), idChoice{two, byClient}, "mine", DuplicateReplaces)
	require.NoError(t, err)
	require.Equal(t, two, got, "the id of the second connection, which belongs to the same session")
}
