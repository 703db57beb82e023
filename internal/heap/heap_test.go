package heap

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// number is an element whose order is that of its value.
type number struct {
	Place
	value int
}

func (n *number) Before(other *number) bool { return n.value < other.value }

// popAll removes all elements and returns their values in that order.
func popAll(h *Heap[*number]) (values []int) {
	for h.Len() > 0 {
		values = append(values, h.Pop().value)
	}
	return values
}

func TestPopIsInOrder(t *testing.T) {
	var h Heap[*number]
	for _, v := range []int{5, 2, 9, 2, 7, 1} {
		n := &number{value: v}
		assert.False(t, n.Queued(), "before Push")
		h.Push(n)
		assert.True(t, n.Queued(), "after Push")
	}
	require.Equal(t, 6, h.Len())
	require.Equal(t, 1, h.First().value)
	first := h.First()
	require.Equal(t, []int{1, 2, 2, 5, 7, 9}, popAll(&h))
	assert.False(t, first.Queued(), "after Pop")
}

func TestFixMovesInBothDirections(t *testing.T) {
	var h Heap[*number]
	all := make([]*number, 7)
	for i := range all {
		all[i] = &number{value: i * 10}
		h.Push(all[i])
	}
	all[0].value = 35
	h.Fix(all[0])
	all[6].value = -1
	h.Fix(all[6])
	require.Equal(t, []int{-1, 10, 20, 30, 35, 40, 50}, popAll(&h))
}

// TestRandomOperations compares a Heap with a sorted slice.
func TestRandomOperations(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var h Heap[*number]
	var all []*number
	remove := func(n *number) {
		i := slices.Index(all, n)
		require.GreaterOrEqual(t, i, 0, "the element is one of the Heap")
		all = slices.Delete(all, i, i+1)
		require.False(t, n.Queued())
	}
	for range 20_000 {
		switch op := random.IntN(5); {
		case op < 2 || len(all) == 0:
			n := &number{value: random.IntN(100)}
			all = append(all, n)
			h.Push(n)
		case op == 2:
			n := all[random.IntN(len(all))]
			n.value = random.IntN(100)
			h.Fix(n)
		case op == 3:
			n := all[random.IntN(len(all))]
			h.Remove(n)
			remove(n)
		default:
			remove(h.Pop())
		}
		require.Equal(t, len(all), h.Len())
		if len(all) > 0 {
			least := slices.MinFunc(all, func(a, b *number) int { return a.value - b.value })
			require.Equal(t, least.value, h.First().value)
		}
	}
	values := popAll(&h)
	require.True(t, slices.IsSorted(values), "got %v", values)
}

func TestNoAllocations(t *testing.T) {
	var h Heap[*number]
	n := &number{}
	h.Push(n)
	h.Pop()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		h.Push(n)
		h.Fix(n)
		h.Remove(n)
	}))
}
