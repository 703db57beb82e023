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

// claim claims what is demanded, at once.
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

// fresh returns identities of which nothing is known.
// evicts returns the eviction of a holder that has a connection.
func evicts(f func()) eviction {
	return func(replace bool) bool {
		if replace {
			f()
		}
		return replace
	}
}

func fresh() *identities { return newIdentities(newSessions(time.Minute)) }

// has requires that connections have an id, in whatever order, and no others.
func has(t *testing.T, ids *identities, id uint64, want ...*holder) {
	t.Helper()
	ids.mu.Lock()
	defer ids.mu.Unlock()
	i := ids.held[id]
	if i == nil {
		require.Empty(t, want, "nobody has the id")
		return
	}
	require.ElementsMatch(t, want, i.holders)
	for place, h := range i.holders {
		require.Equal(t, place, h.place)
		require.Same(t, i, h.identity)
	}
}

// holding returns a holder that has the id and has begun, and how often it was ended.
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
		assert.EqualValues(t, 1, evicted.Load(), "the old one is to end")
		time.Sleep(10*time.Second - 1)
		kit.Blocked(t, claim) // its end was not told
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

// One that is still shaking hands is ended as soon as it can be.
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

// One whose handshake fails gives its id back, and need not be ended.
func TestIdentityOfAFailedHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := fresh()
		old := newHolder()
		_, err := claim(t, ids, old, seven, "", DuplicateReplaces)
		require.NoError(t, err)
		claim := claiming(ids, newHolder(), DuplicateReplaces, nil)
		ids.release(old)
		require.NoError(t, kit.Returned(t, claim))
		ids.release(newHolder()) // of one that never had an id
		assert.Len(t, ids.held, 1)
	})
}

// Of many that want the id at the same time, one after the other has it, and the
// others are ended.
func TestIdentityIsWantedByMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 50
		ids := fresh()
		var now, had atomic.Int64
		for range n {
			go func() {
				h := newHolder()
				if _, err := ids.claim(h, seven, nil, DuplicateReplaces, time.Hour, nil); err != nil {
					t.Errorf("not claimed: %v", err)
					return
				}
				if k := now.Add(1); k != 1 {
					t.Errorf("%d have the id", k)
				}
				had.Add(1)
				var once sync.Once // more than one may want it to end
				ids.evictBy(h, evicts(func() {
					go once.Do(func() {
						now.Add(-1)
						ids.release(h)
					})
				}))
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
		ids := fresh()
		old, evicted := holding(t, ids)
		next := newHolder()
		assert.Equal(t, errTaken, kit.Returned(t, claiming(ids, next, DuplicateRefused, nil)))
		assert.Zero(t, evicted.Load(), "the old one goes on")
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

// Patience with one that does not end is bounded; the client is told to come back.
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
		assert.ErrorIs(t, err, geminio.ErrGoingAway, "which is no refusal for good")
		assert.ErrorContains(t, err, "still ending")
		ids.release(next)
		has(t, ids, 7, old)
		assert.EqualValues(t, 1, evicted.Load())
	})
}

// A listener that stops keeps nobody waiting, and says that it is no refusal for good.
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

// Where many may have an id, each gives it back by itself.
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

// leave has a connection of a client come to its end, which named that session.
func leave(ids *identities, h *holder, id uint64, session string) {
	ids.sessions.detach(ids.sessions.attach(id, []byte(session), nil, ids.chosen(h)))
	ids.release(h)
}

// An id that the library has chosen cannot be wished for by others, as long as its client
// has it or is remembered: they get new ones.
func TestChosenIdentityIsNotForOthers(t *testing.T) {
	for _, policy := range policies {
		for _, session := range []string{"", "mine"} {
			t.Run(fmt.Sprint(policy, session), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ids := fresh()
					h := newHolder()
					mine, err := claim(t, ids, h, idChoice{}, session, policy)
					require.NoError(t, err)
					ids.evictBy(h, evicts(func() { t.Error("it is ended") }))
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
					strangers(session == "") // nothing is known of a client without a session
					time.Sleep(time.Minute)
					strangers(true)
				})
			})
		}
	}
}

// The client itself gets it again, by the policy.
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
					assert.True(t, ids.chosen(again), "it is protected as before")
					other := newHolder()
					got, err = claim(t, ids, other, idChoice{mine, byClient}, "theirs", policy)
					require.NoError(t, err)
					require.NotEqual(t, mine, got)
				})
			})
		}
	}
}

// A stranger who has got the id of a client that was forgotten loses it when the client
// comes back, as anybody who has chosen an id does.
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

// What the server says counts: a delegate may grant such an id to another.
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

// Ids that the library chooses are those of no other client, and cannot be guessed.
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
		// Somebody has the id that it would have.
		if i%4 == 1 {
			_, err := claim(t, ids, newHolder(), idChoice{idOf(session), byClient}, "", DuplicateReplaces)
			require.NoError(t, err)
		}
		id, err := claim(t, ids, newHolder(), idChoice{}, session, DuplicateReplaces)
		require.NoError(t, err)
		require.NotZero(t, id)
		require.Less(t, id, uint64(1)<<63)
		require.False(t, seen[id], "id %d was there already", id)
		seen[id] = true
		for b := range bits {
			bits[b] += int(id >> b & 1)
		}
	}
	for b, ones := range bits {
		assert.InDelta(t, n/2, ones, n/8, "bit %d", b)
	}
}

// Two connections of one session have two ids, unless the second one wishes for that of
// the first.
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
	require.Equal(t, two, got, "it is the session's too")
}
