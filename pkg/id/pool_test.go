package id

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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
