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
