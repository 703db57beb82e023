package id

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCountingModes(t *testing.T) {
	for _, c := range []struct {
		mode Mode
		step uint64
		low  func(id uint64) bool
	}{
		{Even, 2, func(id uint64) bool { return id%2 == 0 }},
		{Odd, 2, func(id uint64) bool { return id%2 == 1 }},
		{Inc, 1, func(uint64) bool { return true }},
		{Mode("no such mode"), 1, func(uint64) bool { return true }},
	} {
		t.Run(string(c.mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now := uint64(time.Now().Unix())
				counter := NewIDCounter(c.mode)
				last := counter.GetID()
				assert.Equal(t, now, last>>32, "the upper half is the second of creation")
				for range 1000 {
					next := counter.GetID()
					require.Equal(t, last+c.step, next)
					require.True(t, c.low(next), "%d", next)
					last = next
				}
				counter.ReserveID(last + c.step)
				counter.DelID(last)
				counter.Close()
				next, err := counter.GetIDByMeta([]byte("meta"))
				assert.NoError(t, err)
				assert.Equal(t, last+c.step, next, "reserving, deleting and closing change nothing")
			})
		})
	}
}

func TestStartIsRandom(t *testing.T) {
	starts := make(map[uint32]bool)
	for range 16 {
		starts[uint32(NewIDCounter(Inc).GetID())] = true
	}
	assert.Greater(t, len(starts), 8)
}

func TestCountCarriesIntoSeconds(t *testing.T) {
	for _, mode := range []Mode{Even, Odd, Inc} {
		counter := NewIDCounter(mode)
		second := counter.GetID() >> 32
		counter.last.Store(second<<32 | math.MaxUint32 - 5 + counter.last.Load()&1)
		var got []uint64
		for range 10 {
			got = append(got, counter.GetID())
		}
		assert.True(t, slices.IsSorted(got), "%s: the count goes on upwards: %x", mode, got)
		assert.Equal(t, second+1, got[9]>>32, mode)
		assert.Len(t, slices.Compact(got), 10, mode)
	}
}

func TestCountingNeverGivesZero(t *testing.T) {
	for _, mode := range []Mode{Even, Inc} {
		counter := NewIDCounter(mode)
		counter.last.Store(-counter.step)
		assert.Equal(t, counter.step, counter.GetID(), "0 is passed over")
	}
	var zero IDCounter
	assert.Equal(t, uint64(1), zero.GetID())
	assert.Equal(t, uint64(2), zero.GetID())
}

func TestUnique(t *testing.T) {
	counter := NewIDCounter(Unique)
	assert.Equal(t, uint64(1), counter.GetID())
	assert.Equal(t, uint64(2), counter.GetID())
	assert.Equal(t, uint64(3), counter.GetID())

	counter.DelID(2)
	assert.Equal(t, uint64(2), counter.GetID(), "the smallest in no use comes first")
	assert.Equal(t, uint64(4), counter.GetID())

	counter.DelID(3)
	counter.DelID(1)
	next, err := counter.GetIDByMeta(nil)
	assert.NoError(t, err)
	assert.Equal(t, uint64(1), next)
	assert.Equal(t, uint64(3), counter.GetID())
	assert.Equal(t, uint64(5), counter.GetID())

	counter.Close()
	assert.Equal(t, uint64(1), counter.GetID(), "closing forgets everything")
}

func TestUniqueReserve(t *testing.T) {
	counter := NewIDCounter(Unique)
	counter.ReserveID(0)
	counter.ReserveID(2)
	counter.ReserveID(2)
	counter.ReserveID(math.MaxUint64)
	assert.Equal(t, uint64(1), counter.GetID())
	assert.Equal(t, uint64(3), counter.GetID(), "2 is reserved")

	counter.DelID(0)
	counter.DelID(9)
	counter.DelID(2)
	assert.Equal(t, uint64(2), counter.GetID())
	assert.Equal(t, uint64(4), counter.GetID(), "taking back what was not given out changes nothing")

	counter.DelID(3)
	counter.ReserveID(3)
	assert.Equal(t, uint64(5), counter.GetID(), "3 was reserved while it waited for reuse")
	counter.DelID(3)
	assert.Equal(t, uint64(3), counter.GetID())
}

func TestUniqueReserveAndDeleteDoNotPileUp(t *testing.T) {
	counter := NewIDCounter(Unique)
	for range 3 {
		counter.GetID()
	}
	for range 1000 {
		counter.DelID(2)
		counter.ReserveID(2)
	}
	assert.LessOrEqual(t, len(counter.pool.free), 1)
}

// TestUniqueAgainstModel compares the pool with a linear search, over random
// operations.
func TestUniqueAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	counter := NewIDCounter(Unique)
	used := make(map[uint64]bool)
	for range 20000 {
		id := 1 + random.Uint64N(60)
		switch random.IntN(3) {
		case 0:
			want := uint64(1)
			for used[want] {
				want++
			}
			require.Equal(t, want, counter.GetID())
			used[want] = true
		case 1:
			counter.ReserveID(id)
			used[id] = true
		case 2:
			counter.DelID(id)
			delete(used, id)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	const workers, each = 8, 2000
	for _, mode := range []Mode{Even, Odd, Inc, Unique} {
		t.Run(string(mode), func(t *testing.T) {
			counter := NewIDCounter(mode)
			got := make([][]uint64, workers)
			var group sync.WaitGroup
			for worker := range workers {
				group.Go(func() {
					for range each {
						got[worker] = append(got[worker], counter.GetID())
					}
				})
			}
			group.Wait()

			all := slices.Concat(got...)
			slices.Sort(all)
			assert.NotZero(t, all[0])
			assert.Len(t, slices.Compact(all), workers*each, "no number twice")
			if mode == Unique {
				assert.Equal(t, uint64(workers*each), all[len(all)-1], "no number left out")
			}
		})
	}
}

func TestUniqueConcurrentReuse(t *testing.T) {
	counter := NewIDCounter(Unique)
	var inUse sync.Map
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 2000 {
				id := counter.GetID()
				if _, taken := inUse.LoadOrStore(id, true); taken {
					t.Errorf("%d was given to two at a time", id)
				}
				if id > 8 {
					t.Errorf("%d was given out with at most 8 in use", id)
				}
				inUse.Delete(id)
				counter.DelID(id)
			}
		})
	}
	group.Wait()
}

func TestDefaultIncIDCounter(t *testing.T) {
	first := DefaultIncIDCounter.GetID()
	assert.Equal(t, first+1, DefaultIncIDCounter.GetID())
}

func BenchmarkUnique(b *testing.B) {
	counter := NewIDCounter(Unique)
	for range 100000 {
		counter.GetID()
	}
	random := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		counter.DelID(1 + random.Uint64N(100000))
		counter.GetID()
	}
}
