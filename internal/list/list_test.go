package list

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type item struct {
	n     int
	place Link[item]
}

// values returns the list from its first to its last value.
func values(l *List[item]) (all []int) {
	for v := l.First(); v != nil; v = v.place.Next() {
		all = append(all, v.n)
	}
	return all
}

func TestList(t *testing.T) {
	var l List[item]
	assert.Nil(t, l.First(), "the zero value is empty")
	a, b, c := &item{n: 1}, &item{n: 2}, &item{n: 3}
	for _, v := range []*item{a, b, c} {
		l.Add(&v.place, v)
	}
	assert.Equal(t, []int{1, 2, 3}, values(&l))
	assert.False(t, l.Empty())
	l.Remove(&b.place)
	assert.Equal(t, []int{1, 3}, values(&l), "without the one in the middle")
	assert.False(t, b.place.Listed())
	l.Remove(&b.place)
	assert.Equal(t, 2, l.Len(), "a value that is not in the list is left alone")
	l.Add(&b.place, b)
	l.Remove(&a.place)
	assert.Equal(t, []int{3, 2}, values(&l), "without the first one")
	l.Remove(&b.place)
	l.Remove(&c.place)
	assert.Nil(t, l.First())
	assert.True(t, l.Empty())
}

func TestWrongListPanics(t *testing.T) {
	var l, other List[item]
	v := &item{}
	l.Add(&v.place, v)
	assert.Panics(t, func() { other.Add(&v.place, v) })
	assert.Panics(t, func() { other.Remove(&v.place) })
}

// A random program has the same result as one on a slice.
func TestRandomProgram(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	var l List[item]
	items := make([]*item, 20)
	for i := range items {
		items[i] = &item{n: i}
	}
	var model []int
	for range 10_000 {
		v := items[r.IntN(len(items))]
		if v.place.Listed() {
			v.place.Remove()
			model = slices.DeleteFunc(model, func(n int) bool { return n == v.n })
		} else {
			l.Add(&v.place, v)
			model = append(model, v.n)
		}
		require.Equal(t, model, append([]int{}, values(&l)...)[:len(model):len(model)], "seed %d", seed)
		require.Equal(t, len(model), l.Len(), "seed %d", seed)
	}
}
